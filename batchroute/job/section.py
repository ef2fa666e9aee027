"""What the sections of a job file have in common: strict, frozen tables; each key says whether it may change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def fixed(default: Any, what: str, **rules: Any) -> Any:
    """A setting that a run with an answer keeps for good."""
    return Field(default, description=what, json_schema_extra={"resume": False}, **rules)


def free(default: Any, what: str, **rules: Any) -> Any:
    """A setting that may be another when a run goes on."""
    return Field(default, description=what, json_schema_extra={"resume": True}, **rules)


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
