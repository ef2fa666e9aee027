"""The simulated judge is asked what a run's judge is asked, and answers what a run can read."""

from __future__ import annotations

import json
from itertools import pairwise as neighbours
from typing import TYPE_CHECKING, Any

import pytest

from answers import result
from batchroute.grade import pairwise, rubric
from batchroute.grade.pairwise import BothOrders, pairwise_messages, preference
from batchroute.grade.rubric import rubric_grade, rubric_messages
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.provider import CHAT, MESSAGES, RESPONSES, Provider
from batchroute.simulate.skill import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CRITERIA = "Right."
HEADERS: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
RIGHT, WRONG = "[simulated] 417 + 268 = 685. ", "I think that 417 + 268 is 675, more or less."
GOOD, POOR = stand_in("m", "a good"), stand_in("n", "a poor")


def conversation(prompt: str, system: str = "Reckon with 1 + 1 = 2.") -> bytes:
    return json.dumps([{"role": "system", "content": system}, {"role": "user", "content": prompt}]).encode()


SUM = conversation("What is 417 + 268?")
STORY = conversation("Tell me a story.")


def judge(messages: bytes, form: dict[str, Any] | None = None, **settings: Any) -> str:
    more = {} if form is None else {"response_format": form}
    return said(messages, more, **settings)


def said(messages: bytes, more: dict[str, Any], **settings: Any) -> str:
    body = json.dumps({"model": "judge", "messages": json.loads(messages), **more}).encode()
    provider = Provider(Behaviour(**settings), 0.0)
    reply = provider.receive(CHAT, {}, body, 0.0)
    return str(json.loads(reply.body)["choices"][0]["message"]["content"])


def points(question: bytes, text: str, **settings: Any) -> float:
    verdict = judge(
        rubric_messages(question, result(1, response=text), CRITERIA), rubric.RESPONSE_FORMAT, **settings
    )
    assert json.loads(verdict).keys() == {"reason", "points"}
    grade = rubric_grade(verdict)
    assert grade is not None
    return 10 * grade


def orders(question: bytes, strong: str, weak: str, **settings: Any) -> BothOrders:
    first, second = (
        preference(
            judge(
                pairwise_messages(question, result(1, response=a), result(1, response=b), CRITERIA),
                pairwise.RESPONSE_FORMAT,
                **settings,
            )
        )
        for a, b in ((strong, weak), (weak, strong))
    )
    assert first is not None
    assert second is not None
    return BothOrders(first, second)


@pytest.mark.parametrize("skill", [None, 1.0])
@pytest.mark.parametrize(
    ("question", "text", "fair"),
    [
        (SUM, RIGHT, {9, 10}),
        (SUM, "685", {9, 10}),
        (SUM, "First 400 + 260 = 660, so it is 685", {9, 10}),
        (SUM, WRONG, {2, 3}),
        (SUM, "I cannot say.", {2, 3}),
        (SUM, "", {2, 3}),
        (STORY, GOOD, {9, 10}),
        (STORY, POOR, {2, 3}),
        (STORY, "Once upon a time.", set(range(2, 11))),
    ],
)
def test_points_are_those_that_an_answer_deserves(
    question: bytes, text: str, fair: set[int], skill: float | None
) -> None:
    given = {points(question, text, seed=n, skill=skill) for n in range(30)}
    assert given <= fair
    assert len(given) > 1, "a judge is never quite sure"


def test_an_answer_that_says_nothing_of_itself_is_as_good_wherever_it_stands() -> None:
    texts = [f"Story number {n}." for n in range(40)]
    assert len({points(STORY, text) for text in texts}) > 5
    for text, other in neighbours(texts):
        found = orders(STORY, text, other)
        assert found.agree or "tie" in (found.strong_first, found.weak_first)


def test_the_better_one_wins_in_both_orders() -> None:
    assert orders(SUM, WRONG, RIGHT).weak_grade == 1
    assert orders(SUM, RIGHT, WRONG).weak_grade == 0
    assert orders(STORY, POOR, GOOD).weak_grade == 1


