"""Jobs as values, and changes to them by dotted key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchroute.job.spec import Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PRICE = {"input": 2.0, "cached_input": 0.5, "output": 10.0}


def job_of(path: Path, output: Path, changes: Mapping[str, Any] | None = None) -> Job:
    """A small valid job; a change to None takes the key out."""
    values: dict[str, Any] = {
        "name": "nightly",
        "input": {"path": [str(path)]},
        "output": {"path": str(output)},
        "router": {"use": "length"},
        "routing": {"threshold": 0.5},
        "endpoints": {
            "strong": {"model": "big-model", "base_url": "http://127.0.0.1:9/v1", "price": dict(PRICE)},
            "weak": {"model": "small-model", "base_url": "http://127.0.0.1:9/v1", "price": dict(PRICE)},
        },
        "limits": {},
    }
    for key, value in (changes or {}).items():
        _put(values, key.split("."), value)
    return Job.model_validate(values)


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    if len(keys) > 1:
        _put(values.setdefault(keys[0], {}), keys[1:], value)
    elif value is None:
        values.pop(keys[0], None)
    else:
        values[keys[0]] = value
