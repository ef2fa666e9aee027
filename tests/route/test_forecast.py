"""A forecast against adding up row by row, and what it assumes."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.job.endpoint import EndpointSpec
from batchroute.job.prices import find_pricing
from batchroute.job.spec import Endpoints, InputSpec, RouterSpec
from batchroute.route.forecast.assumptions import NANO, assume
from batchroute.route.forecast.estimator import totals_at
from batchroute.route.forecast.evidence import (
    SAMPLE_ROWS,
    UNMEASURED,
    Band,
    EarlierAnswers,
    TokenRatio,
    measured,
    sample_texts,
)
from batchroute.route.threshold import lowest_fitting
from batchroute.run.open import open_input
from batchroute.run.prepare import score_into
from batchroute.send.tokens import find_tokenizer
from batchroute.store.scores import ScoredRows
from batchroute.types import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.route.forecast.assumptions import Assumptions

RATIO = TokenRatio(Band(0.2, 0.25, 0.3), "given")


def spec(**settings_: Any) -> EndpointSpec:
    return EndpointSpec.model_validate({"model": "m", "base_url": "http://127.0.0.1:9/v1", **settings_})


def assumptions(price: tuple[str, str] | None = ("2", "10"), **settings_: Any) -> Assumptions:
    price_of = {"price": {"input": float(price[0]), "output": float(price[1])}} if price else {}
    of = spec(**price_of, **settings_)
    return assume(of, find_pricing(of.model, of.price, None), RATIO, None)


rows_of_input = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.75]), st.just(math.nan)),
        st.sampled_from([None, None, None, "strong", "weak"]),
        st.integers(0, 400_000),
    ),
    max_size=25,
)
limits = st.fixed_dictionaries(
    {"max_input_tokens": st.sampled_from([None, 100, 5000]), "on_too_long": st.sampled_from(["refuse", "other"])}
)


def scored(rows: list[tuple[float, str | None, int]]) -> ScoredRows:
    score, forced, chars = zip(*rows, strict=True) if rows else ((), (), ())
    return ScoredRows(
        files=["f"],
        file=np.zeros(len(rows), np.int32),
        row=np.arange(len(rows)),
        score=np.array(score, np.float64),
        forced=np.array(forced, dtype=object),
        chars=np.array(chars, np.int64),
    )


def cost_by_hand(rows: ScoredRows, threshold: float, specs: dict[str, EndpointSpec]) -> Decimal:
    """A row at a time, with Decimals; SPEC's rules in plain words."""
    total = Decimal(0)
    for score, forced, chars in zip(rows.score, rows.forced, rows.chars, strict=True):
        if math.isnan(score):
            continue
        side = forced or ("strong" if score >= threshold else "weak")
        other = "weak" if side == "strong" else "strong"
        fits = {name: -(-int(chars) // 4) <= (of.max_input_tokens or math.inf) for name, of in specs.items()}
        if not fits[side]:
            if specs[side].on_too_long == "refuse" or not fits[other]:
                continue
            side = other
        price = specs[side].price
        assert price is not None
        total += (Decimal(int(chars)) / 4 * price.input + 500 * price.output) / 1_000_000
    return total


@given(st.lists(rows_of_input, max_size=3), st.lists(st.floats(0, 1), min_size=1, max_size=4), limits, limits)
def test_totals_are_those_of_adding_row_by_row(
    parts: list[Any], thresholds: list[float], strong: dict[str, Any], weak: dict[str, Any]
) -> None:
    assumed = {"strong": assumptions(**strong), "weak": assumptions(("0.2", "1"), **weak)}
    specs = {name: each.spec for name, each in assumed.items()}
    tables = [scored(rows) for rows in parts]
    found, whole = totals_at(thresholds, tables, Endpoints(**specs), assumed)
    for threshold, totals in zip(thresholds, found, strict=True):
        by_hand = sum((cost_by_hand(rows, threshold, specs) for rows in tables), Decimal(0))
        assert totals.threshold == threshold
        assert totals.cost_usd.mid == pytest.approx(float(by_hand), abs=1e-9 * (1 + whole.rows))
        assert totals.cost_usd.low <= totals.cost_usd.mid <= totals.cost_usd.high
        assert sum(each.rows for each in totals.endpoints.values()) == whole.rows - whole.refused
        assert totals.win_mass <= whole.win_mass + 1e-9


@given(rows_of_input, st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_cost_rises_with_the_share_where_strong_costs_more(
    rows: list[tuple[float, str | None, int]], thresholds: list[float]
) -> None:
    assumed = {"strong": assumptions(), "weak": assumptions(("0.2", "1"))}
    endpoints = Endpoints(**{name: each.spec for name, each in assumed.items()})
    ordered = sorted(thresholds, reverse=True)
    found, _ = totals_at(ordered, [scored(rows)], endpoints, assumed)
    costs = [totals.cost_usd.mid for totals in found]
    assert costs == sorted(costs)


scores_and_gains = st.lists(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 5e-324, math.nextafter(0.5, 1)])),
            st.integers(-50, 200),
        ),
        max_size=12,
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(scores_and_gains, st.integers(0, 500), st.integers(0, 2000))
def test_the_threshold_of_a_budget_is_the_lowest_of_all_that_fit(
    parts: list[list[tuple[float, int]]], base: int, budget: int
) -> None:
    arrays = [
        (np.array([s for s, _ in part], np.float64), np.array([g for _, g in part], np.float64)) for part in parts
    ]
    rows = [row for part in parts for row in part]
    above_all = math.nextafter(max((s for s, _ in rows), default=math.inf), math.inf)
    candidates = sorted({score for score, _ in rows} | {above_all})
    fitting = [t for t in candidates if base + sum(gain for score, gain in rows if score >= t) <= budget]
    assert lowest_fitting(lambda: arrays, base, budget) == (fitting[0] if fitting else None)


