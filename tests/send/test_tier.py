"""A service tier that is full: when a lane rests for it."""

from __future__ import annotations

import pytest

from batchroute.send.tier import FullTier


def told(tier: FullTier, times: int, at: float, retry_after_s: float | None = None) -> float:
    for _ in range(times):
        tier.busy(at, at + 0.1, retry_after_s)
    return tier.resume_at


def test_a_few_that_are_told_so_do_not_hold_up_the_others() -> None:
    tier = FullTier()
    for at in range(100):
        assert told(tier, 4, float(at)) == 0
        tier.answered()


def test_a_lane_rests_longer_and_longer_where_all_are_told_so() -> None:
    tier, at, rests = FullTier(), 0.0, []
    for _ in range(9):
        resume_at = told(tier, 64, at)
        rests.append(resume_at - at - 0.1)
        at = resume_at
    assert rests == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    assert tier.full_s(at) == pytest.approx(at)
    tier.answered()
    assert tier.full_s(at) == 0
    assert told(tier, 4, at) == at


def test_it_rests_as_long_as_the_server_asks() -> None:
    assert told(FullTier(), 5, 10.0, 7.0) == pytest.approx(17.1)
