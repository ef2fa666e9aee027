"""The k-th highest score, against sorting everything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.quality.ranks import threshold_for_share, thresholds_for_shares

if TYPE_CHECKING:
    from batchroute.types import Floats

scores = st.one_of(
    st.floats(0, 1, allow_nan=False),
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, math.nan, 5e-324, math.nextafter(0.5, 1)]),
)


def by_sorting(values: Floats, share: float) -> float:
    ranked = np.sort(values[~np.isnan(values)])[::-1]
    wanted = math.floor(share * len(ranked) + 0.5)
    return float(np.nextafter(ranked[0], np.inf) if wanted == 0 else ranked[wanted - 1])


@given(st.lists(st.lists(scores, max_size=30), max_size=6), st.floats(0, 1))
def test_equals_the_kth_highest_of_a_full_sort(parts: list[list[float]], share: float) -> None:
    arrays = [np.array(part, np.float64) for part in parts]
    values = np.concatenate([np.empty(0), *arrays])
    threshold, reached = threshold_for_share(arrays, share)
    if np.isnan(values).all():
        assert (threshold, reached) == (math.inf, 0)
    else:
        assert threshold == by_sorting(values, share)
        assert reached == np.count_nonzero(values >= threshold)


@pytest.mark.parametrize(
    ("share", "threshold", "reached"),
    [
        (0.0, math.nextafter(0.9, 1), 0),
        (0.124, math.nextafter(0.9, 1), 0),  # floor(0.124 * 4 + 0.5) = 0
        (0.125, 0.9, 1),
        (0.5, 0.5, 3),  # two are asked for, the tie at 0.5 goes strong as a whole
        (1.0, 0.1, 4),
    ],
)
def test_rounds_half_up_and_keeps_ties_together(share: float, threshold: float, reached: int) -> None:
    parts = [np.array([0.5, 0.1]), np.array([math.nan]), np.array([0.9, 0.5])]
    assert threshold_for_share(parts, share) == (threshold, reached)


def test_no_share_of_scores_that_are_all_one_lies_above_one() -> None:
    assert threshold_for_share([np.ones(3)], 0.0) == (math.nextafter(1, 2), 0)


def test_is_exact_to_one_row_among_many() -> None:
    values = np.random.default_rng(5).random(300_000)
    threshold, reached = threshold_for_share(np.array_split(values, 7), 0.1)
    assert reached == 30_000
    assert threshold == by_sorting(values, 0.1)


@given(st.lists(st.lists(scores, max_size=30), max_size=6), st.lists(st.floats(0, 1), max_size=7))
def test_several_shares_are_found_as_one_by_one(parts: list[list[float]], shares: list[float]) -> None:
    arrays = [np.array(part, np.float64) for part in parts]
    assert thresholds_for_shares(arrays, shares) == [threshold_for_share(arrays, share) for share in shares]
