"""Watched rows: when a promise is said to be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from batchroute.quality.watch import LEAST_WATCHED, watch

if TYPE_CHECKING:
    from batchroute.types import Floats


def nights(kept: float, rows: int, count: int) -> list[tuple[Floats, Floats]]:
    random = np.random.default_rng(0)
    strong = (random.random((count, rows)) < 0.85).astype(np.float64)
    routed = strong * (random.random((count, rows)) < kept)
    return list(zip(routed, strong, strict=True))


def is_broken(routed: Floats, strong: Floats) -> bool:
    high = watch(routed, strong, confidence=0.9).high
    return high is not None and high < 0.95


@pytest.mark.parametrize(
    ("kept", "rows", "least", "most"),
    [
        (0.95, 200, 0, 0.25),  # confidence .9: one night in ten, but for chance
        (0.96, 400, 0, 0.05),
        (0.86, 200, 0.8, 1),
        (0.9, 800, 0.9, 1),
    ],
)
def test_broken_is_said_of_what_is_broken(kept: float, rows: int, least: float, most: float) -> None:
    said = [is_broken(*night) for night in nights(kept, rows, 20)]
    assert least <= np.mean(said) <= most


def test_bounds_hold_what_was_kept() -> None:
    for night in nights(0.9, 120, 5):
        watched = watch(*night, confidence=0.9)
        assert watched.rows == 120
        assert (watched.low or 0) < (watched.kept or 0) < (watched.high or 0)
        assert watched.kept == pytest.approx(night[0].sum() / night[1].sum())


@pytest.mark.parametrize("rows", [0, 1, LEAST_WATCHED - 1])
def test_few_rows_say_nothing(rows: int) -> None:
    watched = watch(np.zeros(rows), np.ones(rows), confidence=0.9)
    assert (watched.low, watched.high) == (None, None)
    assert is_broken(np.zeros(LEAST_WATCHED), np.ones(LEAST_WATCHED))


def test_a_strong_side_that_is_worth_nothing_says_nothing() -> None:
    watched = watch(np.ones(50), np.zeros(50), confidence=0.9)
    assert watched.kept is None
    assert watched.high is None or watched.high >= 0.95
