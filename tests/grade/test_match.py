"""Answers as models write them against right ones as data sets have them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.grade.choice import chosen_letter
from batchroute.grade.match import Match, reference_grade
from batchroute.grade.number import last_number

MATCHES = get_args(Match)
LETTERS = "ABCDEFGHJ"

NUMBERS = [
    ("42", 42),
    ("The answer is 42.", 42),
    ("**42**", 42),
    ("`42`", 42),
    ("$42$", 42),
    (r"\(x = 42\)", 42),
    (r"Hence $x = \boxed{42}$.", 42),
    (r"\boxed{42}, as 6 times 7 shows in step 3.", 42),
    (r"\boxed{\text{no}} 7", 7),
    (r"\boxed{\frac{3}{4}}", 0.75),
    (r"$\dfrac{1}{2}$", 0.5),
    ("16 - 3 - 4 = 9, and 9 * 2 = $18.", 18),
    ("#### 18", 18),
    ("There are 3 cats and two dogs.", 3),
    ("- 42 apples", 42),
    ("1. First add.\n2. Then 5.", 5),
    ("-3.5", -3.5),
    ("\u22123.5 \u00b0C", -3.5),
    ("x=-7", -7),
    ("between 3-5", 5),
    ("3\u20135", 5),
    ("10 - 3", 3),
    ("(-3)", -3),
    ("x = - 3", -3),
    ("10%-20%", 20),
    ("$10-$20", 20),
    ("US$42", 42),
    ("+7", 7),
    ("-$5", -5),
    ("$-5", -5),
    (r"\$1{,}234.50", 1234.5),
    ("1,234,567", 1234567),
    ("$1,234,567.89!", 1234567.89),
    ("1,00,000 rupees", 100000),
    ("1 234", 1234),
    ("1\u202f234\u202f567,5 \u20ac", 1234567.5),
    ("1'234.5", 1234.5),
    (r"5\,000", 5000),
    ("1.234.567", 1234567),
    ("1.234,56 \u20ac", 1234.56),
    ("1.234", 1.234),  # of German thousands with a single dot nothing tells
    ("3,5", 3.5),
    ("0,500", 0.5),
    ("1,2,3", 3),
    ("1, 2, 3", 3),
    ("100,200", 100200),
    ("in 2019 100 people", 100),
    ("20%", 20),
    (r"20\%.", 20),
    (".5", 0.5),
    ("No.5", 5),
    ("3e8 m/s", 3e8),
    ("6.02E+23", 6.02e23),
    ("1.6e\u221219", 1.6e-19),
    ("3 x 10^8", 3e8),
    (r"$3 \times 10^{-4}$", 3e-4),
    ("3\u00d710\u2078", 3e8),
    ("2^10", 1024),
    ("12 cm^2", 12),
    ("12 cm\u00b2", 12),
    ("about 10km", 10),
    ("H2O boils at 100", 100),
    ("100 degrees for H2O", 100),
    ("3/4", 0.75),
    ("-3/4", -0.75),
    ("1 3/4 cups", 1.75),
    (r"2\frac{1}{2}", 2.5),
    (r"-\frac12", -0.5),
    (r"\frac{-3}{4}", -0.75),
    ("12/25/2024", 2024),
    ("\u7b54\u6848\u662f42\u3002", 42),
    ("\uff14\uff12", 42),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_the_last_number_is_read_as_it_is_meant(text: str, value: float) -> None:
    found = last_number(text)
    assert found is not None
    assert math.isclose(found.value, value)


@pytest.mark.parametrize("text", ["", "forty-two", "H2O", "1e999", "1/0", "x_2"])
def test_a_text_without_a_number_has_none(text: str) -> None:
    assert last_number(text) is None


CHOICES = [
    ("b", "B"),
    ("B", "B"),
    ("(B)", "B"),
    ("(B).", "B"),
    ("**C**", "C"),
    ("Option C", "C"),
    (r"\boxed{B}", "B"),
    (r"$\boxed{\text{B}}$", "B"),
    (r"\boxed{B} because A and C are wrong", "B"),
    ("The answer is (B).", "B"),
    ("The answer is **(B) Paris**, not A.", "B"),
    ("The correct answer is b.", "B"),
    ("the answer is b because of it", "B"),
    ("Answer: D", "D"),
    ("**Answer:** D", "D"),
    ("Answer: $\\mathbf{D}$", "D"),
    ("## Answer\n\nD", "D"),
    ("Correct answer: a) foo", "A"),
    ("The answer is A because it is.", "A"),
    ("The answer is a bit hard to find; B.", "B"),
    ("Answer: I think B", "B"),
    ("The correct option is C because D is wrong.", "C"),
    ("The answer must be D", "D"),
    ("I would go with C.", "C"),
    ("I choose option (D) since A is false.", "D"),
    ("B is the correct answer.", "B"),
    ("(A) is incorrect; (C) is right.", "C"),
    ("First I thought that the answer is A. No: the answer is C.", "C"),
    ("A) red is wrong.\nB) blue is right.\nC) no.\nThe answer: B", "B"),
    ("Let me think about A and D.\n\n**B**\n", "B"),
    ("B) because A is wrong", "B"),
    ("B. Paris", "B"),
    ("B because A and C fail", "B"),
    ("**C) Paris**\n\nWhy not the others:\nA) is in England.\nB) is in Italy.", "C"),
    ("A) Paris\nB) Rome", None),
    ("It's B. C is wrong.", "B"),
    ("So it must be D, not C", "D"),
    ("A, since B is false", "A"),
    ("A triangle has three sides, so D", "D"),
    ("Neither A nor B holds, so C.", "C"),
    ("Paris (B)", "B"),
    ("Die Antwort ist B.", "B"),
    ("La respuesta correcta es C", "C"),
    ("\u7b54\u6848\u662fB\u3002", "B"),
    ("\u7b54\u6848\uff1aB", "B"),
    ("\u9009B", "B"),
    ("A) red\nB) blue\nC) green", None),
    ("A good answer is hard to give.", None),
    ("I do not know.", None),
    ("Paris", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_the_letter_is_the_one_stated_as_the_answer(text: str, letter: str | None) -> None:
    assert chosen_letter(text) == letter


GRADES = [
    ("exact", "Paris", "paris", 1),
    ("exact", "  New\n York ", "new york", 1),
    ("exact", "Cafe\u0301", "caf\u00e9", 1),
    ("exact", "STRASSE", "stra\u00dfe", 1),
    ("exact", "Paris.", "Paris", 0),
    ("exact", "True", True, 1),
    ("exact", "no", False, 0),
    ("exact", "42", 42.0, 1),  # a column of whole numbers with gaps is read as floats
    ("exact", "0.5", 0.5, 1),
    ("exact", "<think>Lyon? No.</think>\n\nParis", "Paris", 1),
    ("number", "It is 41.99999999", "42", 1),
    ("number", "It is 41.999", "42", 0),
    ("number", "0", 0, 1),
    ("number", "0.0000001", 0, 0),
    ("number", "-42", 42, 0),
    ("number", "The cost is $1,234.", "1234", 1),
    ("number", "1234", Decimal("1234.00"), 1),
    ("number", "42 of 100, so 42%", "42%", 1),
    ("number", "none", "42", 0),
    ("number", "75%", "#### 75", 1),
    ("number", "so 18", "Janet sells 16 - 3 - 4 = 9 eggs, which are 9 * 2.\n#### 18", 1),
    ("number", "The probability is 3/4.", "3/4", 1),
    ("number", "0.75", "3/4", 1),
    ("number", "4", "3/4", 0),
    ("number", "5/4", "8/2", 0),
    ("number", "3/4", 0.75, 1),
    ("number", "17/24", 24, 1),  # the last number
    ("number", "42", "forty-two", None),
    ("choice", "The answer is (B).", "B", 1),
    ("choice", "B", "b", 1),
    ("choice", "B", "(B)", 1),
    ("choice", "B", "B) Paris", 1),
    ("choice", "C", "B", 0),
    ("choice", "Paris", "B", 0),
    ("choice", "B", "Paris", None),
    ("contains", "The capital is PARIS.", "Paris", 1),
    ("contains", "The capital is Lyon.", "Paris", 0),
    ("contains", "I know", "no", 1),  # whatever stands beside it
    ("contains", "in 1969", 1969, 1),
    ("f1", "The capital is Paris", "Paris", 0.4),
    ("f1", "Paris", "paris!", 1),
    ("f1", "a a b", "a b b", 2 / 3),
    ("f1", "Lyon", "Paris", 0),
    ("f1", "Zürich, ÉCOLE", "école zürich", 1),
    ("f1", "?!", "?!", 1),
    ("f1", "Paris", "?!", 0),
    ("auto", "The answer is 42.", "42", 1),
    ("auto", "1,234", 1234, 1),
    ("auto", "forty-two", "42", 0),
    ("auto", "The answer is (B).", "B", 1),
    ("auto", "B) because A is wrong", "b", 1),
    ("auto", "Apollo 11", "apollo 11", 1),
    ("auto", "Saturn 11", "Apollo 11", 0),
    ("auto", "Yes", "yes", 1),
    ("auto", "Yes, it is", "yes", 0),
    ("auto", "Yes", True, 0),
    ("auto", "so 18", "9 * 2 = 18\n#### 18", 1),
    ("auto", r"\boxed{0.5}", r"$\frac{1}{2}$", 1),
    ("auto", "3-5", "3-5", 1),
]


@pytest.mark.parametrize(("match", "answer", "reference", "grade"), GRADES)
def test_an_answer_gets_its_grade(match: Match, answer: str, reference: Any, grade: float | None) -> None:
    assert reference_grade(answer, reference, match) == pytest.approx(grade)


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("reference", [None, math.nan, "", " \n", [], [None, ""], {"text": "42"}, b"42", math.inf])
def test_without_a_right_answer_there_is_no_grade(match: Match, reference: Any) -> None:
    assert reference_grade("42", reference, match) is None
    assert reference_grade(None, reference, match) is None


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("answer", [None, "", " \n\t", "<think>4</think>"])
def test_no_answer_is_wrong(match: Match, answer: str | None) -> None:
    reference = "B" if match == "choice" else "4"
    assert reference_grade(answer, reference, match) == 0


def test_of_several_right_answers_the_best_grade_counts() -> None:
    assert reference_grade("Paris", ["Lyon", "Paris"], "exact") == 1
    assert reference_grade("Paris", [None, "Lyon"], "exact") == 0
    assert reference_grade("the 12", [7, 12], "auto") == 1
    assert reference_grade("red fish", ["blue whale", "red fox"], "f1") == 0.5


@pytest.mark.parametrize(
    "unit", ["1", "1,23", "1,234", "1.234.", "1/", "1 234 ", "-", "^", "$ ", "#", "\\boxed{", "("]
)
@pytest.mark.parametrize("match", ["number", "auto", "f1"])
@pytest.mark.timeout(20)
def test_many_numbers_take_time_by_their_length(unit: str, match: Match) -> None:
    assert reference_grade(unit * (100_000 // len(unit)), 42, match) == 0


@pytest.mark.parametrize(
    "unit", ["A ", "A)\n", "answer is ", "answer    ", "\n", " ", "[", "option option B ", "choose "]
)
@pytest.mark.timeout(20)
def test_many_letters_take_time_by_their_length(unit: str) -> None:
    assert reference_grade(unit * (100_000 // len(unit)), "D", "choice") == 0


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["number", "auto"]))
def test_a_number_is_right_however_python_writes_it(value: float, match: Match) -> None:
    assert reference_grade(f"So it is {value!r}.", value, match) == 1
    assert reference_grade(f"So it is {value!r}.", repr(value), match) == 1


@given(st.integers(-(10**15), 10**15))
def test_thousands_change_nothing(value: int) -> None:
    for separator in ",_' \u202f":
        assert reference_grade(f"In all {value:,}".replace(",", separator), value, "number") == 1


@given(st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_a_stated_letter_is_right_if_it_is_the_same(letter: str, other: str) -> None:
    for form in (
        "{}",
        "({})",
        "**{}**",
        "Answer: {}",
        "The answer is {}.",
        "It is not Q but {}.",
        "{}) as Q is wrong",
    ):
        assert reference_grade(form.format(letter), other, "auto") == (letter == other)


@given(st.text(), st.one_of(st.text(), st.floats(), st.booleans(), st.integers()), st.sampled_from(MATCHES))
def test_a_grade_lies_between_0_and_1(answer: str, reference: str | float, match: Match) -> None:
    grade = reference_grade(answer, reference, match)
    assert grade is None or 0 <= grade <= 1


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["exact", "contains", "f1"]))
def test_the_right_answer_itself_is_right(reference: str, match: Match) -> None:
    if "####" not in reference and "</think>" not in reference:
        assert reference_grade(reference, reference, match) == 1


@pytest.mark.parametrize(
    ("response", "reference", "match", "grade"),
    [
        ("It is 105.", '["105", "105.0"]', "auto", 1.0),
        ("It is 105.", "[104, 105]", "auto", 1.0),
        ("It is 106.", '["104", "105"]', "auto", 0.0),
        ("The answer is B.", '["A", "B"]', "auto", 1.0),
        ("Rome", '["Paris", "rome"]', "exact", 1.0),
        ("[1, 2]", "[1, 2]", "exact", 1.0),  # the text as it is
        ("Rome", "[Rome", "exact", 0.0),
        ("Rome", "[]", "exact", None),
        ("Rome", "[null]", "exact", None),
    ],
)
def test_a_list_that_a_file_holds_as_json_is_a_list_of_right_answers(
    response: str, reference: str, match: Match, grade: float | None
) -> None:
    assert reference_grade(response, reference, match) == grade
