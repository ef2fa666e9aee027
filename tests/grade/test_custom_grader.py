"""A class of the user's as the judge: what it gets, and what it must give."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from answers import result
from batchroute.errors import BatchrouteError, ModelFault, OwnCodeFault
from batchroute.grade.custom import check_grader, grade_row, load_grader

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = [{"answer": "a", "response": "a"}, {"answer": "a", "response": "b"}]


class Same:
    """Keeps the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def grade(self, rows: Sequence[dict[str, Any]]) -> list[float]:
        self.sizes.append(len(rows))
        return [float(row["response"] == row["answer"]) for row in rows]


class Gives:
    given: Any = None

    def grade(self, _rows: Sequence[dict[str, Any]]) -> Any:
        return self.given


class GivesNothing(Gives):
    pass


class GivesOne(Gives):
    given = (0.5,)


class GivesMatrix(Gives):
    given = ((0.5,), (0.5,))


class GivesOneNumber(Gives):
    given = 0.5


class GivesPoints(Gives):
    given = (0, 7)


class GivesLess(Gives):
    given = (0.5, -0.01)


class GivesNan(Gives):
    given = (math.nan, 0.5)


class GivesNone(Gives):
    given = (0.5, None)


class GivesWords(Gives):
    given = ("good", "bad")


class GivesRagged(Gives):
    given = ([0.5], 0.5)


class TakesApart:
    def grade(self, rows: Sequence[dict[str, Any]]) -> list[float]:
        return [7.0 for row in rows if row.pop("response")]


class Raises:
    def grade(self, rows: Sequence[dict[str, Any]]) -> Any:
        return [row["no such column"] for row in rows]


class TakesNothing:
    def grade(self) -> list[float]:
        return []


class HasNoGrade:
    pass


class NeedsArguments:
    def __init__(self, _model: str) -> None: ...


class GivesArray(Gives):
    given = np.array([1, 0], np.int8)


class GivesTensor(Gives):
    given = torch.tensor([1.0, 0.0], requires_grad=True)


class GivesTruths(Gives):
    given = (True, False)


class GivesTuple(Gives):
    given = (1, 0.0)


def use(name: str) -> str:
    return f"{__name__}:{name}"


def test_a_batch_is_one_call() -> None:
    grader = load_grader(use("Same"))
    np.testing.assert_array_equal(grader.grades(ROWS), [1, 0])
    assert grader.grade.__self__.sizes == [2]


@pytest.mark.parametrize("name", ["GivesArray", "GivesTensor", "GivesTruths", "GivesTuple"])
def test_grades_may_come_as_any_numbers(name: str) -> None:
    grades = load_grader(use(name)).grades(ROWS)
    assert grades.dtype == np.float64
    np.testing.assert_array_equal(grades, [1, 0])


BAD = [
    ("GivesNothing", "gave an array of object"),
    ("GivesOne", r"gave an array of shape \[1\] for 2 rows"),
    ("GivesMatrix", r"gave an array of shape \[2, 1\] for 2 rows"),
    ("GivesOneNumber", r"gave an array of shape \[\] for 2 rows"),
    ("GivesPoints", r"gave 7.0, not in \[0, 1\], for the answer 'b'"),
    ("GivesLess", r"gave -0.01, not in \[0, 1\]"),
    ("TakesApart", r"gave 7.0, not in \[0, 1\], for the answer 'a'"),
    ("GivesNan", r"gave nan, not in \[0, 1\], for the answer 'a'"),
    ("GivesNone", "gave an array of object"),
    ("GivesWords", "gave an array of <U4, not of numbers"),
    ("GivesRagged", "gave no array of numbers"),
    ("Raises", r"raised KeyError: 'no such column' \(.*test_custom_grader.py:\d+\)"),
    ("TakesNothing", "raised TypeError: .* positional argument"),
]


@pytest.mark.parametrize(("name", "words"), BAD)
def test_a_bad_return_is_one_clear_error(name: str, words: str) -> None:
    with pytest.raises(OwnCodeFault, match=f"{use(name)}: `grade` {words}") as raised:
        load_grader(use(name)).grades(ROWS)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(("name", "_words"), BAD)
def test_a_check_finds_it_on_sample_rows(name: str, _words: str) -> None:
    with pytest.raises(ModelFault, match=f"{use(name)}: .*, on sample rows") as raised:
        check_grader(use(name), ROWS)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Class", "cannot be imported"),
        (use("NotThere"), "cannot be imported"),
        (use("HasNoGrade"), "the class needs a method `grade`"),
        (use("NeedsArguments"), "cannot be made without arguments"),
        ("grader.py:Class", 'names a file; write "grader:Class"'),
    ],
)
def test_a_class_that_cannot_be_loaded_is_the_users(name: str, words: str) -> None:
    with pytest.raises(ModelFault, match=words):
        check_grader(name, ROWS)


def test_a_good_class_passes_the_check() -> None:
    check_grader(use("Same"), ROWS)


def test_an_interrupt_is_no_fault_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: Gives, _rows: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Gives, "grade", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_grader(use("GivesTuple")).grades(ROWS)
    assert not issubclass(KeyboardInterrupt, BatchrouteError)


USER = {"role": "user", "content": "What is 2+2?"}


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([USER], "What is 2+2?"),
        ([{"role": "system", "content": "Be brief."}, USER], "What is 2+2?"),
        ([USER, {"role": "assistant", "content": "4"}, USER], None),
        ([{"role": "user", "content": [{"type": "text", "text": "What?"}]}], None),
        ([{"role": "system", "content": "Go on."}], None),
    ],
)
def test_a_row_has_its_kept_columns_and_the_answer(messages: list[dict[str, Any]], prompt: str | None) -> None:
    answer = result(0, response="4", tool_calls="[]")
    row = grade_row({"answer": 4, "side": "of the user"}, json.dumps(messages).encode(), answer, "weak")
    assert row == {
        "answer": 4,
        "prompt": messages if prompt is None else prompt,
        "response": "4",
        "tool_calls": "[]",
        "side": "weak",
    }
