"""Answers of a provider that has a skill: which questions it works out, how often it is right, how it errs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.grade.match import reference_grade
from batchroute.simulate.arithmetic import last_number, work_out
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.provider import CHAT, MESSAGES, RESPONSES, Provider
from batchroute.simulate.skill import chance_right, near_miss
from sums import sums

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("text", "value", "steps"),
    [
        ("What is 417 + 268?", "685", 3),
        ("17 * 23 = ?", "391", 4),
        ("12 + 7 - 3", "16", 4),
        ("Compute 2 + 3 * 4 - 5.", "9", 5),
        ("(1,200 - 350) x 4", "3400", 7),
        ("((2 + 3) * (4 - 1)) / 5 =", "3", 5),
        ("6 plus 4 divided by 8, please", "6.5", 2),
        ("12 \u2212 15 =", "-3", 2),
        ("What is -3 + 5 - -4?", "6", 2),
        ("What is 12-7?", "5", 2),
        ("1.5+2.25", "3.75", 3),
        ("10 - 3 - 2", "5", 3),
        ("16 / 4 / 2", "2", 3),
        ("2 + 2 = 4. And 30 + 4 = ", "34", 2),
        ("999999 + 999999", "1999998", 6),
        ("0 * 5 - 0", "0", 2),
    ],
)
def test_a_question_of_arithmetic_is_worked_out(text: str, value: str, steps: int) -> None:
    found = work_out(text)
    assert found is not None
    assert (found.value, found.steps) == (Decimal(value), steps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why is the sky blue?",
        "The meeting of 2026-11-28 lasted from 10:30 - 11:45.",
        "Version 1.2.3 - 4 of the 24/7 service",
        "What is 1 / 3?",
        "What is 7 / 0?",
        "(2 + 3 = ?",
        "2 + 3) = ?",
        "2^3 + 1 = ?",
        "3 apples and 4 pears",
        "1 + " * 200 + "1",
        f"{'9' * 40} + 1",
        f"{'9' * 20} * {'7' * 20}",
    ],
)
def test_what_is_no_such_question_is_left_alone(text: str) -> None:
    assert work_out(text) is None


@given(st.text(st.sampled_from("0123456789+-*/x() .,=?a"), max_size=80))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    found = work_out(text)
    assert found is None or found.steps > 0


OPERANDS = st.integers(-9999, 9999)


@given(st.lists(OPERANDS, min_size=2, max_size=6), st.data())
def test_a_chain_has_the_value_that_python_gives_it(numbers: list[int], data: st.DataObject) -> None:
    operators = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1))
    written = str(numbers[0]) + "".join(
        f" {sign} {number}" for sign, number in zip(operators, numbers[1:], strict=True)
    )
    found = work_out(f"What is {written}?")
    assert found is not None
    assert found.value == eval(written)  # noqa: S307  made of numbers and signs above


@given(st.decimals(-(10**9), 10**9, places=2) | st.integers(-(10**20), 10**20).map(Decimal), st.floats(0, 0.999))
def test_a_near_miss_is_near_and_no_tolerance_takes_it_for_right(value: Decimal, draw: float) -> None:
    missed = near_miss(value, draw)
    off = abs(missed - value)
    assert off.normalize().as_tuple().digits == (1,), "one digit"
    assert off <= max(abs(value), Decimal(1))
    assert reference_grade(f"It is {missed:f}.", f"{value:f}", "number") == 0


def asked(provider: Provider, prompt: str, model: str = "m", route: str = CHAT, **more: Any) -> Any:
    said = {"input": prompt} if route == RESPONSES else {"messages": [{"role": "user", "content": prompt}]}
    reply = provider.receive(route, HEADERS, json.dumps({"model": model, **said, **more}).encode(), 0.0)
    provider.release()
    return json.loads(reply.body)


HEADERS: Mapping[str, str] = {"anthropic-version": "2023-06-01"}


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def skilled(skill: float | None, seed: int = 0) -> Provider:
    return Provider(Behaviour(skill=skill, seed=seed), 0.0)


def share_right(skill: float, digits: int, count: int = 1500) -> float:
    provider = skilled(skill)
    rows = [row for row in sums(count * 6) if row.digits == digits]
    answers = [text_of(asked(provider, row.prompt)) for row in rows]
    right = [reference_grade(answer, row.answer, "auto") for answer, row in zip(answers, rows, strict=True)]
    return sum(filter(None, right)) / len(rows)


@pytest.mark.parametrize(("skill", "digits"), [(0.6, 2), (0.6, 4), (0.95, 6), (1.0, 6), (0.0, 3)])
def test_sums_are_right_as_often_as_the_skill_says(skill: float, digits: int) -> None:
    chance = chance_right(skill, digits)
    assert share_right(skill, digits) == pytest.approx(
        chance, abs=4 * (chance * (1 - chance) / 1400) ** 0.5 + 1e-9
    )


def test_skill_tells_more_where_it_is_hard() -> None:
    lead = [chance_right(0.95, steps) - chance_right(0.6, steps) for steps in range(1, 7)]
    assert lead == sorted(lead)
    assert [chance_right(0.7, 4), chance_right(1, 9), chance_right(0, 1)] == [0.7, 1, 0]


def test_an_answer_says_the_sum_in_words_and_is_marked_and_billed_as_any_other() -> None:
    plain, worked = (asked(skilled(skill), "Please: what is 417 + 268?") for skill in (None, 1.0))
    assert text_of(worked).startswith("[simulated] 417 + 268 = 685. ")
    assert last_number(text_of(worked)) == 685
    assert plain["usage"] == worked["usage"]
    assert text_of(plain).startswith("[simulated] No model was asked; this stands in for an answer of m. ")
    assert len(text_of(plain)) == len(text_of(worked)) == 4 * worked["usage"]["completion_tokens"]


def test_an_answer_depends_on_the_seed_the_model_and_the_prompt_alone() -> None:
    prompts = [row.prompt for row in sums(200)]

    def answers(seed: int, model: str) -> list[str]:
        provider = skilled(0.5, seed)
        return [text_of(asked(provider, prompt, model)).partition(". ")[0] for prompt in prompts]

    first = answers(0, "m")
    assert first == answers(0, "m")
    for other in (answers(1, "m"), answers(0, "another")):
        assert 20 < sum(a != b for a, b in zip(first, other, strict=True)) < 180


def test_the_last_message_of_the_user_is_what_is_answered() -> None:
    turns = [
        {"role": "user", "content": "1 + 1 = ?"},
        {"role": "assistant", "content": "1 + 1 = 2"},
        {"role": "user", "content": [{"type": "text", "text": "And 17 * 23 = ?"}]},
        {"role": "assistant", "content": "Well, as 2 + 2 = 4,"},
    ]
    provider, begun = skilled(1.0), "[simulated] 17 * 23 = 391. "
    assert text_of(asked(provider, "", messages=[{"role": "system", "content": "5 + 5"}, *turns])).startswith(
        begun
    )
    assert asked(provider, "", route=MESSAGES, messages=turns, max_tokens=90)["content"][0]["text"].startswith(
        begun
    )
    output = asked(provider, "", route=RESPONSES, input=turns)["output"]
    assert output[0]["content"][0]["text"].startswith(begun)


@pytest.mark.parametrize(("route", "more"), [(RESPONSES, {}), (MESSAGES, {"max_tokens": 500})])
def test_other_dialects_are_answered_alike(route: str, more: dict[str, Any]) -> None:
    answer = asked(skilled(1.0), "17 * 23 = ?", route=route, **more)
    (block,) = answer["content"] if route == MESSAGES else answer["output"][0]["content"]
    assert block["text"].startswith("[simulated] 17 * 23 = 391. ")


def test_what_is_no_sum_gets_an_answer_that_says_how_good_it_is() -> None:
    provider = skilled(0.6)
    texts = [text_of(asked(provider, f"Describe the town of number {n}.")) for n in range(300)]
    good = sum("for a good answer of m" in text for text in texts)
    assert good + sum("for a poor answer of m" in text for text in texts) == 300
    hard = [text_of(asked(provider, f"Describe number {n}. " * 60)) for n in range(300)]
    assert sum("for a good answer" in text for text in hard) < 150 < good


@pytest.mark.parametrize("skill", [-0.1, 1.1, float("nan")])
def test_a_skill_that_is_none(skill: float) -> None:
    with pytest.raises(UsageFault, match="skill"):
        Behaviour(skill=skill)


def test_a_skill_may_change_while_the_provider_works() -> None:
    provider = skilled(1.0)
    provider.control({"skill": 0.0})
    assert "= 685." not in text_of(asked(provider, "417 + 268 ="))
