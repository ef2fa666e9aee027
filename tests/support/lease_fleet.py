"""A fleet of workers on paper: each sends as fast as it may, messages take time, processes die; a server counts.

Requests leave as send/rate lets them, in the worst case that it allows; nothing waits, time is computed.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchroute.lease.held import HeldLease
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits, period_s, quiet_s, ttl_s
from batchroute.lease.messages import LaneUse, Renewal
from batchroute.lease.money import SharedMoney
from batchroute.lease.queue import ShardQueue
from batchroute.send.allowance import TOKEN_MARGIN
from batchroute.send.rate import MARGIN, WINDOW_S, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.lease.messages import Grant

LANE = "weak"
REQUEST_JITTER_S = 0.03


@dataclass(frozen=True)
class Conditions:
    """What the fleet is like; `down` is when the driver dies and when the next one opens, seconds."""

    workers: int
    limits: LaneLimits
    latency_s: float = 1.0
    tokens: int = 100  # of each request
    usd: Decimal = Decimal("0.001")  # of each request, half of what is reserved for it
    limit_usd: Decimal | None = None
    crashes_a_minute: float = 0.01  # of each worker
    partitions_a_minute: float = 0.02
    down: tuple[float, float] | None = None
    period_s: float | None = None

    @property
    def renews_every_s(self) -> float:
        return period_s(self.workers, self.period_s)


@dataclass(eq=False)
class Sender:
    """One worker: what it may do by its lease, and when it sent what."""

    name: str
    drift: float
    offset: float
    born_at: float
    lease: HeldLease = field(default_factory=HeldLease)
    sent: list[float] = field(default_factory=list)
    done: int = 0  # of `sent`, answered by now
    due: float = 0.0
    now: float = 0.0  # up to when its sends are known
    resumes_at: float = 0.0
    partitioned_until: float = 0.0
    dead_at: float = math.inf
    said: int = 0  # sends at its last renewal
    said_at: float = 0.0
    most_in_flight: int = 0
    disk: Decimal = Decimal(0)

    def clock(self, now: float) -> float:
        return self.offset + now * (1 + self.drift)

    def lease_ends(self) -> float:
        return (self.lease.ends_at - self.offset) / (1 + self.drift)


class Fleet:
    """Runs the conditions for a time; `arrivals` are what the server counts, `lost_at` when a worker was."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.arrivals: list[float] = []
        self.senders: list[Sender] = []
        self.renewals = 0
        self._rng = random.Random(seed)  # noqa: S311 - not a secret
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = itertools.count()
        self._epoch = 0
        self._driver: Limiter | None = None
        self._open_driver(0.0, quiet=0.0)
        for _ in range(conditions.workers):
            self._post(self._rng.uniform(0, 1.0), self._join)
        if conditions.down is not None:
            self._post(conditions.down[0], self._lose_driver)
            waits_s = quiet_s(ttl_s(conditions.renews_every_s))
            self._post(conditions.down[1], lambda now: self._open_driver(now, waits_s))

    @property
    def limiter(self) -> Limiter:
        assert self._driver is not None
        return self._driver

    def run(self, for_s: float) -> None:
        while self._events and self._events[0][0] <= for_s:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
        for sender in self.senders:
            self._send_until(sender, for_s)

    # --- what happens

    def _post(self, at: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._count), happen))

    def _delay_s(self) -> float:
        return self._rng.uniform(0.002, 0.25)

    def _open_driver(self, now: float, quiet: float) -> None:
        conditions, self._epoch = self.conditions, self._epoch + 1
        money = None
        if conditions.limit_usd is not None:
            money = SharedMoney(conditions.limit_usd, None)
            self._post(now + quiet, lambda _: money.recount(self._left()))
        self._driver = Limiter(
            {LANE: conditions.limits},
            ShardQueue([]),
            money,
            epoch=self._epoch,
            period_s=conditions.renews_every_s,
            now=now,
            quiet_s=quiet,
        )

    def _left(self) -> Decimal:
        return (self.conditions.limit_usd or Decimal(0)) - sum((each.disk for each in self.senders), Decimal(0))

    def _lose_driver(self, _: float) -> None:
        self._driver = None

    def _join(self, now: float) -> None:
        sender = Sender(
            f"w{len(self.senders)}", self._rng.uniform(-5e-4, 5e-4), self._rng.uniform(0, 1e6), now, now=now
        )
        sender.due = sender.said_at = now
        self.senders.append(sender)
        conditions = self.conditions
        if conditions.crashes_a_minute:
            self._post(
                now + self._rng.expovariate(conditions.crashes_a_minute / 60), lambda at: self._die(sender, at)
            )
        if conditions.partitions_a_minute:
            self._post(
                now + self._rng.expovariate(conditions.partitions_a_minute / 60),
                lambda at: self._cut_off(sender, at),
            )
        self._renew(sender, now)

    def _die(self, sender: Sender, now: float) -> None:
        self._send_until(sender, now)
        sender.dead_at = now

        def told(at: float) -> None:
            if self._driver is not None:
                self._driver.died(sender.name, at)

        self._post(now + 0.1, told)
        self._post(now + 5.0, self._join)

    def _cut_off(self, sender: Sender, now: float) -> None:
        sender.partitioned_until = now + self._rng.uniform(5, 60)
        again_s = self._rng.expovariate(self.conditions.partitions_a_minute / 60)
        self._post(sender.partitioned_until + again_s, lambda at: self._cut_off(sender, at))

    def _renew(self, sender: Sender, now: float) -> None:
        if now >= sender.dead_at:
            return
        self._send_until(sender, now)
        renewal = self._renewal(sender, now)
        self._post(now + self.conditions.renews_every_s, lambda at: self._renew(sender, at))
        if now >= sender.partitioned_until:
            self._post(now + self._delay_s(), lambda at: self._received(sender, renewal, at))

    def _received(self, sender: Sender, renewal: Renewal, now: float) -> None:
        if self._driver is None:
            return
        self.renewals += 1
        grant = self._driver.renew(renewal, now)
        if now >= sender.partitioned_until:
            self._post(now + self._delay_s(), lambda at: self._taken(sender, grant, at))

    def _taken(self, sender: Sender, grant: Grant, now: float) -> None:
        if now < sender.partitioned_until or now >= sender.dead_at:
            return
        self._send_until(sender, now)
        if sender.lease.take(grant):
            sender.resumes_at = now + grant.lanes[LANE].rests_s
            if grant.ceiling_usd is not None:
                sender.disk = max(self._money_taken(sender), min(sender.disk, grant.ceiling_usd))

    def _renewal(self, sender: Sender, now: float) -> Renewal:
        clock = sender.clock(now)
        may, in_flight = sender.lease.lane(LANE, clock), len(sender.sent) - sender.done
        since_s = max(now - sender.said_at, 0.001)
        taken, granted = self._money_taken(sender), sender.lease.ceiling_usd(clock)
        ceiling = max(taken, sender.disk, granted or Decimal(0))
        lacks_money = self.conditions.limit_usd is not None and taken + 2 * self.conditions.usd > ceiling
        use = LaneUse(
            requests_per_minute=may.requests_per_minute,
            tokens_per_minute=may.tokens_per_minute,
            slots=may.slots,
            in_flight=in_flight,
            most_in_flight=max(in_flight, sender.most_in_flight),
            sent_per_minute=(len(sender.sent) - sender.said) * 60 / since_s,
            tokens=self.conditions.tokens * (len(sender.sent) - bisect_right(sender.sent, now - WINDOW_S)),
            waiting=True,
            wants_usd=2 * self.conditions.usd if lacks_money else Decimal(0),
            good=sender.done,
        )
        sender.said, sender.said_at, sender.most_in_flight = len(sender.sent), now, in_flight
        number = sender.lease.renews(clock)
        return Renewal(sender.name, sender.lease.epoch, number, {LANE: use}, taken, ceiling)

    def _money_taken(self, sender: Sender) -> Decimal:
        return self.conditions.usd * (2 * len(sender.sent) - sender.done)

    # --- what is sent

    def _send_until(self, sender: Sender, until: float) -> None:
        """All sends up to that moment, under the lease that the sender has had since the last one."""
        until = min(until, sender.dead_at)
        may = sender.lease.lane(LANE, sender.clock(sender.now))
        end = min(until, sender.lease_ends())
        rpm, slots = may.requests_per_minute, may.slots
        if end > sender.now and slots != 0 and rpm != 0:
            interval_s = 0.0 if rpm is None else WINDOW_S / rpm * MARGIN
            share = None if may.tokens_per_minute is None else int(may.tokens_per_minute // self.conditions.tokens)
            ceiling = sender.lease.ceiling_usd(sender.clock(sender.now))
            if share is None and ceiling is None:
                self._send_at_speed(sender, interval_s, slots or 10**9, end)
            else:
                self._send_one_by_one(sender, interval_s, slots, share, ceiling, end)
        sender.now = until
        self._settle(sender, until)

    def _send_at_speed(self, sender: Sender, interval_s: float, slots: int, end: float) -> None:
        sent, arrivals, due, latency_s = sender.sent, self.arrivals, sender.due, self.conditions.latency_s
        at, jitter = max(sender.now, due, sender.resumes_at), self._rng.random
        while True:
            if len(sent) >= slots and sent[-slots] + latency_s > at:
                at = sent[-slots] + latency_s
            if at >= end:
                break
            sent.append(at)
            arrivals.append(at + REQUEST_JITTER_S * jitter())
            due = max(due, at - Schedule.LATE_S) + interval_s
            at = max(at, due)
        sender.due = due
        sender.most_in_flight = max(sender.most_in_flight, len(sent) - bisect_right(sent, end - latency_s))

    def _send_one_by_one(
        self,
        sender: Sender,
        interval_s: float,
        slots: int | None,
        share: int | None,
        ceiling: Decimal | None,
        end: float,
    ) -> None:
        at = max(sender.now, sender.due, sender.resumes_at)
        while (at := self._next(sender, at, slots, share, ceiling)) < end:
            self._send(sender, at)
            sender.due = max(sender.due, at - Schedule.LATE_S) + interval_s
            at = max(at, sender.due)

    def _next(
        self, sender: Sender, at: float, slots: int | None, share: int | None, ceiling: Decimal | None
    ) -> float:
        """When the next request may leave, no sooner than `at`."""
        sent = sender.sent
        if slots is not None and len(sent) >= slots:
            at = max(at, sent[-slots] + self.conditions.latency_s)
        if share is not None:
            if share == 0:
                return math.inf
            if len(sent) >= share:
                at = max(at, sent[-share] + WINDOW_S * TOKEN_MARGIN)
        if ceiling is not None:
            while True:
                self._settle(sender, at)
                if self._money_taken(sender) + 2 * self.conditions.usd <= ceiling:
                    break
                if sender.done == len(sent):
                    return math.inf
                at = sent[sender.done] + self.conditions.latency_s
        return at

    def _send(self, sender: Sender, at: float) -> None:
        sender.sent.append(at)
        self._settle(sender, at)
        sender.most_in_flight = max(sender.most_in_flight, len(sender.sent) - sender.done)
        self.arrivals.append(at + self._rng.uniform(0, REQUEST_JITTER_S))
        if self.conditions.limit_usd is not None:
            sender.disk = max(sender.disk, self._money_taken(sender))

    def _settle(self, sender: Sender, now: float) -> None:
        latency_s = self.conditions.latency_s
        while sender.done < len(sender.sent) and sender.sent[sender.done] + latency_s <= now:
            sender.done += 1

    # --- what the server counts

    def most_within(self, window_s: float) -> int:
        """The fullest half-open window of that length."""
        arrivals = np.sort(np.array(self.arrivals))
        return int((np.searchsorted(arrivals, arrivals + window_s - 1e-9) - np.arange(len(arrivals))).max())

    def most_in_flight(self) -> int:
        """As the server sees it, where an answer takes no time to get back, and a dead client's requests end."""
        latency_s = self.conditions.latency_s
        sent = np.sort(np.concatenate([np.array(each.sent) for each in self.senders]))
        ended = np.sort(
            np.concatenate([np.minimum(np.array(each.sent) + latency_s, each.dead_at) for each in self.senders])
        )
        return int((np.arange(1, len(sent) + 1) - np.searchsorted(ended, sent, "right")).max())

    def used(self, since: float, until: float) -> float:
        """The part of the limit that was used in that time."""
        arrivals = np.array(self.arrivals)
        count = int(((arrivals >= since) & (arrivals < until)).sum())
        assert self.conditions.limits.requests_per_minute is not None
        return count / (self.conditions.limits.requests_per_minute * (until - since) / 60)
