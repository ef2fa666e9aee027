"""The driver's decisions, as a state machine for one run: which worker may use how much, until when.

`renew` is the one message, `died` the one proof that a worker is gone; time alone ends leases. Knows no network
and no files: the caller carries messages, reads the clock (one monotonic clock, seconds), and writes the epoch.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from batchroute.lease.findings import ProbeTurn
from batchroute.lease.lane import SharedLane
from batchroute.lease.limits import DRIVER_SLOWER, ttl_s
from batchroute.lease.messages import Grant, LaneGrant, LaneUse
from batchroute.lease.queue import NONE_READ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.lease.limits import LaneLimits
    from batchroute.lease.messages import Renewal
    from batchroute.lease.money import SharedMoney
    from batchroute.lease.queue import ShardQueue

UNUSED = LaneUse()


@dataclass(slots=True)
class _Worker:
    """`number` of the last renewal, and its answer; `place` among those that are here, None: its lease is over."""

    number: int
    heard_at: float
    answer: Grant
    place: int | None = None
    dead: bool = False


class Limiter:
    """Leases the limits of `lanes`, `money` (None: no limit) and the shards of `queue` to workers.

    `quiet_s`: how long nothing is granted, as workers of the last driver may hold leases (`limits.quiet_s`); 0
    where it closed its epoch in order, or all its workers are known to be dead. `superseded`: another driver has
    taken over; nothing is granted any more. `drain`: why all workers are to end in order, by a worker or the
    caller, who may also set `threshold`, and another `queue` for the next stage.
    """

    # Worked example, a period of 2 s, ttl 6 s: A renews at 10.0 s and is granted half of the lane. It is not heard
    # of any more. Its lease began before 10.0 s and lasts 6 s on its own clock; the clocks may differ, so it is
    # over at 16.3 s on this one. Its speed is free then, its shards are in the queue, its tokens rest for a
    # minute, its slots until no request can be in flight any more, 600 s later, and the money that it may have
    # taken until it is heard again. Had its process been known to be dead at 10.5 s, its speed, its slots and its
    # shards had been free then.

    def __init__(
        self,
        lanes: Mapping[str, LaneLimits],
        queue: ShardQueue,
        money: SharedMoney | None = None,
        *,
        epoch: int,
        period_s: float,
        now: float,
        quiet_s: float = 0.0,
    ) -> None:
        self.lanes = {name: SharedLane(limits, period_s) for name, limits in lanes.items()}
        self.queue = queue
        self.money = money
        self.epoch = epoch
        self.period_s = period_s
        self.ttl_s = ttl_s(period_s)
        self.superseded = False
        self.drain: str | None = None
        self.threshold: float | None = None
        self._quiet_until = now + quiet_s
        self._longest_s = max((limits.timeout_s for limits in lanes.values()), default=0.0)
        self._known: dict[str, _Worker] = {}
        self._here: dict[str, _Worker] = {}  # by when they were heard
        self._places: list[int] = []  # below the highest one taken, that are free
        self._in_doubt: dict[str, float] = {}  # workers that are lost -> until when requests may be in flight
        if quiet_s > 0:
            for lane in self.lanes.values():
                lane.rest_tokens(now, quiet_s)

    @property
    def here(self) -> int:
        """How many workers hold a lease."""
        return len(self._here)

    def renew(self, renewal: Renewal, now: float) -> Grant:
        """What the worker may use. A renewal that is late or doubled is answered as the last one was."""
        self.advance(now)
        self.superseded = self.superseded or renewal.epoch > self.epoch
        known = self._known.get(renewal.worker)
        if self.superseded or (known is not None and known.dead):
            return self._nothing(renewal)
        if known is not None and renewal.number <= known.number:
            return known.answer
        worker = self._heard(renewal, known, now)
        worker.answer = self._nothing(renewal) if now < self._quiet_until else self._granted(renewal, worker, now)
        return worker.answer

    def died(self, worker: str, now: float, records: Mapping[int, int] = NONE_READ) -> None:
        """The worker's process is known to be dead. `records`: see ShardQueue.died."""
        self.advance(now)
        known = self._known.setdefault(worker, _Worker(-1, now, Grant(self.epoch, -1, self.ttl_s, self.period_s)))
        known.dead = True
        self._leaves(worker)
        for lane in self.lanes.values():
            lane.died(worker, now)
        self.queue.died(worker, records)

    def advance(self, now: float) -> None:
        """Ends the leases that are over by now."""
        lease_s = self.ttl_s * DRIVER_SLOWER
        while self._here:
            name, worker = next(iter(self._here.items()))
            if now < worker.heard_at + lease_s:
                return
            self._leaves(name)
            self._in_doubt[name] = now + self._longest_s
            for lane in self.lanes.values():
                lane.lost(name, now)
            self.queue.lost(name)

    def _heard(self, renewal: Renewal, known: _Worker | None, now: float) -> _Worker:
        name = renewal.worker
        worker = known or _Worker(renewal.number, now, self._nothing(renewal))
        worker.number, worker.heard_at = renewal.number, now
        if worker.place is None:
            worker.place = heapq.heappop(self._places) if self._places else len(self._here)
        self._here.pop(name, None)  # the longest silent one stays the first
        self._known[name] = self._here[name] = worker
        self._in_doubt.pop(name, None)
        for lane_name, lane in self.lanes.items():
            lane.hear(name, renewal.lanes.get(lane_name, UNUSED), now)
        self.drain = self.drain or renewal.stopping
        return worker

    def _leaves(self, name: str) -> None:
        self._in_doubt.pop(name, None)
        worker = self._here.pop(name, None)
        if worker is not None and worker.place is not None:
            heapq.heappush(self._places, worker.place)
            worker.place = None
        if self.money is not None:
            self.money.left(name)

    def _granted(self, renewal: Renewal, worker: _Worker, now: float) -> Grant:
        name = renewal.worker
        lacking: set[str] = set()
        if self.money is not None:
            self.money.hear(renewal, self.epoch)
            self._stop_spent_up(self.money, now)
            lacking = self.money.lacking(name)
        turn = ProbeTurn(worker.place or 0, len(self._here) + len(self._places))
        wishes = renewal if self.drain is None else msgspec.structs.replace(renewal, wants_shard=False)
        lanes = {
            each: lane.grant(name, renewal.lanes.get(each, UNUSED), turn, now, lacks_money=each in lacking)
            for each, lane in self.lanes.items()
        }
        ceiling = None
        if self.money is not None:
            can_send = any(lane.slots != 0 for lane in lanes.values())
            ceiling = self.money.grant(name, renewal.taken_usd, can_send=can_send)
        return Grant(
            self.epoch,
            renewal.number,
            self.ttl_s,
            self.period_s,
            lanes=lanes,
            ceiling_usd=ceiling,
            shards=self.queue.renew(wishes, now),
            threshold=self.threshold,
            drain=self.drain,
            finished=self.queue.finished,
        )

    def _stop_spent_up(self, money: SharedMoney, now: float) -> None:
        """Ends lanes for want of money.

        Not before all workers had time to ask, nor while an answer to a lost one may leave some.
        """
        all_asked_at = self._quiet_until + 2 * self.period_s
        if now < all_asked_at or any(until > now for until in self._in_doubt.values()):
            return
        for lane_name, reason in money.spent_up().items():
            found = self.lanes[lane_name].found
            found.stop = found.stop or reason

    def _nothing(self, renewal: Renewal) -> Grant:
        """The answer that lets nothing be sent, nor any ceiling be raised."""
        return Grant(
            self.epoch,
            renewal.number,
            self.ttl_s,
            self.period_s,
            lanes=dict.fromkeys(self.lanes, LaneGrant()),
            ceiling_usd=None if self.money is None else renewal.taken_usd,
            drain=self.drain,
        )
