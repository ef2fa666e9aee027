from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import result
from batchroute.job.endpoint import Price
from batchroute.job.prices import Target, find_pricing
from batchroute.run.settle import left_open, never_sent, settled
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome, Request, Spent
from batchroute.types import Completion, Prompt, Usage

if TYPE_CHECKING:
    from batchroute.types import Result, Status

NOW_US = 1_795_000_000_000_000
PRICE = Price.model_validate({"input": 2, "cached_input": 0.5, "output": 10})
ASKED = Target("strong", "big-model", find_pricing("big-model", PRICE, None))
PROMPT = Prompt("prompts.jsonl", 4, "id-4", b"[]", keep=b"kept")
REQUEST = Request(PROMPT, b"{}", 100, 0.75, "score")
COMPLETION = Completion("big-model-2026", "yes", "because", '[{"id": "1"}]', "stop")
OK = Answer(verdict="ok", completion=COMPLETION, body='{"id": 1}', latency_s=1.5)
REFUSED = Answer(verdict="refused", error_type="http_400", error="HTTP 400: no", latency_s=0.5)


def ended(
    answer: Answer,
    status: Status,
    *usages: Usage,
    attempts: int = 1,
    earlier: Result | None = None,
    raw: bool = False,
) -> Result:
    return settled(REQUEST, Outcome(status, answer, attempts, usages), ASKED, earlier, NOW_US, raw=raw)


def columns(of: Result, *names: str) -> list[Any]:
    return [getattr(of, name) for name in names]


def test_an_answer_fills_every_column() -> None:
    usage = Usage(1000, 200, 300, 100)
    entry = ended(OK, "ok", usage, attempts=2, raw=True)
    assert columns(entry, "file", "row", "id", "score", "route", "route_reason", "model", "status", "keep") == [
        "prompts.jsonl",
        4,
        "id-4",
        0.75,
        "strong",
        "score",
        "big-model",
        "ok",
        b"kept",
    ]
    assert columns(entry, "served_model", "response", "reasoning", "tool_calls", "finish_reason", "raw") == [
        "big-model-2026",
        "yes",
        "because",
        '[{"id": "1"}]',
        "stop",
        '{"id": 1}',
    ]
    assert columns(entry, "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens") == [
        1000,
        200,
        300,
        100,
    ]
    assert entry.cost_usd == float(Decimal(800 * 2 + 200 * Decimal("0.5") + 300 * 10) / 10**6)
    assert columns(entry, "attempts", "latency_s", "error_type", "error", "finished_at") == [
        2,
        1.5,
        None,
        None,
        NOW_US,
    ]


def test_the_body_is_kept_only_where_it_is_wanted() -> None:
    assert ended(OK, "ok").raw is None


@pytest.mark.parametrize("status", ["refused", "failed"])
def test_a_row_without_an_answer_says_why_and_has_no_text(status: Status) -> None:
    entry = ended(REFUSED, status, attempts=3)
    assert columns(
        entry, "status", "response", "error_type", "error", "attempts", "cost_usd", "prompt_tokens"
    ) == [
        status,
        None,
        "http_400",
        "HTTP 400: no",
        3,
        None,
        None,
    ]
    assert entry.keep == (b"kept" if status == "refused" else b"")


def test_what_nobody_knows_is_never_zero() -> None:
    assert ended(OK, "ok").cost_usd is None
    unpriced = replace(ASKED, pricing=None)
    entry = settled(REQUEST, Outcome("ok", OK, 1, (Usage(10, 0, 5, 0),)), unpriced, None, NOW_US, raw=False)
    assert (entry.cost_usd, entry.prompt_tokens) == (None, 10)


COUNT = st.none() | st.integers(0, 10_000)
USAGES = st.lists(st.builds(Usage, COUNT, COUNT, COUNT, COUNT), max_size=5)


def known_sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@given(earlier=USAGES, now=USAGES)
def test_tokens_and_cost_are_those_of_every_attempt_of_every_run(earlier: list[Usage], now: list[Usage]) -> None:
    former = left_open(REQUEST, Spent(len(earlier), tuple(earlier)), ASKED, None, NOW_US)
    entry = ended(OK, "ok", *now, attempts=len(earlier) + len(now), earlier=former)
    every = [*earlier, *now]
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"):
        assert getattr(entry, name) == known_sum([getattr(usage, name) for usage in every])
    assert ASKED.pricing
    costs = [cost for cost in map(ASKED.pricing.cost, every) if cost is not None]
    assert entry.cost_usd == (pytest.approx(float(sum(costs)), rel=1e-12) if costs else None)
    assert entry.attempts == len(every)


def test_money_is_added_in_decimals() -> None:
    earlier = result(4, "failed", cost_usd=0.1)
    assert ended(OK, "ok", Usage(100_000, 0, 0, 0), earlier=earlier).cost_usd == 0.3


def test_a_row_left_open_keeps_what_it_cost_and_nothing_else() -> None:
    spent = Spent(3, (Usage(10, 0, 5, 0),))
    entry = left_open(REQUEST, spent, ASKED, result(4, "failed", cost_usd=1.0), NOW_US)
    assert columns(entry, "status", "attempts", "keep", "error_type", "response", "prompt_tokens") == [
        "open",
        3,
        b"",
        None,
        None,
        10,
    ]
    assert entry.cost_usd == 1.00007


def test_a_row_the_input_refuses_never_had_a_side() -> None:
    prompt = Prompt("prompts.jsonl", 6, None, b"", keep=b"kept", refusal="line 7: not JSON")
    entry = never_sent(Request(prompt, b"", 0, None, "score"), ASKED, None, NOW_US)
    assert columns(entry, "status", "route", "route_reason", "model", "score", "attempts") == [
        "refused",
        None,
        None,
        None,
        None,
        0,
    ]
    assert columns(entry, "error_type", "error", "keep", "cost_usd") == [
        "bad_row",
        "line 7: not JSON",
        b"kept",
        None,
    ]


def test_a_row_too_long_for_its_side_has_one() -> None:
    prompt = Prompt("prompts.jsonl", 6, None, b"", refusal="about 9 input tokens", refusal_type="too_long")
    entry = never_sent(Request(prompt, b"", 9, 0.5, "override"), ASKED, None, NOW_US)
    assert columns(entry, "status", "route", "route_reason", "score", "error_type") == [
        "refused",
        "strong",
        "override",
        0.5,
        "too_long",
    ]
