"""Betting: how often a mean that is zero is taken for more, and how often one that is more is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.quality.bound import ORDERS, deal, is_shown

if TYPE_CHECKING:
    from batchroute.quality.bound import Rounds
    from batchroute.types import Floats

STRATA = 10
QUALITY = 0.95
WORST = -QUALITY
SAMPLES = 600


def rounds_of(rows: int, *, strata: int = STRATA, job: int | None = None) -> Rounds:
    sizes = np.full(strata, (job or 1) / strata, np.float64)
    return deal(np.arange(rows) % strata, sizes, np.random.default_rng(0), endless=job is None)


def shown(values: Floats, rounds: Rounds, alpha: float, worst: float = WORST) -> float:
    """In what part of the samples [samples, n]."""
    least = np.full((len(values), rounds.rows.shape[1]), worst)
    return float(is_shown(values, least, np.full(len(values), alpha), rounds).mean())


def with_mean(kind: str, standard_errors: float, rows: int, random: np.random.Generator) -> Floats:
    """[SAMPLES, rows] weak - QUALITY * strong, whose mean is so many of its standard errors."""
    strong = random.random((SAMPLES, rows)) < {"even": 0.6, "skewed": 0.85}[kind]
    if_wrong = {"even": 0.5, "skewed": 0.3}[kind]
    right = strong.mean()
    low, high = 0.0, 1.0
    for _ in range(40):
        if_right = (low + high) / 2
        mean = right * if_right + (1 - right) * if_wrong - QUALITY * right
        squares = right * (if_right * 0.05**2 + (1 - if_right) * QUALITY**2) + (1 - right) * if_wrong
        is_low = mean < standard_errors * np.sqrt((squares - mean**2) / rows)
        low, high = (if_right, high) if is_low else (low, if_right)
    weak = random.random((SAMPLES, rows)) < np.where(strong, if_right, if_wrong)
    return weak - QUALITY * strong


@pytest.mark.parametrize("kind", ["even", "skewed"])
@pytest.mark.parametrize("rows", [200, 400])
@pytest.mark.parametrize("alpha", [0.02, 0.08])
def test_a_mean_of_zero_is_seldom_taken_for_more(kind: str, rows: int, alpha: float) -> None:
    values = with_mean(kind, 0, rows, np.random.default_rng(1))
    for rounds in (rounds_of(rows), rounds_of(rows, strata=1)):
        assert shown(values, rounds, alpha) <= alpha + 2 * np.sqrt(alpha / SAMPLES)


@pytest.mark.parametrize("kind", ["even", "skewed"])
@pytest.mark.parametrize(("rows", "least"), [(200, 0.83), (400, 0.88), (800, 0.9)])
def test_a_mean_of_three_and_a_half_standard_errors_is_found(kind: str, rows: int, least: float) -> None:
    values = with_mean(kind, 3.5, rows, np.random.default_rng(1))
    assert shown(values, rounds_of(rows), 0.08) >= least
    assert shown(values, rounds_of(rows), 0.02) >= least - 0.17


def test_what_strata_differ_by_costs_nothing() -> None:
    """A mean of 0.03 that is 0.28 in half of the strata and -0.22 in the others."""
    random = np.random.default_rng(2)
    stratum = np.arange(400) % STRATA
    values = np.where(stratum < 5, 0.28, -0.22) + random.uniform(-0.3, 0.3, (SAMPLES, 400))
    assert shown(values, rounds_of(400), 0.08) > 0.9
    assert shown(values, rounds_of(400, strata=1), 0.08) < 0.75


def test_a_loss_that_was_not_seen_is_allowed_for() -> None:
    """All of n values are 0.05: a loss of 0.95 in one of 20 rows would make the mean zero, and stay unseen."""
    assert [shown(np.full((1, n), 0.05), rounds_of(n), 0.08) for n in (20, 40, 80)] == [0, 0, 1]


def test_a_job_that_was_seen_whole_leaves_no_doubt() -> None:
    random = np.random.default_rng(3)
    values = random.uniform(WORST, 1, (SAMPLES, 50))
    values -= values.mean(axis=1, keepdims=True) + np.where(np.arange(SAMPLES) % 2, 1e-6, -1e-6)[:, None]
    least = np.full((SAMPLES, STRATA), values.min())
    found = is_shown(values, least, np.full(SAMPLES, 1e-9), rounds_of(50, job=50))
    assert np.array_equal(found, values.mean(axis=1) >= 0)


def test_what_is_left_cannot_undo_it() -> None:
    """45 of 50 rows have the sum 6: the last five would have to be below -1.2 each."""
    values = np.full((1, 45), 6 / 45)
    rounds = deal(np.zeros(45, np.int64), np.array([50.0]), np.random.default_rng(0), endless=False)
    assert shown(values, rounds, 1e-12, worst=-1) == 1


@pytest.mark.parametrize("job", [500, 1000])
def test_without_replacement_a_mean_of_zero_is_seldom_taken_for_more(job: int) -> None:
    """Jobs whose mean is exactly zero, of which 400 rows are drawn; strata that hide it."""
    random = np.random.default_rng(4)
    stratum = np.arange(job) % STRATA
    rows = np.where(random.random(job) < 0.3, -0.6, 0.1) + np.where(stratum < 5, 0.2, -0.1)
    rows -= rows.mean()
    drawn = np.argsort(random.random((SAMPLES, job // STRATA, STRATA)), axis=1)[:, :40] * STRATA + np.arange(
        STRATA
    )
    values = rows[drawn.reshape(SAMPLES, 400)]
    assert shown(values, rounds_of(400, job=job), 0.08, worst=rows.min()) <= 0.08 + 2 * np.sqrt(0.08 / SAMPLES)
    more = values + 3 * rows.std() * np.sqrt(1 / 400 - 1 / job)
    assert shown(more, rounds_of(400, job=job), 0.08, worst=rows.min()) > 0.8


@settings(max_examples=40)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=90), st.integers(1, 10), st.integers(0, 500))
def test_nothing_is_shown_of_a_sample_without_a_gain(values: list[float], strata: int, more: int) -> None:
    losses = -np.abs(np.array(values)) - 1e-6
    stratum = np.arange(len(losses)) % min(strata, len(losses))
    sizes = np.bincount(stratum) + np.full(stratum.max() + 1, float(more))
    for endless in (True, False):
        rounds = deal(stratum, sizes, np.random.default_rng(0), endless=endless)
        assert shown(losses[None], rounds, 0.1, worst=-1.1) == 0


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 5))
def test_rounds_have_rows_of_every_stratum_and_each_row_once(rows: int, strata: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    stratum = np.concatenate((np.arange(strata), random.integers(0, strata, rows)))
    sizes = np.bincount(stratum) * 2.0 + random.integers(0, 50, strata)
    rounds = deal(stratum, sizes, random, endless=False)
    assert rounds.orders.shape == (ORDERS, rows + strata)
    assert (np.sort(rounds.orders, axis=1) == np.arange(rows + strata)).all()
    assert (stratum[rounds.orders] == rounds.strata).all()
    assert rounds.rows.min() >= 1
    assert rounds.rows.max(axis=0).tolist() <= (rounds.rows.min(axis=0) + 1).tolist()
    assert np.array_equal(rounds.left[-1], sizes - np.bincount(stratum))
    assert np.isclose((rounds.weight * rounds.rows).sum(axis=1), rounds.rows.sum(axis=1)).all()
    assert np.isclose(rounds.stands_for.sum(), 1)
