"""A fleet on paper: what a server counts of workers that die, are cut off, and whose driver is replaced."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from batchroute.lease.limits import LaneLimits
from batchroute.send.allowance import TOKEN_MARGIN
from lease_fleet import LANE, Conditions, Fleet

MINUTE_S = 60.0


def counted(conditions: Conditions, for_s: float, seed: int = 0) -> Fleet:
    fleet = Fleet(conditions, seed)
    fleet.run(for_s)
    return fleet


def assert_rate_is_kept(fleet: Fleet) -> None:
    rpm = fleet.conditions.limits.requests_per_minute
    assert rpm is not None
    holders = fleet.conditions.limits.seats or 0
    assert fleet.most_within(MINUTE_S) <= rpm + 1
    assert fleet.most_within(1.0) <= math.ceil(1.05 * rpm / 60) + 1 + 3 * holders


def test_eight_workers_keep_a_limit_and_use_it_though_they_die_and_the_driver_is_replaced() -> None:
    limits = LaneLimits(6_000, None, 400)
    fleet = counted(Conditions(8, limits, crashes_a_minute=0.05, down=(100, 110)), 200)
    assert_rate_is_kept(fleet)
    assert fleet.most_in_flight() <= 400
    assert fleet.used(140, 200) > 0.8  # it goes on


@pytest.mark.parametrize(
    ("workers", "limits"),
    [(1, LaneLimits(20, None, 10)), (4, LaneLimits(2_400, None, 200)), (8, LaneLimits(6_000, None, 400))],
)
def test_the_limit_is_used_while_nobody_is_lost(workers: int, limits: LaneLimits) -> None:
    fleet = counted(Conditions(workers, limits, crashes_a_minute=0, partitions_a_minute=0), 200)
    assert_rate_is_kept(fleet)
    assert fleet.used(20, 200) >= 0.97


def test_slots_are_kept_and_used_up() -> None:
    fleet = counted(Conditions(12, LaneLimits(None, None, 50), crashes_a_minute=0.5, partitions_a_minute=0), 120)
    assert fleet.most_in_flight() <= 50
    assert len([at for at in fleet.arrivals if 60 <= at < 120]) >= 0.9 * 50 * 60  # latency 1 s; some die


def test_tokens_are_kept_and_used_up() -> None:
    limits = LaneLimits(None, 600_000, 500)
    calm = counted(Conditions(8, limits, crashes_a_minute=0, partitions_a_minute=0), 200)
    assert calm.most_within(MINUTE_S) * 100 <= 600_000
    window_s = MINUTE_S * TOKEN_MARGIN
    sent = len([at for at in calm.arrivals if 70 <= at < 70 + 2 * window_s])
    assert sent * 100 >= 0.97 * 2 * 600_000
    rough = counted(Conditions(8, limits, crashes_a_minute=0.3, partitions_a_minute=0.3), 200)
    assert rough.most_within(MINUTE_S) * 100 <= 600_000


def test_before_the_first_answer_one_request_is_out_and_then_all_begin() -> None:
    fleet = counted(Conditions(50, LaneLimits(60_000, None, 500), latency_s=7, crashes_a_minute=0), 40)
    first = sorted(fleet.arrivals)
    assert [at for at in first if at < first[0] + 6.9] == first[:1]
    assert sum(bool(sender.sent) for sender in fleet.senders) == 50


@pytest.mark.parametrize("crashes_a_minute", [0, 0.2])
def test_money_is_kept_and_spent_up(crashes_a_minute: float) -> None:
    limit = Decimal(8)
    fleet = counted(
        Conditions(
            12,  # more than can hold a share of the lane: who lacks money has to give way
            LaneLimits(6_000, None, 200),
            limit_usd=limit,
            crashes_a_minute=crashes_a_minute,
            partitions_a_minute=0,
        ),
        300,
    )
    on_disk = sum((sender.disk for sender in fleet.senders), Decimal(0))
    assert on_disk <= limit
    said = fleet.limiter.lanes[LANE].found.stop
    assert said is not None
    assert said.startswith("limits.max_cost_usd: the next row may cost $0.0020, $")
    if not crashes_a_minute:
        assert on_disk >= Decimal("0.999") * limit


@pytest.mark.proof
@pytest.mark.parametrize(
    ("workers", "rpm", "least_used"), [(100, 60_000, 0.97), (1_000, 3_000, 0.8), (1_000, 600_000, 0.97)]
)
def test_a_thousand_workers_keep_a_limit(workers: int, rpm: int, least_used: float) -> None:
    """As in the README of the package: crashes, partitions, and a driver that is replaced at 180 s."""
    fleet = counted(Conditions(workers, LaneLimits(rpm, None, 40_000), down=(180, 190)), 360)
    assert_rate_is_kept(fleet)
    assert fleet.most_in_flight() <= 40_000
    assert fleet.used(80, 180) >= least_used


@pytest.mark.proof
@pytest.mark.parametrize(("workers", "rpm"), [(1_000, 3_000), (1_000, 600_000)])
def test_a_thousand_workers_use_a_limit_while_nobody_is_lost(workers: int, rpm: int) -> None:
    limits = LaneLimits(rpm, None, 40_000)
    fleet = counted(Conditions(workers, limits, crashes_a_minute=0, partitions_a_minute=0), 240)
    assert_rate_is_kept(fleet)
    assert fleet.used(100, 240) >= 0.97
