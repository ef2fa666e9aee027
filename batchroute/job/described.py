"""Every key of a job file in words, and as a JSON schema for editors: all of it from the models."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from batchroute.job.load import RUN_TABLE
from batchroute.job.rules import JUDGE
from batchroute.job.settings import section_of, settings
from batchroute.job.spec import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true/false", Decimal: "number"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a job file; `endpoints.*` stands for both sides.

    `type` is in words, or the `choices` there are. `may_change`: also when a run goes on that has answers.
    `default` None: it has none, and may be left out unless it is `required`.
    """

    key: str
    type: str
    choices: tuple[str, ...]
    default: Any
    required: bool
    may_change: bool
    what: str


def described_settings() -> Iterator[Setting]:
    """In the order of the sections, tables before what is in them."""
    for loc, info in settings():
        may_change = (info.json_schema_extra or {}).get("resume")
        # What an endpoint's keys are is said of endpoints.strong.
        is_said = loc[:2] == ("endpoints", "weak") or (loc[:2] == JUDGE and len(loc) > len(JUDGE))
        if not is_said and may_change is not None:
            choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
            yield Setting(
                key=".".join(map(str, loc)).replace("endpoints.strong", "endpoints.*"),
                type=_kind(info.annotation),
                choices=choices,
                default=_default(info),
                required=info.is_required(),
                may_change=may_change,
                what=info.description,
            )


def _kind(annotation: Any) -> str:
    if section_of(annotation) is not None and get_origin(annotation) is not dict:
        return "table"
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    if get_origin(annotation) in {list, dict}:
        return "text or list" if get_origin(annotation) is list else "table"
    return ", ".join(_names(annotation))


def _names(annotation: Any) -> Iterator[str]:
    parts = list(get_args(annotation) or (annotation,))
    if any(get_origin(part) is list for part in parts):  # which are "text or list" already
        parts.remove(str)
    for part in parts:
        if part in _KINDS:
            yield _KINDS[part]
        elif isinstance(part, type) and part is not NoneType:
            raise TypeError(f"no word for {part}")
        elif get_args(part):
            yield _kind(part)


def _default(info: Any) -> Any:
    """As a job file would have it; empty lists and tables are the same as nothing."""
    value = None if info.is_required() else info.default
    if value is None or value in ([], {}):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def job_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a job file: what `load_job` takes, it takes, too. It knows no contradictions."""
    schema: dict[str, Any] = _tidied(Job.model_json_schema())
    # The table that a run directory's copy of its job has besides; a job file that has it is read without.
    schema["properties"][RUN_TABLE] = {"type": "object", "description": "what a run directory adds to its copy"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "a job of batchroute"}


def _tidied(node: Any) -> Any:
    """Without what TOML cannot say (null), and what editors do not know (resume) or show needlessly (titles)."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _tidied(value)
        for key, value in node.items()
        if key not in {"title", "resume"} and not (key == "default" and value is None)
    }
    options = [option for option in kept.pop("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **kept}
    return {**kept, "anyOf": options} if options else kept
