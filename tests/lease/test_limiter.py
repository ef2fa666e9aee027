"""The limiter by example: what each rule of it does to two or three workers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from batchroute.lease.held import Lease
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits
from batchroute.lease.messages import Grant, LaneGrant, LaneUse, Renewal
from batchroute.lease.queue import ShardQueue

if TYPE_CHECKING:
    from batchroute.lease.money import SharedMoney

PERIOD_S = 2.0


class Speaker:
    """A worker of one lane, as far as messages go: it says what it was granted last, and what a test sets."""

    def __init__(self, name: str, limiter: Limiter) -> None:
        self.name = name
        self.limiter = limiter
        self.lease = Lease()
        self.granted = LaneGrant()
        self.grant: Grant | None = None
        self.ceiling = Decimal(0)

    def renew(self, now: float, taken: str = "0", *, lost: bool = False, **use: object) -> LaneGrant:
        """One exchange; `lost`: the grant does not arrive."""
        lane = LaneUse(
            requests_per_minute=self.granted.requests_per_minute,
            tokens_per_minute=self.granted.tokens_per_minute,
            slots=self.granted.slots,
            **self._uses_all() | use,  # type: ignore[arg-type]
        )
        renewal = Renewal(
            self.name,
            self.lease.epoch,
            self.lease.renews(now),
            {"weak": lane},
            taken_usd=Decimal(taken),
            ceiling_usd=max(self.ceiling, Decimal(taken)),
            wants_shard=True,
        )
        grant = self.limiter.renew(renewal, now)
        if not lost and self.lease.take(grant):
            self.granted, self.grant = grant.lanes["weak"], grant
            self.ceiling = grant.ceiling_usd or Decimal(0)
        return self.granted

    def _uses_all(self) -> dict[str, object]:
        sent, slots = self.granted.requests_per_minute or 0, self.granted.slots or 0
        return {"waiting": True, "good": 1, "sent_per_minute": sent, "most_in_flight": slots}


def limiter_of(limits: LaneLimits, money: SharedMoney | None = None, **settings: float) -> Limiter:
    return Limiter({"weak": limits}, ShardQueue([]), money, epoch=1, period_s=PERIOD_S, now=-9.0, **settings)  # type: ignore[arg-type]


def test_a_claimant_gets_its_half_two_periods_after_it_asked() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(-1.0)
    assert a.renew(-0.5).requests_per_minute == 5_996
    assert b.renew(0.0).requests_per_minute == 0
    assert a.renew(1.0).requests_per_minute == pytest.approx(2_998, abs=2)
    assert b.renew(2.0).requests_per_minute == 0  # as the grant of 2,998 may have been lost
    a.renew(3.0)
    assert b.renew(4.0).requests_per_minute == pytest.approx(2_994, abs=2)
    assert b.granted.slots == 5


def test_a_grant_that_may_be_lost_counts_until_the_lease_is_over() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0)
    for now in (1.0, 3.0, 5.0, 6.2):
        assert b.renew(now).requests_per_minute == 0
    assert b.renew(7.0).requests_per_minute == pytest.approx(5_994, abs=4)
    for now in (7.1, 306.2, 606.2):
        assert b.renew(now).slots == 0  # requests of A may still be in flight
    assert b.renew(607.1).slots == 10


def test_what_a_dead_worker_held_is_free_at_once_but_for_its_tokens() -> None:
    limiter = limiter_of(LaneLimits(6_000, 90_000, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0)
    assert (a.granted.tokens_per_minute, a.granted.slots) == (90_000, 10)
    b.renew(1.0)
    limiter.died("a", 1.5)
    assert b.renew(2.0).requests_per_minute == pytest.approx(5_994, abs=4)
    assert (b.granted.tokens_per_minute, b.granted.slots) == (0, 10)
    assert b.renew(62.0).tokens_per_minute == 0
    assert b.renew(63.0).tokens_per_minute == 90_000
    assert a.renew(63.5) == LaneGrant()  # it is held for dead
