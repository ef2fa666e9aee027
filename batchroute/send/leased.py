"""What a lane may use under a lease: an `Allowance` that a driver grants, and that is over at a moment.

The lease is looked at before every send, on a clock that goes on while the machine is suspended. Once it is over
nothing is sent until there is another; what is in flight is awaited. Knows no driver, and of messages only what
they say of one lane.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.lease.messages import LaneUse
from batchroute.send.allowance import EndpointLimits, OverBudget, OwnLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.lease.held import HeldLease
    from batchroute.lease.messages import LaneGrant
    from batchroute.send.allowance import Lack, Need, Permit, Spending
    from batchroute.send.lane import Lane
    from batchroute.send.request import Request
    from batchroute.types import StopReason, Usage


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the latter on macOS, where it does the same


def boot_s() -> float:
    """Seconds on the clock that leases are held by, which goes on while the machine is suspended."""
    return time.clock_gettime(_BOOT_CLOCK)


@dataclass(slots=True)
class _Used:
    """Since the last renewal, which was at `since`; `wants` is what the next row needs and does not get."""

    since: float = -math.inf
    sent: int = 0
    most_in_flight: int = 0
    wants_tokens: int = 0
    wants_usd: Decimal = Decimal(0)


class LeasedLimits:
    """See `Allowance`: the share of one lane's limits that a worker was granted, as long as that lasts."""

    # Worked example: 500 a minute and 8 slots until 106.0 s. Three are in flight and the fourth row stands at the
    # gate when the process is stopped at 101 s. It goes on at 115 s: the lease is over, so the row waits, as does
    # one that had its slot, but was not sent. The three are answered and recorded. The next grant lets both go.

    def __init__(
        self,
        name: str,
        lease: HeldLease,
        whole: EndpointLimits,
        spending: Spending | None,
        renew: Callable[[], None],
        clock: Callable[[], float] = boot_s,
    ) -> None:
        """`whole` is what all workers share of the endpoint; `renew` asks for a renewal that should not wait."""
        self.lane: Lane[Request] | None = None
        self._name = name
        self._lease = lease
        self._whole = whole
        self._spending = spending
        self._renew = renew
        self._clock = clock
        self._own = OwnLimits(replace(whole, max_concurrency=0), spending)
        self._used = _Used()
        self._rests_until = self._probe_at = -math.inf
        self._probe_every_s = 0.0
        self._over_for_good = False
        self._changed = asyncio.Event()

    def granted(self, now: float) -> None:
        """There is another grant; `now` is on the lane's clock."""
        grant = self._grant
        slots = self._whole.max_concurrency if grant.slots is None else grant.slots
        tokens = None if grant.tokens_per_minute is None else int(grant.tokens_per_minute)
        self._rests_until = now + grant.rests_s
        self._probe_at, self._probe_every_s = now + grant.probe_in_s, grant.probe_every_s
        self._own.set(EndpointLimits(slots, grant.requests_per_minute, tokens))
        self._changed.set()

    def end(self) -> None:
        """There will be no other grant: what was not sent is not sent any more."""
        self._over_for_good = True
        self._changed.set()

    async def sendable(self) -> bool:
        """See `Allowance`."""
        while not self._over_for_good and self._clock() >= self._lease.ends_at:
            self._changed.clear()
            await self._changed.wait()
        return not self._over_for_good

    @property
    def answered(self) -> bool:
        """Whether the lane had a good answer, on any worker."""
        return self._grant.answered

    @property
    def limits(self) -> EndpointLimits:
        return self._own.limits

    def watch(self, changed: Callable[[], None]) -> None:
        self._own.watch(changed)

    def wait_s(self, need: Need, now: float) -> float:
        if self._has_nothing(need):
            return math.inf
        held_s = self._rests_until - now
        if self.lane is not None and self.lane.gate.fleet.is_away:
            held_s = max(held_s, self._probe_at - now)
        try:
            wait_s = self._own.wait_s(need, now)
        except OverBudget:
            wait_s = math.inf
        if wait_s > 0 and self._spending is not None and self._own.lack(need, now) == "money":
            self._ask_for_money(self._spending, need)
        return max(wait_s, held_s, 0.0)

    def lack(self, need: Need, now: float) -> Lack | None:
        return "slots" if self._has_nothing(need) else self._own.lack(need, now)

    def take(self, need: Need, now: float) -> Permit:
        permit = self._own.take(need, now)
        used = self._used
        used.sent += 1
        used.most_in_flight = max(used.most_in_flight, self._own.in_flight)
        used.wants_tokens, used.wants_usd = 0, Decimal(0)
        self._probe_at = max(self._probe_at, now + self._probe_every_s)
        return permit

    def give(
        self, permit: Permit, usage: Usage | None, now: float, *, unbilled: bool = False
    ) -> StopReason | None:
        """As `Allowance`; whether the money of all workers is passed is the driver's to say."""
        self._own.give(permit, usage, now, unbilled=unbilled)
        if not self.answered:  # the others wait for the first good answer, or for why there is none
            self._renew()
        return None

    def use(self, now: float) -> LaneUse:
        """What a renewal that leaves now says of the lane."""
        lane, used, grant = self.lane, self._used, self._grant
        minutes = max(now - used.since, 1e-3) / 60
        self._used = _Used(now, most_in_flight=self._own.in_flight)
        if lane is None:
            return LaneUse()
        gate, sends = lane.gate, not lane.is_stopping
        return LaneUse(
            requests_per_minute=grant.requests_per_minute if sends else 0.0,
            tokens_per_minute=grant.tokens_per_minute if sends else 0.0,
            slots=grant.slots if sends else 0,
            in_flight=self._own.in_flight,
            most_in_flight=max(used.most_in_flight, self._own.in_flight),
            sent_per_minute=used.sent / minutes,
            tokens=self._own.tokens_lately(now),
            waiting=sends and gate.waits_for_allowance,
            wants_tokens=used.wants_tokens,
            wants_usd=used.wants_usd,
            good=gate.passed,
            rate_limited=gate.rate_limited,
            rests_s=max(0.0, gate.fleet.resume_at - now),
            learnt=gate.learnt_per_minute,
            away=gate.fleet.is_away,
            stopped=lane.stopped,
        )

    @property
    def _grant(self) -> LaneGrant:
        return self._lease.lane(self._name, self._clock())

    def _has_nothing(self, need: Need) -> bool:
        """Whether a request like this cannot go under this grant, whatever comes back."""
        grant = self._grant
        if grant.slots == 0 or grant.requests_per_minute == 0 or grant.tokens_per_minute == 0:
            return True
        share, whole = grant.tokens_per_minute, self._whole.tokens_per_minute
        if share is None or need.tokens <= share or (whole is not None and share >= whole):
            return False
        if self._used.wants_tokens != need.tokens:
            self._used.wants_tokens = need.tokens
            self._renew()
        return True

    def _ask_for_money(self, spending: Spending, need: Need) -> None:
        """Gives back what was put on disk and not taken, as another worker's row may fit with it."""
        wanted = self._own.most_usd(need)
        if self._used.wants_usd != wanted:
            self._used.wants_usd = wanted
            spending.budget.give_slack_back()
            self._renew()
