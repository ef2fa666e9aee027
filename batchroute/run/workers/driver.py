"""What the driver knows of its workers: what they use and have, by what they say, and whether they are there.

Plain synchronous decisions; who carries messages, and begins workers and kills them, is told nothing else. Knows
no files: what is durable is written by the workers, and read off the directory at the start.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from batchroute.run.workers.messages import LaneTally, WorkerSaid
from batchroute.send.leased import boot_s
from batchroute.types import LaneState

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.lease.limiter import Limiter
    from batchroute.lease.messages import Grant
    from batchroute.run.progress import LaneProgress, Progress

SILENT_TTLS = 3  # so many leases long a worker is not heard before it is killed
STARTS_S = 120.0  # as long it may take to begin
_NONE = LaneTally()


@dataclass(slots=True)
class _Known:
    """One worker: what it said last, what that was answered, for how many looks it has said nothing since."""

    said: WorkerSaid | None = None
    grant: Grant | None = None
    silent: int = 0

    @property
    def most_in_flight(self) -> int:
        """Requests that may be out, by what it said and was granted last."""
        if self.said is None or self.grant is None:
            return 0
        granted = self.grant.lanes
        uses = self.said.renewal.lanes.items()
        return sum(max(use.in_flight, use.slots or 0, granted[name].slots or 0) for name, use in uses)


@dataclass(slots=True)
class Losses:
    """Workers that died, in all, and in a row while the run got no further; rows that may be paid twice."""

    workers: int = 0
    in_vain: int = 0
    paid_twice: int = 0
    _got_to: tuple[int, ...] = ()

    def died(self, paid_twice: int, got_to: tuple[int, ...]) -> None:
        self.workers += 1
        self.paid_twice += paid_twice
        self.in_vain = self.in_vain + 1 if got_to == self._got_to else 1
        self._got_to = got_to


@dataclass(slots=True)
class Driver:
    """See `Exchanges`. `notify` takes what a user must see at once: of several workers' same words once.

    `leases` counts answers; `code` is the exit code of a fault that ends the run, as a worker said it.
    """

    limiter: Limiter
    progress: Progress
    notify: Callable[[str], None]
    clock: Callable[[], float] = boot_s
    leases: int = 0
    code: int | None = None
    losses: Losses = field(default_factory=Losses)
    _known: dict[str, _Known] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _found: dict[int, int] = field(default_factory=dict)
    _in_flight: Counter[str] = field(default_factory=Counter)
    _sent: Counter[str] = field(default_factory=Counter)
    _scored: int = 0

    def __post_init__(self) -> None:
        for name, lane in self.progress.lanes.items():
            self._join(name, lane)
        self.progress.scored = lambda: self._scored

    def _join(self, name: str, lane: LaneProgress) -> None:
        lane.in_flight, lane.sent = lambda: self._in_flight[name], lambda: self._sent[name]
        lane.state = lambda: self._state(name)

    @property
    def names(self) -> list[str]:
        """Of the workers that are there."""
        return list(self._known)

    @property
    def in_flight(self) -> int:
        return self._in_flight.total()

    @property
    def sent(self) -> int:
        """Attempts of all."""
        return self._sent.total()

    @property
    def is_over(self) -> bool:
        """Whether no worker could do anything more, though there were shards."""
        limiter = self.limiter
        return limiter.drain is not None or all(lane.found.stop is not None for lane in limiter.lanes.values())

    @property
    def has_work(self) -> bool:
        return not (self.is_over or self.limiter.queue.finished)

    def begun(self, worker: str) -> None:
        self._known[worker] = _Known()

    def exchange(self, worker: str, said: bytes) -> bytes:
        now = msgspec.msgpack.decode(said, type=WorkerSaid)
        known = self._known.setdefault(worker, _Known())
        self._count(known.said, now)
        known.said, known.silent = now, 0
        for notice in now.notices:
            self._tell(notice)
        self.code = self.code or now.code
        self.leases += 1
        renewal = msgspec.structs.replace(now.renewal, worker=worker)
        known.grant = self.limiter.renew(renewal, self.clock())
        return msgspec.msgpack.encode(known.grant)

    def died(self, worker: str) -> None:
        known = self._known.pop(worker, None)
        if known is None:
            return
        last = known.said
        if last is not None:
            for name, tally in last.tallies.items():
                self._in_flight[name] -= tally.in_flight
        self.limiter.died(worker, self.clock())
        if last is None or not last.leaving:
            got_to = (self.progress.settled, self._scored, self.limiter.queue.unfinished)
            self.losses.died(known.most_in_flight, got_to)

    def look(self, every_s: float) -> list[str]:
        """To be called so often; ends leases that are over. Returns workers that hang, and are to be killed.

        Counts its own looks: where the driver itself was stopped, nobody was silent meanwhile.
        """
        self.limiter.advance(self.clock())
        hanging = []
        for name, known in self._known.items():
            known.silent += 1
            longest_s = STARTS_S if known.said is None else SILENT_TTLS * self.limiter.ttl_s
            if known.silent * every_s > longest_s:
                hanging.append(name)
        return hanging

    def _tell(self, notice: str) -> None:
        if notice not in self._told:
            self._told.add(notice)
            self.notify(notice)

    def _count(self, before: WorkerSaid | None, now: WorkerSaid) -> None:
        """Adds what a worker did since it said the last word."""
        for name, tally in now.tallies.items():
            self._add(name, _NONE if before is None else before.tallies.get(name, _NONE), tally)
        errors = Counter(now.errors)
        if before is not None:
            errors.subtract(before.errors)
        self.progress.errors += errors
        self._scored += now.scored - (0 if before is None else before.scored)
        for shard, rows in now.found.items():
            if shard not in self._found:
                self._found[shard] = rows
                self.progress.done_before += rows

    def _add(self, name: str, before: LaneTally, now: LaneTally) -> None:
        lane = self.progress.lanes[name]
        lane.ok += now.ok - before.ok
        lane.refused += now.refused - before.refused
        lane.failed += now.failed - before.failed
        lane.cost_usd += now.cost_usd - before.cost_usd
        lane.tokens += now.tokens - before.tokens
        lane.last_error = now.last_error or lane.last_error
        self._in_flight[name] += now.in_flight - before.in_flight
        self._sent[name] += now.sent - before.sent

    def _state(self, name: str) -> LaneState:
        """What most workers' lanes do, but those that wait for others; a lane that was stopped is."""
        if (stop := self.limiter.lanes[name].found.stop) is not None:
            return LaneState("stopped", stop)
        tallies = [known.said.tallies.get(name, _NONE) for known in self._known.values() if known.said is not None]
        states = Counter((tally.doing, tally.reason) for tally in tallies)
        if not states:
            return LaneState("done" if self.limiter.queue.finished else "waiting")
        doing, reason = max(
            states, key=lambda state: (state[0] == "sending", state[0] != "waiting", states[state])
        )
        return LaneState(doing, reason)
