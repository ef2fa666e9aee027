"""APGR and its kin: definitions on small cases, what must hold for any scores, and their intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from batchroute.quality.curves import (
    ALL,
    SHARES,
    apgr,
    coarse_apgr,
    draw_figures,
    drawn_apgr,
    drawn_curves,
    draws,
    interval,
    quality_curve,
    rank,
    share_reaching,
)

if TYPE_CHECKING:
    from batchroute.types import Floats

STRONG = np.array([1.0, 1.0, 1.0, 1.0])
WEAK = np.array([0.0, 1.0, 1.0, 1.0])
unit = st.floats(0, 1, allow_nan=False)
rows_of_three = st.lists(st.tuples(unit, unit, unit), min_size=2, max_size=30)


def test_the_curve_goes_from_all_weak_to_all_strong_in_the_order_of_the_scores() -> None:
    curve = quality_curve(np.array([0.9, 0.1, 0.2, 0.3]), STRONG, WEAK, np.array([0, 0.25, 1]))
    assert curve.tolist() == [0.75, 1.0, 1.0]


def test_the_worked_example_is_what_is_computed() -> None:
    strong, weak = np.ones(4), np.array([0.0, 1.0, 0.0, 1.0])
    scores = np.array([0.9, 0.6, 0.4, 0.1])
    assert quality_curve(scores, strong, weak, np.arange(5) / 4).tolist() == [0.5, 0.75, 0.75, 1, 1]
    found = [apgr(order, strong, weak) for order in (scores, strong - weak, np.zeros(4))]
    assert found == pytest.approx([0.625, 0.75, 0.5])
    assert share_reaching(quality_curve(scores, strong, weak, SHARES), 0.75, SHARES) == pytest.approx(0.25)


def test_the_best_order_is_above_and_its_reverse_below_one_half() -> None:
    best = STRONG - WEAK
    assert apgr(best, STRONG, WEAK) == pytest.approx(0.875)
    assert apgr(-best, STRONG, WEAK) == pytest.approx(0.125)


def test_equal_sides_have_no_gap_to_recover() -> None:
    assert math.isnan(apgr(np.arange(4.0), STRONG, STRONG))
    assert math.isnan(coarse_apgr(np.arange(4.0), STRONG, STRONG))


@given(rows_of_three, unit)
def test_a_constant_score_is_a_random_router(rows: list[tuple[float, float, float]], score: float) -> None:
    _, strong, weak = np.array(rows).T
    assume(abs(strong.mean() - weak.mean()) > 1e-6)
    constant = np.full(len(strong), score)
    assert apgr(constant, strong, weak) == pytest.approx(0.5, abs=1e-9)
    assert coarse_apgr(constant, strong, weak) == pytest.approx(0.5, abs=1e-9)


def test_random_permutations_average_one_half() -> None:
    random = np.random.default_rng(0)
    strong, weak = (random.random((2, 40)) < [[0.8], [0.4]]).astype(float)
    found = [apgr(random.permutation(40.0 * np.arange(40)), strong, weak) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.5, abs=5 * np.std(found) / math.sqrt(2000))


@given(rows_of_three)
def test_turning_the_scores_round_turns_apgr_round(rows: list[tuple[float, float, float]]) -> None:
    scores, strong, weak = np.array(rows).T
    gap = strong.mean() - weak.mean()
    assume(abs(gap) > 1e-3)
    assert apgr(scores, strong, weak) + apgr(-scores, strong, weak) == pytest.approx(1, abs=0.02 / abs(gap))


@given(st.lists(st.tuples(st.integers(0, 40), unit, unit), min_size=2, max_size=30))
def test_a_monotone_transform_of_the_scores_changes_nothing(rows: list[tuple[int, float, float]]) -> None:
    whole, strong, weak = np.array(rows, float).T
    assume(abs(strong.mean() - weak.mean()) > 1e-6)
    scores, stretched = whole / 50, np.exp(whole)
    assert apgr(scores, strong, weak) == apgr(stretched, strong, weak)
    assert drawn_once(scores, strong - weak) == drawn_once(stretched, strong - weak)


def drawn_once(scores: Floats, gain: Floats) -> list[float]:
    counts = next(iter(draws(len(gain), 3, 5)))
    return [x for x in drawn_apgr(rank(scores), gain, counts).tolist() if not math.isnan(x)]


@given(rows_of_three, st.randoms(use_true_random=False))
def test_the_order_of_the_labels_does_not_matter(rows: list[tuple[float, float, float]], random: Any) -> None:
    scores, strong, weak = np.array(rows).T
    assume(abs(strong.mean() - weak.mean()) > 1e-3)
    order = random.sample(range(len(rows)), len(rows))
    for figure in (apgr, coarse_apgr):
        shuffled = figure(scores[order], strong[order], weak[order])
        assert figure(scores, strong, weak) == pytest.approx(shuffled, abs=1e-6)


def routellm_curve(scores: Floats, strong: Floats, weak: Floats) -> tuple[Floats, Floats]:
    """RouteLLM's evaluation, step by step: ten equal bins, >= at each edge and > at the last."""
    edges = np.quantile(scores, np.linspace(0, 1, 11))
    picked = [scores >= edge for edge in edges[:-1]] + [scores > edges[-1]]
    points = sorted((pick.mean(), np.where(pick, strong, weak).mean()) for pick in picked)
    shares, qualities = np.array(points).T
    return shares, qualities