def test_long_prompts_are_priced_by_their_tier() -> None:
    of = spec(model="gemini-2.5-pro")
    pricing = find_pricing(of.model, None, None)
    assert pricing is not None
    assert pricing.varies
    chars = np.array([400, 120_000, 2_000_000])
    costs = assume(of, pricing, RATIO, None).mid_cost(chars)
    for cost, tokens in zip(costs, (100, 30_000, 500_000), strict=True):
        assert cost / NANO == pytest.approx(float(pricing.cost(Usage(tokens, None, 500)) or 0), abs=1e-9)


@pytest.mark.parametrize(
    ("settings_", "time_s"),
    [
        ({"requests_per_minute": 60}, 100),
        ({"tokens_per_minute": 60_000}, 60 * 100 * (250 + 500) / 60_000),
        ({"requests_per_minute": 6000, "tokens_per_minute": 60_000}, 75),
        ({"max_concurrency": 10}, 100 * (0.5 + 500 / 60) / 10),
        (
            {"base_url": None, "simulate": {"latency_s": 2.0}, "max_concurrency": 10, "requests_per_minute": 600},
            20,
        ),
    ],
)
def test_time_is_that_of_the_tightest_limit(settings_: dict[str, Any], time_s: float) -> None:
    assert assumptions(**settings_).time_s(100, 100_000) == pytest.approx(time_s)


@pytest.mark.parametrize(
    ("settings_", "earlier", "tokens"),
    [
        ({}, None, Band(100, 500, 2000)),
        ({"params": {"max_tokens": 64}}, None, Band(64, 64, 64)),
        ({"params": {"max_completion_tokens": 8192}}, None, Band(100, 500, 8192)),
        ({}, EarlierAnswers("the run last", 300, None), Band(240, 300, 360)),
        ({"params": {"max_tokens": 310}}, EarlierAnswers("the run last", 300, None), Band(240, 300, 310)),
        ({"base_url": None, "simulate": {"response_tokens": 200}}, None, Band(180, 200, 220)),
    ],
)
def test_answers_are_as_long_as_can_be_known(
    settings_: dict[str, Any], earlier: EarlierAnswers | None, tokens: Band
) -> None:
    found = assume(spec(**settings_), None, RATIO, earlier).completion_tokens
    assert (found.low, found.mid, found.high) == pytest.approx((tokens.low, tokens.mid, tokens.high))


def test_the_sample_is_spread_over_the_input_and_bounded(tmp_path: Path) -> None:
    rows = 30_000
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "row {row}"}}\n' for row in range(rows)))
    spec_ = InputSpec.model_validate({"path": str(tmp_path / "prompts.jsonl")})
    source = open_input(spec_, RouterSpec(use="length"), None)
    scores = score_into(tmp_path, source, RouterSpec(use="length"), None, lambda done: None).scores
    numbers = [int(text.removeprefix("row ")) for text in sample_texts(source, scores.parts)]
    assert SAMPLE_ROWS / 2 < len(numbers) <= SAMPLE_ROWS
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 0
    assert max(numbers) > rows / 2
    assert list(sample_texts(source, [])) == []


def test_tokens_are_counted_with_an_error() -> None:
    texts = ["to be or not to be " * n for n in range(1, 40)]
    ratio = measured(lambda text: len(text.split()), texts)
    assert ratio is not None
    assert ratio.mid == pytest.approx(6 / 19)
    assert ratio.high - ratio.low < 1e-9, "every text has the same ratio"
    mixed = measured(lambda text: len(text.split()), [*texts, "antidisestablishmentarianism" * 20])
    assert mixed is not None
    assert mixed.low < mixed.mid < mixed.high
    assert measured(len, ["", ""]) is None
    assert UNMEASURED.low < UNMEASURED.mid < UNMEASURED.high


def test_a_tokenizer_in_a_directory_of_the_models_name_is_used(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = tokenizers.models.WordLevel({"one": 0, "two": 1, "?": 2}, "?")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = find_tokenizer(str(tmp_path))
    assert found is not None
    assert (found[0], found[1]("one two one")) == (f"the tokenizer of {tmp_path}", 3)
    assert find_tokenizer(str(tmp_path / "other")) is None
