"""Jobs as values and as files, and changes to them by dotted key."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import tomli_w

from batchroute.job.spec import Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PRICE = {"input": 2.0, "cached_input": 0.5, "output": 10.0}


def job_of(path: Path, output: Path, changes: Mapping[str, Any] | None = None) -> Job:
    """A small valid job; a change to None takes the key out."""
    ours = {"name": "nightly", "input.path": [str(path)], "output.path": str(output)}
    return Job.model_validate(_values({**ours, **(changes or {})}))


def write_job(folder: Path, *changes: Mapping[str, Any]) -> Path:
    """The same as `job.toml` of a folder whose `prompts.jsonl` goes to `run`, with models whose price is known."""
    ours = {"input.path": "prompts.jsonl", "output.path": "run", **on_both("price", None)}
    ours |= {"endpoints.strong.model": "gpt-6.1-sol", "endpoints.weak.model": "gpt-6-luna"}
    for more in changes:
        ours |= more
    path = folder / "job.toml"
    path.write_text(tomli_w.dumps(_values(ours)))
    return path


def on_both(key: str, value: Any) -> dict[str, Any]:
    """The change that gives both endpoints this value."""
    return {f"endpoints.{side}.{key}": value for side in ("strong", "weak")}


def simulated(**settings: Any) -> dict[str, Any]:
    """The change that makes both endpoints simulated ones."""
    return {**on_both("base_url", None), **on_both("simulate", settings)}


def judged(judge: str = "rubric", **endpoint: Any) -> dict[str, Any]:
    """The change that makes it a job with a quality target, whose pilot a model judges: `endpoint`'s settings."""
    ours = {"model": "judge-model", "base_url": "http://127.0.0.1:9/v1", "price": dict(PRICE)}
    asked = {key: value for key, value in {**ours, **endpoint}.items() if value is not None}
    quality = {"routing.threshold": None, "routing.quality": 0.95}
    return {**quality, "pilot.judge": judge, "pilot.endpoint": asked}


def _values(changes: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "router": {"use": "length"},
        "routing": {"threshold": 0.5},
        "endpoints": {
            "strong": {"model": "big-model", "base_url": "http://127.0.0.1:9/v1", "price": dict(PRICE)},
            "weak": {"model": "small-model", "base_url": "http://127.0.0.1:9/v1", "price": dict(PRICE)},
        },
        "limits": {},
    }
    for key, value in changes.items():
        _put(values, key.split("."), value)
    return values


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    if len(keys) > 1:
        _put(values.setdefault(keys[0], {}), keys[1:], value)
    elif value is None:
        values.pop(keys[0], None)
    else:
        values[keys[0]] = deepcopy(value)  # a later key may go into it
