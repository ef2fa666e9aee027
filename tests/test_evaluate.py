"""APGR: its definition on small cases, and what must hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchroute.evaluate import apgr, quality_curve

STRONG = np.array([1.0, 1.0, 1.0, 1.0])
WEAK = np.array([0.0, 1.0, 1.0, 1.0])
unit = st.floats(0, 1, allow_nan=False)


def test_the_curve_goes_from_all_weak_to_all_strong_in_the_order_of_the_scores() -> None:
    curve = quality_curve(np.array([0.9, 0.1, 0.2, 0.3]), STRONG, WEAK, np.array([0, 0.25, 1]))
    assert curve.tolist() == [0.75, 1.0, 1.0]


def test_tied_scores_are_sent_in_equal_parts() -> None:
    assert apgr(np.ones(4), STRONG, WEAK) == pytest.approx(0.5)


def test_the_best_order_is_above_and_its_reverse_below_one_half() -> None:
    best = STRONG - WEAK
    assert apgr(best, STRONG, WEAK) == pytest.approx(0.875)
    assert apgr(-best, STRONG, WEAK) == pytest.approx(0.125)


def test_equal_sides_have_no_gap_to_recover() -> None:
    assert math.isnan(apgr(np.arange(4.0), STRONG, STRONG))


@given(st.lists(st.tuples(unit, unit, unit), min_size=2, max_size=20))
def test_turning_the_scores_round_turns_apgr_round(rows: list[tuple[float, float, float]]) -> None:
    scores, strong, weak = np.array(rows).T
    gap = strong.mean() - weak.mean()
    assume(abs(gap) > 1e-3)
    assert apgr(scores, strong, weak) + apgr(-scores, strong, weak) == pytest.approx(1, abs=0.02 / abs(gap))
