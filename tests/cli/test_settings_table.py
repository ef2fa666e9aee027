"""The table of settings in jobs/README.md is what the models say; run as a script, this prints it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from batchroute.job.settings import section_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {str: "text", int: "whole number", float: "number", bool: "true/false", Decimal: "number"}


def table() -> str:
    rows = ["| key | type | default | may change on resume | what it is |", "|---|---|---|---|---|"]
    for loc, info in settings():
        resume = (info.json_schema_extra or {}).get("resume")
        if loc[:2] != ("endpoints", "weak") and resume is not None:
            key = ".".join(map(str, loc)).replace("endpoints.strong", "endpoints.*")
            cells = (f"`{key}`", kind(info.annotation), default(info), "yes" if resume else "no", info.description)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def kind(annotation: Any) -> str:
    if section_of(annotation) is not None and get_origin(annotation) is not dict:
        return "table"
    if get_origin(annotation) is Literal:
        return " \\| ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in {list, dict}:
        return "text or list" if get_origin(annotation) is list else "table"
    return ", ".join(names(annotation))


def names(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation) or (annotation,):
        if part in KINDS:
            yield KINDS[part]
        elif isinstance(part, type) and part is not NoneType:
            raise TypeError(f"no word for {part}")
        elif get_args(part):
            yield kind(part)


def default(info: Any) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is None or value in ([], {}):
        return ""
    return f"`{json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)}`"


def test_the_table_of_settings_is_true() -> None:
    assert table() in (Path(__file__).parents[2] / "jobs" / "README.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(table())  # noqa: T201 - a script's whole purpose
