"""What a pilot is expected to cost beside its rows, from sums over the rows that may be drawn."""

from __future__ import annotations

from typing import Any

import pytest

from batchroute.job.endpoint import EndpointSpec
from batchroute.job.pilot import PilotSpec
from batchroute.job.prices import find_pricing
from batchroute.route.forecast.assumptions import NANO, Assumptions, assume
from batchroute.route.forecast.evidence import Band, TokenRatio
from batchroute.route.forecast.pilot import NOTHING, VERDICT_TOKENS, EligibleRows, Judging, pilot_cost

RATIO = TokenRatio(Band(0.25, 0.25, 0.25), "given")


def assumed(
    tokens: int, price: tuple[float, float] | None = (2.0, 10.0), usual: Band | None = None
) -> Assumptions:
    url = "http://127.0.0.1:9/v1"
    settings: dict[str, Any] = {"model": "m", "base_url": url, "params": {"max_tokens": tokens}}
    if price is not None:
        settings["price"] = {"input": price[0], "output": price[1]}
    spec = EndpointSpec.model_validate(settings)
    return assume(spec, find_pricing("m", spec.price, None), RATIO, None, usual or Band(tokens, tokens, tokens))


SIDES = {"strong": assumed(500), "weak": assumed(500, (0.2, 1.0))}
ELIGIBLE = EligibleRows(
    50_000, {"strong": Band(0.01 * NANO, 0.01 * NANO, 0.01 * NANO), "weak": Band(*[0.001 * NANO] * 3)}, 1000.0
)
# 2 questions of (1,000 ours + 1,000 shown + 500 tokens * 4) characters / 4 = 1,000 tokens in, 100 out.
JUDGE_USD = 2 * (1000 * 2e-6 + 100 * 10e-6)


def pilot(**settings: Any) -> PilotSpec:
    return PilotSpec.model_validate({"judge": "reference", "reference": "answer", **settings})


def judging(answers: int = 1, price: tuple[float, float] | None = (2.0, 10.0)) -> Judging:
    return Judging(assumed(100, price, VERDICT_TOKENS), questions=2, answers=answers, words=1000)


def test_the_other_side_of_every_row() -> None:
    cost = pilot_cost(pilot(), ELIGIBLE, SIDES, None)
    assert (cost.rows, cost.eligible, cost.judge_usd) == (400, 50_000, NOTHING)
    assert cost.cost_usd == pytest.approx((0.4, 2.2, 4.0))
    assert cost.total_usd == cost.cost_usd


def test_a_judge_reads_its_words_the_conversation_and_the_answers() -> None:
    cost = pilot_cost(pilot(), ELIGIBLE, SIDES, judging())
    assert cost.judge_usd is not None
    assert cost.judge_usd.mid == pytest.approx(400 * JUDGE_USD)
    assert cost.cost_usd is not None
    assert cost.cost_usd.mid == pytest.approx(2.2 + 400 * JUDGE_USD)
    both = pilot_cost(pilot(), ELIGIBLE, SIDES, judging(answers=2))
    assert both.judge_usd is not None
    assert both.judge_usd.mid - cost.judge_usd.mid == pytest.approx(400 * 2 * 500 * 2e-6), "the second answer"


def test_by_default_it_is_below_a_fiftieth_of_an_all_strong_job_of_50_000_rows() -> None:
    all_strong_usd = 50_000 * 0.01
    for found in (pilot_cost(pilot(), ELIGIBLE, SIDES, None), pilot_cost(pilot(), ELIGIBLE, SIDES, judging(2))):
        assert found.cost_usd is not None
        assert found.cost_usd.high < 0.02 * all_strong_usd


@pytest.mark.parametrize(
    ("settings", "eligible", "rows", "lowest"),
    [
        ({}, 50_000, 400, 400),
        ({}, 90, 90, 90),
        ({}, 0, 0, 0),
        ({"rows": "auto"}, 50_000, 2000, 200),
        ({"rows": "auto", "max_rows": 150}, 50_000, 150, 150),
        ({"rows": "auto"}, 1000, 1000, 200),
        ({"reuse": "/earlier"}, 50_000, 400, 0),
    ],
)
def test_how_many_rows_are_asked(settings: dict[str, Any], eligible: int, rows: int, lowest: int) -> None:
    found = pilot_cost(pilot(**settings), EligibleRows(eligible, ELIGIBLE.answer_nano, 1000.0), SIDES, None)
    assert found.rows == rows
    assert found.cost_usd == pytest.approx((lowest * 0.001, rows * 0.0055, rows * 0.01))


@pytest.mark.parametrize(
    ("sides", "judge"),
    [
        ({**SIDES, "weak": assumed(500, None)}, None),
        ({**SIDES, "strong": assumed(500, None)}, judging()),
        (SIDES, judging(price=None)),
    ],
)
def test_an_unknown_price_is_an_unknown_cost(sides: dict[str, Assumptions], judge: Judging | None) -> None:
    found = pilot_cost(pilot(watch=0.1), ELIGIBLE, sides, judge)
    assert (found.cost_usd, found.watch_usd, found.total_usd) == (None, None, None)


def test_watched_rows_are_asked_beside_too() -> None:
    found = pilot_cost(pilot(watch=0.01), ELIGIBLE, SIDES, None)
    assert found.watch_rows == 496, "of the 49,600 that are none of the pilot's"
    assert found.watch_usd == pytest.approx((0.496, 2.728, 4.96))
    assert found.cost_usd is not None
    assert found.total_usd == pytest.approx((0.896, 4.928, 8.96))
