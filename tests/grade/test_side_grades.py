"""Which grades both sides' answers get, and which rows are left out, by what came and by the judge."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from answers import result
from batchroute.grade.sides import JudgedRow, came, side_grades

if TYPE_CHECKING:
    from batchroute.types import Result

CAME = result(0)
REFUSED = result(0, "refused")
FAILED = result(0, "failed")
EMPTY = result(0, response="")
CALLS = result(0, response=None, tool_calls='[{"function": {"name": "f"}}]')
JUDGES = ["reference", "rubric", "pairwise", "check", "package.module:Class"]
NONE = (math.nan, math.nan)


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [
        (CAME, True),
        (CALLS, True),
        (REFUSED, False),
        (FAILED, False),
        (EMPTY, False),
        (result(0, response=" \n"), False),
        (result(0, response=None), False),
        (result(0, response=None, refusal="I cannot help."), False),
        (result(0, "refused", response="Half an answ"), False),
    ],
)
def test_an_answer_came_if_there_is_something_to_grade(answer: Result, is_there: bool) -> None:
    assert came(answer) is is_there


ROWS = [
    # judge, strong, weak, grades given, grades, what is counted
    ("rubric", CAME, CAME, (0.9, 0.4), (0.9, 0.4), ""),
    ("rubric", CAME, REFUSED, (0.9, None), (0.9, 0), ""),
    ("rubric", FAILED, CAME, (None, 0.4), (0, 0.4), ""),
    ("rubric", EMPTY, CAME, (0.3, 0.4), (0, 0.4), ""),  # whatever a judge says of nothing
    ("rubric", CAME, CAME, (None, 0.4), NONE, "judge_unreadable"),
    ("rubric", CAME, CAME, (0.9, None), NONE, "judge_unreadable"),
    ("rubric", CAME, FAILED, (None, None), NONE, "judge_unreadable"),
    ("rubric", REFUSED, EMPTY, (None, None), NONE, "no_answer"),
    ("reference", CAME, CAME, (1.0, 0.0), (1, 0), ""),
    ("reference", CAME, CAME, (None, None), NONE, "no_reference"),
    ("reference", CAME, FAILED, (None, None), NONE, "no_reference"),
    ("reference", FAILED, FAILED, (None, None), NONE, "no_answer"),
    ("check", CAME, CALLS, (1.0, 0.0), (1, 0), ""),
    ("package.module:Class", CALLS, CAME, (0.25, 0.5), (0.25, 0.5), ""),
    ("pairwise", CAME, CAME, (None, 1.0), (0.5, 1), ""),
    ("pairwise", CAME, CAME, (None, 0.0), (0.5, 0), ""),
    ("pairwise", CAME, CAME, (None, None), NONE, "judge_unreadable"),
    ("pairwise", CAME, REFUSED, (None, None), (0.5, 0), ""),
    ("pairwise", REFUSED, CAME, (None, None), (0, 1), ""),
    ("pairwise", EMPTY, FAILED, (None, None), NONE, "no_answer"),
]


@pytest.mark.parametrize(("judge", "strong", "weak", "given", "grades", "counted"), ROWS)
def test_a_row_gets_both_grades_or_is_left_out(
    judge: str,
    strong: Result,
    weak: Result,
    given: tuple[float | None, float | None],
    grades: tuple[float, float],
    counted: str,
) -> None:
    made = side_grades([JudgedRow(strong, weak, *given)], judge)
    np.testing.assert_array_equal([made.strong, made.weak], np.transpose([grades]))
    counts = {name: getattr(made, name) for name in ("no_answer", "no_reference", "judge_unreadable")}
    assert {name for name, count in counts.items() if count} == {counted} - {""}


@pytest.mark.parametrize("judge", JUDGES)
def test_rows_keep_their_order_and_are_counted_once(judge: str) -> None:
    rows = [
        JudgedRow(CAME, CAME, 1.0, 0.5),
        JudgedRow(REFUSED, FAILED),
        JudgedRow(CAME, CAME),
        JudgedRow(CAME, CAME, 0.25, 0.0),
    ]
    made = side_grades(rows, judge)
    assert made.strong.shape == made.weak.shape == (4,)
    np.testing.assert_array_equal(made.weak, [0.5, math.nan, math.nan, 0])
    assert (made.no_answer, made.no_reference + made.judge_unreadable) == (1, 1)


@pytest.mark.parametrize("judge", JUDGES)
def test_no_rows_have_no_grades(judge: str) -> None:
    made = side_grades([], judge)
    assert made.strong.shape == made.weak.shape == (0,)
