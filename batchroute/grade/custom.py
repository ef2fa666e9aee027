"""`judge = "package.module:Class"`: a class of the user's that grades a batch of answers.

Calls it, and holds what it gives against what a grade is. Knows nothing of when a batch is whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batchroute.errors import ModelFault, OwnCodeFault
from batchroute.score.embed.embedders import import_class, numbers_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchroute.types import Floats, Result, Side


@dataclass(frozen=True, slots=True)
class Grader:
    """An object of the class that `use` names."""

    use: str
    grade: Callable[[Sequence[dict[str, Any]]], Any]

    def grades(self, rows: Sequence[dict[str, Any]]) -> Floats:
        """[n] grades in [0, 1] for n rows of `grade_row`, in one call; OwnCodeFault for anything else."""
        named = f"{self.use}: `grade`"
        given = call(named, self.grade, [dict(row) for row in rows])
        try:
            grades: Floats = numbers_in(given, named).astype(np.float64)
        except ModelFault as fault:
            raise OwnCodeFault(str(fault)) from fault
        if grades.shape != (len(rows),):
            raise OwnCodeFault(f"{named} gave an array of shape {list(grades.shape)} for {len(rows)} rows")
        wrong = ~((grades >= 0) & (grades <= 1))
        if wrong.any():
            row = int(wrong.argmax())
            response = str(rows[row]["response"])
            raise OwnCodeFault(f"{named} gave {grades[row]}, not in [0, 1], for the answer {response[:60]!r}")
        return grades


def load_grader(use: str) -> Grader:
    """The grader of the class `package.module:Class`; ModelFault where it cannot be imported and made."""
    return Grader(use, import_class(use, "grade").grade)


def check_grader(use: str, rows: Sequence[dict[str, Any]]) -> None:
    """ModelFault where the class cannot be loaded, or gives no grades for these rows, a sample of the job's."""
    grader = load_grader(use)
    try:
        grader.grades(rows)
    except OwnCodeFault as fault:
        raise ModelFault(f"{fault}, on sample rows") from fault


def grade_row(kept: Mapping[str, Any], messages: bytes, answer: Result, side: Side) -> dict[str, Any]:
    """What a user's class or function gets of an answer: the kept columns, and over them ours.

    `prompt` is the text of the one user message; the list of messages where there are several, or parts.
    """
    return {
        **kept,
        "prompt": _prompt(msgspec.json.decode(messages)),
        "response": answer.response,
        "tool_calls": answer.tool_calls,
        "side": side,
    }


def _prompt(messages: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    asked = [message for message in messages if message.get("role") not in {"system", "developer"}]
    text = asked[0].get("content") if len(asked) == 1 else None
    return text if isinstance(text, str) else messages


def call(named: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the user's gives; OwnCodeFault where it raises, with the line."""
    try:
        return function(*arguments)
    except Exception as error:
        last = extract_tb(error.__traceback__)[-1]
        place = "" if last.filename == __file__ else f" ({last.filename}:{last.lineno})"
        raise OwnCodeFault(f"{named} raised {type(error).__name__}: {error}{place}") from error
