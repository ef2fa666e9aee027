"""One lane's limits, shared by all workers: what a renewal says it uses, what its grant lets it use.

Knows no messages' order, no epochs and no money. All times are seconds on the driver's clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from batchroute.lease.book import Book
from batchroute.lease.findings import LaneFindings, ProbeTurn
from batchroute.lease.learnt import LearntSpeed
from batchroute.lease.limits import LEAST_RPM, ttl_s
from batchroute.lease.messages import LaneGrant
from batchroute.lease.rate import RateShare, SharedRate
from batchroute.lease.seats import Seats
from batchroute.lease.shares import FairShares

if TYPE_CHECKING:
    from batchroute.lease.limits import LaneLimits
    from batchroute.lease.messages import LaneUse

TOKENS_REST_S = 61.0  # a worker counts tokens for 60.5 s (send/allowance), and clocks may drift apart
NEARLY_ALL = 0.95  # of its share: a worker whose rows wait, and that uses less, waits for something else
HEADROOM = 1.1  # what it is left with then, so that it still uses less than nearly all
FEW = 10  # requests in a period say little about how much of its share a worker uses
MOST_TOKENS = 0.8  # of a share: what is left of it may be too little for the next request
FLOOR = 0.02  # of an equal share: for a worker that has no rows for the lane at the moment


class SharedLane:
    """Requests and tokens a minute, and slots. What is `found` of the endpoint counts for all."""

    # Who asks is a claimant before he holds anything. Worked example, 6,000 a minute, a period of 2 s: A holds all
    # of it, 5,998. B asks at 0 s: it gets nothing, but is a claimant. A renews at 1 s and is granted 2,999; as
    # that may be lost, 5,998 count until it says at 3 s that it uses 2,999. B renews at 4 s and gets the other
    # half, two periods after it asked. An allocator that counts only holders would renew A's 5,998 for ever.
    #
    # The first answer: until there is a good one, one worker at a time has one slot. The others' claims count, so
    # that all of them get their shares with the first renewal after it.

    def __init__(self, limits: LaneLimits, period_s: float) -> None:
        self.limits = limits
        self.found = LaneFindings(LearntSpeed(period_s))
        self._period_s = period_s
        seats = limits.seats
        self._seats = Seats(seats)
        rpm = limits.requests_per_minute
        self._rate = None if rpm is None else SharedRate(rpm, seats or 1, ttl_s(period_s))
        self._rates = FairShares()
        self._tokens = Book(rests_s=TOKENS_REST_S)
        self._token_shares = FairShares()
        self._alone: str | None = None  # who was to have the first answer
        self._large: str | None = None  # who is to have more tokens than an equal share, for one request
        self._slots = Book()
        self._slot_shares = FairShares(whole=True)

    def rest_tokens(self, now: float, quiet_s: float) -> None:
        """Workers of an earlier driver may be using all tokens for so long."""
        unknown, limit = "", self.limits.tokens_per_minute or 0
        self._tokens.found(unknown, limit)
        self._tokens.free(unknown, 0.0, now, quiet_s + TOKENS_REST_S)

    def hear(self, worker: str, use: LaneUse, now: float) -> None:
        """Takes note of what the worker uses, and of what it found out."""
        self.found.heard(worker, use, now)
        self._tokens.expire(now)
        self._slots.expire(now)
        if self._rate is not None:
            self._rate.said(worker, _amount(use.requests_per_minute), now)
        self._tokens.said(worker, _amount(use.tokens_per_minute), now)
        self._slots.said(worker, max(use.slots or 0, use.in_flight), now)
        self._slots.found(worker, use.in_flight)

    def grant(
        self, worker: str, use: LaneUse, turn: ProbeTurn, now: float, *, lacks_money: bool = False
    ) -> LaneGrant:
        """What the worker may use, after it has been heard; who lacks money gives way to whoever does not."""
        if lacks_money:
            use = msgspec.structs.replace(use, waiting=False)
        idle = not (use.in_flight or use.sent_per_minute or use.waiting)
        slots: float = 0
        rate, tokens = RateShare(0.0), 0.0
        if self.found.stop is None and self._seats.has(worker, idle=idle):
            slots = self._granted_slots(worker, use)
            waits = not self.found.answered and slots == 0
            rate = self._granted_rate(worker, use, now, waits=waits)
            tokens = self._granted_tokens(worker, use, waits=waits)
        else:
            self._leave_shares(worker)
        probe_in_s, probe_every_s = self.found.probes(worker, turn, now)
        return LaneGrant(
            _or_none(rate.requests_per_minute),
            _or_none(tokens),
            None if math.isinf(slots) else int(slots),
            answered=self.found.answered,
            rests_s=max(0.0, self.found.speed.paused_until - now, rate.rests_s),
            probe_in_s=probe_in_s,
            probe_every_s=probe_every_s,
            stop=self.found.stop,
        )

    def died(self, worker: str, now: float) -> None:
        """Its process is known to be dead: nothing of it is in flight."""
        self._left(worker, now)
        self._slots.free(worker, 0, now, 0.0)

    def lost(self, worker: str, now: float) -> None:
        """Its lease is over; what it sent just before may be in flight for as long as a request may take."""
        self._left(worker, now)
        self._slots.free(worker, 0, now, self.limits.timeout_s)

    def _left(self, worker: str, now: float) -> None:
        self._leave_shares(worker)
        self._seats.left(worker)
        self.found.left(worker)
        if self._rate is not None:
            self._rate.said(worker, 0.0, now)
        self._tokens.said(worker, 0.0, now)

    def _leave_shares(self, worker: str) -> None:
        """The worker is to have nothing; its seat is another's once it says that it uses nothing."""
        for shares in (self._rates, self._token_shares, self._slot_shares):
            shares.leave(worker)
        for book in (self._rate, self._tokens, self._slots):
            if book is not None:
                book.withdraw(worker)
        if self._large == worker:
            self._large = None
        if self._slots.of(worker) == 0 and (self._rate is None or self._rate.of(worker) == 0):
            self._seats.leave(worker)

    def _granted_slots(self, worker: str, use: LaneUse) -> float:
        limit = _amount(self.limits.max_concurrency)
        is_short = use.waiting and (not use.slots or use.most_in_flight >= use.slots)
        need = math.inf if is_short else max(use.most_in_flight, use.in_flight) + 1
        target = self._slot_shares.target(worker, need, limit)
        if not self.found.answered:
            is_first = self._slots.of(worker) > 0 or (self._slots.total == 0 and use.waiting)
            target = 1 if is_first and (use.waiting or use.in_flight) else 0
        if math.isinf(target):
            return target
        return math.floor(self._slots.grant(worker, target, limit))

    def _granted_rate(self, worker: str, use: LaneUse, now: float, *, waits: bool) -> RateShare:
        learnt, said = self.found.speed.requests_per_minute, use.requests_per_minute
        usable = math.inf if self._rate is None else self._rate.usable(now)
        limit = usable if learnt is None else min(usable, learnt)
        was_alone = self._alone == worker
        if was_alone and self.found.answered:
            self._alone = None
        elif not (self.found.answered or waits):
            self._alone = worker
        is_short = use.waiting and (
            not said
            or use.sent_per_minute >= NEARLY_ALL * said
            or said * self._period_s < FEW * 60
            or was_alone  # one request at a time says nothing about its need
        )
        floor = 0.0 if math.isinf(limit) else FLOOR * limit / (len(self._rates) or 1)
        need = math.inf if is_short else HEADROOM * use.sent_per_minute + floor
        target = self._rates.target(worker, need, limit)
        if not self.found.answered:
            target = min(target, LEAST_RPM)  # a single request at a time needs no more
        if waits:
            target = 0.0
        return RateShare(target) if self._rate is None else self._rate.grant(worker, target, now)

    def _granted_tokens(self, worker: str, use: LaneUse, *, waits: bool) -> float:
        if self.limits.tokens_per_minute is None:
            return math.inf
        limit, share = float(self.limits.tokens_per_minute), _amount(use.tokens_per_minute)
        is_short = use.waiting and (share == 0 or use.tokens >= MOST_TOKENS * share)
        if self._is_large(worker, use.wants_tokens, limit):
            target = self._token_shares.reserved(worker, min(float(use.wants_tokens), limit))
        else:
            used = HEADROOM * use.tokens + FLOOR * limit / (len(self._token_shares) or 1)
            need = math.inf if is_short else max(used, share / 2)
            target = self._token_shares.target(worker, need, limit)
        return 0.0 if waits else math.floor(self._tokens.grant(worker, target, limit))

    def _is_large(self, worker: str, wants: int, limit: float) -> bool:
        """Whether the worker's next request is to have its own share, larger than an equal one; one at a time."""
        if wants <= limit / (len(self._token_shares) or 1):
            if self._large == worker:
                self._large = None
            return False
        if self._large is None:
            self._large = worker
        return self._large == worker


def _amount(said: float | None) -> float:
    return math.inf if said is None else said


def _or_none(amount: float) -> float | None:
    return None if math.isinf(amount) else amount
