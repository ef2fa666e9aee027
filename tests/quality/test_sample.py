"""Which rows are drawn: the promise rests on every row of a stratum being as likely as any other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.quality.sample import STRATA, draw

if TYPE_CHECKING:
    from batchroute.types import Floats

part = st.lists(st.sampled_from([0.0, 0.2, 0.2000001, 0.7, 1.0, math.nan]) | st.floats(0, 1), max_size=40)


def in_parts(scores: Floats, *sizes: int) -> list[Floats]:
    return np.split(scores, np.cumsum(sizes))


@settings(max_examples=15)
@given(st.lists(part, max_size=5), st.integers(0, 120), st.integers(0, 3))
def test_a_sample_is_of_different_rows_that_have_a_score(parts: list[list[float]], rows: int, seed: int) -> None:
    arrays = [np.array(part, np.float64) for part in parts]
    scores = np.concatenate([*arrays, np.zeros(0)])
    known = np.flatnonzero(~np.isnan(scores))
    drawn = draw(arrays, rows, seed)
    assert len(drawn.places) == min(rows, len(known)) == len(set(drawn.places.tolist()))
    assert np.isin(drawn.places, known).all()
    assert np.array_equal(scores[drawn.places], drawn.scores)
    assert drawn.sizes.sum() == len(known)


@settings(max_examples=15)
@given(st.lists(part, max_size=5), st.integers(0, 60), st.integers(0, 60), st.integers(0, 3))
def test_a_larger_sample_begins_with_a_smaller_one(
    parts: list[list[float]], few: int, more: int, seed: int
) -> None:
    arrays = [np.array(part, np.float64) for part in parts]
    whole = [np.concatenate([*arrays, np.zeros(0)])]
    small, large = draw(arrays, few, seed), draw(whole, few + more, seed)
    assert np.array_equal(small.places, large.places[: len(small.places)])
    assert np.array_equal(small.strata, large.strata[: len(small.places)])
    assert np.array_equal(small.rounds, large.rounds[: len(small.places)])


@pytest.mark.parametrize("seed", range(3))
def test_a_round_has_a_row_of_each_tenth_of_the_scores(seed: int) -> None:
    scores = np.random.default_rng(seed).random(1000)
    drawn = draw(in_parts(scores, 1, 499), 200, seed)
    tenth = np.searchsorted(np.sort(scores), drawn.scores) // 100
    assert np.array_equal(drawn.strata, tenth)
    assert np.array_equal(drawn.rounds, np.repeat(np.arange(20), STRATA))
    assert all(len(set(tenth[start : start + STRATA])) == STRATA for start in range(0, 200, STRATA))
    assert drawn.sizes.tolist() == [100] * STRATA


@pytest.mark.parametrize("shape", ["spread", "constant", "two values"])
def test_every_row_is_as_likely_to_be_drawn(shape: str) -> None:
    """By where a row stands and by its score: 20 groups of 1,000 rows, of which 200 are drawn, 13 more or less."""
    rows = np.arange(20_000)
    spread = np.random.default_rng(0).permutation(rows) / 20_000
    scores = {"spread": spread, "constant": np.full(20_000, 0.3), "two values": np.where(spread < 0.45, 0.2, 0.7)}
    drawn = draw([scores[shape]], 4000, 0).places
    for group in (rows // 1000, rows % 20, (spread * 20).astype(np.int64)):
        assert abs(np.bincount(group[drawn], minlength=20) - 200).max() < 5 * 13


def test_rows_of_tied_scores_are_drawn_in_proportion() -> None:
    drawn = draw([np.repeat([0.2, 0.7], [550, 450])], 400, 0)
    assert (drawn.scores == 0.2).sum() == pytest.approx(220, abs=8)
    assert len(np.unique(drawn.strata[drawn.scores == 0.2])) == 6


def test_seeds_draw_differently() -> None:
    scores = np.random.default_rng(0).random(5000)
    places = [set(draw([scores], 400, seed).places.tolist()) for seed in range(4)]
    shared = [len(one & other) for number, one in enumerate(places) for other in places[:number]]
    assert max(shared) < 60, "by chance two samples share 32 of their 400 rows"


def test_a_part_is_read_as_often_as_is_said() -> None:
    class Parts:
        times = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.times += 1
            yield np.linspace(0, 1, 50)

    parts = Parts()
    draw(parts, 10, 0)
    assert parts.times == 7