@given(st.integers(11, 200), st.integers(0, 1000))
def test_the_coarse_figure_is_routellms(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, strong, weak = random.random(n), random.random(n), random.random(n) / 2
    assume(strong.mean() > weak.mean() + 1e-3)
    shares, qualities = routellm_curve(scores, strong, weak)
    area = np.trapezoid(qualities, shares)
    expected = (area - weak.mean()) / (strong.mean() - weak.mean())
    assert coarse_apgr(scores, strong, weak) == pytest.approx(expected, abs=1e-9)


def test_calls_for_a_part_of_the_gap_are_where_the_curve_first_gets_there() -> None:
    curve, shares = np.array([0.0, 0.4, 0.2, 1.0]), np.array([0.0, 0.25, 0.5, 1.0])
    assert share_reaching(curve, 0.2, shares) == 0.125
    assert share_reaching(curve, 0.6, shares) == 0.75
    assert share_reaching(curve, 0.0, shares) == 0.0
    assert math.isnan(share_reaching(curve, 1.1, shares))


@given(rows_of_three)
@example([(0.5, 1.0, 0.0), (0.5, 0.0, 0.0), (0.1, 1.0, 1.0)])
def test_a_draw_in_which_each_prompt_stands_once_is_the_data_itself(
    rows: list[tuple[float, float, float]],
) -> None:
    scores, strong, weak = np.array(rows).T
    assume(strong.mean() - weak.mean() > 1e-3)
    once = np.ones((1, len(rows)), np.int64)
    fine = apgr(scores, strong, weak, grid=100 * len(rows))
    assert drawn_apgr(rank(scores), strong - weak, once)[0] == pytest.approx(fine, rel=1e-3, abs=1e-6)
    curve = weak.mean() + drawn_curves(rank(scores), strong - weak, once, SHARES)[0]
    np.testing.assert_allclose(curve, quality_curve(scores, strong, weak, SHARES), atol=1e-9)


@given(st.integers(2, 9), st.integers(0, 50))
def test_a_draw_counts_what_a_copied_data_set_would_hold(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, strong, weak = random.integers(0, 4, n) / 4, random.random(n), random.random(n) / 4
    counts = random.integers(0, 3, n)
    copied = np.repeat(np.arange(n), counts)
    assume(len(copied) > 1 and strong[copied].mean() - weak[copied].mean() > 1e-2)
    expected = apgr(scores[copied], strong[copied], weak[copied], grid=100 * len(copied))
    found = drawn_apgr(rank(scores), strong - weak, counts[None])[0]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


@given(st.integers(1, 7), st.integers(1, 40), st.integers(1, 9))
def test_each_draw_is_of_one_of_a_routers_scores_in_turn(routers: int, count: int, part: int) -> None:
    """However the draws come in parts."""
    random = np.random.default_rng(routers)
    n = 12
    scores, strong, weak = random.random((routers, n)), np.ones(n), random.random(n) / 2
    counts = np.concatenate(list(draws(n, 0, count)))
    parts = [counts[start : start + part] for start in range(0, count, part)]
    found = draw_figures({"several": scores}, strong - weak, weak, {ALL: np.arange(n)}, parts)
    for number in range(count):
        ranking = rank(scores[number % routers])
        [expected] = drawn_apgr(ranking, strong - weak, counts[number : number + 1])
        assert found.apgr["several", ALL][number] == pytest.approx(expected, rel=1e-12)
        [curve] = drawn_curves(ranking, strong - weak, counts[number : number + 1], SHARES)
        np.testing.assert_allclose(found.gain["several"][number], curve, rtol=1e-12)


def test_draws_follow_their_seed_and_hold_n_prompts_each() -> None:
    first, again, other = (np.concatenate(list(draws(7, seed, 50))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == (50, 7)
    assert set(first.sum(axis=1)) == {7}


def test_an_interval_is_unknown_where_too_many_draws_are() -> None:
    values = np.arange(101.0)
    assert interval(values) == (2.5, 97.5)
    values[:3] = np.nan
    assert interval(values) is not None
    values[:10] = np.nan
    assert interval(values) is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        scores = random.random(300)
        weak = (random.random(300) < 1 - scores).astype(float)
        counts = np.concatenate(list(draws(300, seed, 200)))
        low, high = interval(drawn_apgr(rank(scores), 1 - weak, counts)) or (1, 0)
        covered += low <= 2 / 3 <= high  # the area of 2x - x^2
    assert covered >= 51