def test_ties_are_called_for_the_first_place_now_and_then() -> None:
    found = [orders(SUM, RIGHT, "685!", seed=n) for n in range(300)]
    assert {each.weak_grade for each in found} == {0.5}
    assert 0.7 < sum(each.agree for each in found) / 300 < 0.9


def test_the_skill_is_how_often_a_verdict_comes_from_what_is_judged() -> None:
    given = [points(SUM, WRONG, seed=n, skill=0.7) for n in range(300)]
    assert 0.65 < sum(each <= 3 for each in given) / 300 < 0.85
    found = [orders(SUM, RIGHT, WRONG, seed=n, skill=0.7) for n in range(300)]
    assert 0.4 < sum(each.agree for each in found) / 300 < 0.8
    firsts = [place for each in found for place in (each.strong_first, each.weak_first)]
    assert firsts.count("A") > firsts.count("B") > 0, "the first place is favoured"


def test_without_a_schema_the_verdict_is_text() -> None:
    ask, compare = (
        rubric_messages(SUM, result(1, response=RIGHT), CRITERIA),
        pairwise_messages(SUM, result(1, response=RIGHT), result(1, response=WRONG), ""),
    )
    assert rubric_grade(judge(ask)) in {0.9, 1.0}
    assert preference(judge(compare)) == "A"
    assert rubric_grade(judge(ask, {"type": "json_object"})) in {0.9, 1.0}
    marked = json.dumps(
        [*json.loads(ask)[:-1], {"role": "user", "content": json.loads(ask)[-1]["content"] + " [[5]]"}]
    )
    assert judge(marked.encode()) in {"[[9]]", "[[10]]"}
    assert judge(json.dumps([{"role": "user", "content": "What is [[A]] in a wiki?"}]).encode()).startswith(
        "[simulated]"
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"points": {"type": "integer", "minimum": 1, "maximum": 10}}, "points"),
        ({"points": {"type": "integer", "enum": list(range(1, 11))}}, "points"),
        ({"points": {"type": "integer", "minimum": 0}}, None),
        ({"points": {"type": "array", "items": {"type": "integer"}}}, None),
        ({"points": True}, None),
        ({"better": {"enum": ["tie", "A", "B"]}}, "better"),
        ({"better": {"type": "string"}}, None),
    ],
)
def test_only_a_verdict_s_schema_asks_for_one(fields: dict[str, Any], field: str | None) -> None:
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    form = {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    prompts = [json.dumps([{"role": "user", "content": f"Judge {n}"}]).encode() for n in range(40)]
    given = {judge(prompt, form, skill=0.0) for prompt in prompts}
    assert (len(given) > 1) == (field is not None)


def in_responses(messages: list[Any], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    form = {"type": "json_schema", "name": "verdict", "schema": schema}
    return RESPONSES, {"instructions": messages[0]["content"], "input": messages[1:], "text": {"format": form}}


def in_messages(messages: list[Any], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    form = {"type": "json_schema", "schema": schema}
    said = {"system": messages[0]["content"], "messages": messages[1:], "max_tokens": 500}
    return MESSAGES, {**said, "output_config": {"format": form}}


@pytest.mark.parametrize("dialect", [in_responses, in_messages])
def test_other_dialects_are_judged_in(
    dialect: Callable[[list[Any], dict[str, Any]], tuple[str, dict[str, Any]]],
) -> None:
    asked = json.loads(rubric_messages(SUM, result(1, response=RIGHT), CRITERIA))
    route, fields = dialect(asked, rubric.RESPONSE_FORMAT["json_schema"]["schema"])
    provider = Provider(Behaviour(), 0.0)
    said = json.loads(provider.receive(route, HEADERS, json.dumps({"model": "m", **fields}).encode(), 0.0).body)
    (block,) = said["content"] if route == MESSAGES else said["output"][0]["content"]
    assert rubric_grade(block["text"]) in {0.9, 1.0}


def test_a_verdict_that_nobody_can_read() -> None:
    verdict = judge(
        rubric_messages(SUM, result(1, response=RIGHT), CRITERIA),
        rubric.RESPONSE_FORMAT,
        faults={"unreadable": 1.0},
    )
    assert rubric_grade(verdict) is None
    assert preference(verdict) is None
