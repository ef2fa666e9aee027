"""The worker's side of a lease: which grants count, and until when; how many workers a run's limits keep busy."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batchroute.lease.held import NOTHING, HeldLease
from batchroute.lease.limits import LaneLimits, period_s, quiet_s, said_of_senders, senders_for, ttl_s
from batchroute.lease.messages import Grant, LaneGrant


def granted(number: int, slots: int, epoch: int = 1) -> Grant:
    return Grant(epoch, number, 6.0, 2.0, {"weak": LaneGrant(slots=slots)}, ceiling_usd=Decimal(slots))


def test_a_lease_counts_from_the_renewal_that_brought_it_and_then_nothing_may_be_sent() -> None:
    lease = HeldLease()
    assert lease.lane("weak", 0.0) == NOTHING
    assert lease.take(granted(lease.renews(100.0), 4))
    assert lease.lane("weak", 105.9).slots == 4
    assert lease.lane("strong", 105.9) == NOTHING
    assert lease.ceiling_usd(105.9) == 4
    assert lease.lane("weak", 106.0) == NOTHING
    assert lease.ceiling_usd(106.0) == 0


def test_only_the_answer_to_the_last_renewal_is_taken_and_none_of_a_lower_epoch() -> None:
    lease = HeldLease()
    first, second = lease.renews(0.0), lease.renews(2.0)
    assert not lease.take(granted(first, 9))
    assert lease.take(granted(second, 4, epoch=3))
    assert not lease.take(granted(second, 9, epoch=2))
    assert lease.lane("weak", 3.0).slots == 4
    assert lease.epoch == 3
    assert lease.take(granted(second, 4, epoch=3))  # a doubled one lasts no longer
    assert lease.ends_at == 8.0


@pytest.mark.parametrize(
    ("limits", "senders", "said"),
    [
        (LaneLimits(3_000), 5, "3,000 requests a minute of the weak lane keep 5 senders busy"),
        (LaneLimits(2_400, None, 400), 4, "2,400 requests a minute of the weak lane keep 4 senders busy"),
        (LaneLimits(10), 1, "10 requests a minute of the weak lane keep 1 sender busy"),
        (LaneLimits(None, 90_000), 3, "90,000 tokens a minute of the weak lane keep 3 senders busy"),
        (LaneLimits(60_000, None, 8), 8, "8 slots of the weak lane keep 8 senders busy"),
        (LaneLimits(), None, None),
    ],
)
def test_a_run_says_how_many_senders_its_narrowest_lane_can_use(
    limits: LaneLimits, senders: int | None, said: str | None
) -> None:
    lanes = {"strong": LaneLimits(max_concurrency=1_000), "weak": limits}
    assert senders_for({"weak": limits}) == senders
    assert senders_for(lanes) == (1_000 if senders is None else senders)
    assert said_of_senders({"weak": limits}) == said


def test_periods_grow_with_the_workers_and_a_new_driver_waits_for_leases_to_be_over() -> None:
    assert [period_s(8), period_s(100), period_s(1_000), period_s(8, 1.0)] == [2.0, 2.0, 20.0, 1.0]
    assert quiet_s(ttl_s(20.0)) == pytest.approx(63.0)
