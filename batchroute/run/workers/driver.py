"""What the driver knows of its workers: what they use and have, by what they say, and whether they are there.

Plain synchronous decisions; who carries messages, and begins workers and kills them, is told nothing else. Knows
no files: what is durable is written by the workers, and read off the directory at the start.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from batchroute.run.workers.messages import LaneTally, Said
from batchroute.send.leased import boot_s
from batchroute.types import LaneState

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.lease.limiter import Limiter
    from batchroute.lease.messages import LaneUse
    from batchroute.run.progress import LaneProgress, Progress

SILENT_TTLS = 3  # so many leases long a worker is not heard before it is killed
STARTS_S = 120.0  # as long it may take to begin
_NONE = LaneTally()


@dataclass(slots=True)
class _Known:
    """One worker: what it said last, and for how many looks it has said nothing since."""

    said: Said | None = None
    silent: int = 0


@dataclass(slots=True)
class Losses:
    """Workers that died, in all; those in a row that never said a word; rows that may so be paid twice."""

    workers: int = 0
    mute: int = 0
    paid_twice: int = 0


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

    def begun(self, worker: str) -> None:
        """A worker is being started."""
        self._known[worker] = _Known()

    def exchange(self, worker: str, said: bytes) -> bytes:
        now = msgspec.msgpack.decode(said, type=Said)
        known = self._known.setdefault(worker, _Known())
        self._count(known.said, now)
        known.said, known.silent, self.losses.mute = now, 0, 0
        for notice in now.notices:
            self._tell(notice)
        self.code = self.code or now.code
        self.leases += 1
        renewal = msgspec.structs.replace(now.renewal, worker=worker)
        return msgspec.msgpack.encode(self.limiter.renew(renewal, self.clock()))

    def died(self, worker: str) -> None:
        known = self._known.pop(worker, _Known())
        last = known.said
        self.losses.mute += last is None
        if last is None or not last.leaving:
            self.losses.workers += 1
        if last is not None:
            for name, tally in last.lanes.items():
                self._in_flight[name] -= tally.in_flight
            if not last.leaving:
                self.losses.paid_twice += sum(map(_most_in_flight, last.renewal.lanes.values()))
        self.limiter.died(worker, self.clock())

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

    def _count(self, before: Said | None, now: Said) -> None:
        """Adds what a worker did since it said the last word."""
        for name, tally in now.lanes.items():
            self._add(name, _NONE if before is None else before.lanes.get(name, _NONE), tally)
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
        tallies = [known.said.lanes.get(name, _NONE) for known in self._known.values() if known.said is not None]
        states = Counter((tally.doing, tally.reason) for tally in tallies)
        if not states:
            return LaneState("waiting")
        doing, reason = max(
            states, key=lambda state: (state[0] == "sending", state[0] != "waiting", states[state])
        )
        return LaneState(doing, reason)


def _most_in_flight(use: LaneUse) -> int:
    return max(use.in_flight, use.slots or 0)
