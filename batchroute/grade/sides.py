"""What both sides' answers to the rows of a pilot are worth, once they are judged; and which rows are left out.

An answer that did not come is 0, whatever the judge. Left out are rows of which nothing can be said: neither side
answered, the right answer is missing, or the judge's verdict cannot be read. Knows no judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.grade.pairwise import STRONG_GRADE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.types import Floats, Result


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A pilot row: both sides' settled answers, and the grade of each that came; None: it could not be graded.

    `pairwise` grades the pair, and only where both came: `weak_grade` is what it says.
    """

    strong: Result
    weak: Result
    strong_grade: float | None = None
    weak_grade: float | None = None


@dataclass(frozen=True, slots=True)
class SideGrades:
    """Grades in [0, 1] of n rows, NaN in both where a row is left out; and how many are, by the reason."""

    strong: Floats
    weak: Floats
    no_answer: int
    no_reference: int
    judge_unreadable: int


def came(answer: Result) -> bool:
    """Whether there is anything to grade: text, or tool calls. A refusal is none, nor is an empty answer."""
    return answer.status == "ok" and bool((answer.response or "").strip() or answer.tool_calls)


def side_grades(rows: Sequence[JudgedRow], judge: str) -> SideGrades:
    """The grades of all rows, in their order; `judge` as in [pilot]."""
    pairs = [_pair(row, judge) for row in rows]
    no_answer = sum(not came(row.strong) and not came(row.weak) for row in rows)
    ungraded = pairs.count(None) - no_answer
    grades = np.array([pair or (np.nan, np.nan) for pair in pairs], np.float64).reshape(-1, 2)
    lacks_reference = judge == "reference"
    return SideGrades(
        strong=grades[:, 0],
        weak=grades[:, 1],
        no_answer=no_answer,
        no_reference=ungraded if lacks_reference else 0,
        judge_unreadable=0 if lacks_reference else ungraded,
    )


def _pair(row: JudgedRow, judge: str) -> tuple[float, float] | None:
    """The grades of both sides; None for a row that is left out."""
    strong_came, weak_came = came(row.strong), came(row.weak)
    if not (strong_came or weak_came):
        return None
    if judge == "pairwise":
        return _compared(row) if strong_came and weak_came else (STRONG_GRADE * strong_came, float(weak_came))
    strong = row.strong_grade if strong_came else 0.0
    weak = row.weak_grade if weak_came else 0.0
    return None if strong is None or weak is None else (strong, weak)


def _compared(row: JudgedRow) -> tuple[float, float] | None:
    return None if row.weak_grade is None else (STRONG_GRADE, row.weak_grade)
