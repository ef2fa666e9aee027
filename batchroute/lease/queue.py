"""Which shard is worked on by whom, and which is next: the largest that is left.

Knows shards by number and size, and no files: whether its lock can be had, who opens a shard finds out.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.lease.messages import ShardTurn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.lease.messages import Renewal, ShardEnd, ShardOpen

DEATHS = 3  # of workers, without a new record between, after which a shard is left
COSTS_WORKERS = f"{DEATHS} workers died in it, one after the other, without a new record"
NONE_READ: Mapping[int, int] = {}


@dataclass(slots=True)
class _Given:
    """A shard that a worker has; `records` of its rows as it said last, None: it has not said that it is open."""

    worker: str
    turn: int
    records: int | None = None


@dataclass(slots=True)
class _Deaths:
    """How many workers a shard has cost since it had so many records."""

    records: int
    count: int = 1


class ShardQueue:
    """Shards that are not done, with their sizes in any unit, given out one at a time.

    `left`: those that nobody goes on with, and why. `turn` counts the times at which a shard was given out, over
    all queues of a run, so that what is said of an earlier time is told from what is said of this one.
    """

    # Worked example, the life of shard 7: it is the largest, so A gets it, turn 1. The grant is lost; A's next
    # renewal does not name it, so it is given again, turn 1 still. A says that it is open, with 0 records, then
    # 120. A is not heard of any more: when its lease is over, 7 is in the queue again, and B gets it, turn 2. B
    # finds it locked, as A lives after all, and cannot be heard; it is put off. A is heard: 7 is open, turn 1, so
    # it is A's again. A's process dies, then C's and D's, and neither had a record more than the 120: 7 is left.

    def __init__(self, shards: Iterable[tuple[int, float]], *, retry_s: float = 2.0, turn: int = 0) -> None:
        """`retry_s`: how long a locked shard is put off; `turn`: that of the queue before this one."""
        self.turn = turn
        self.left: dict[int, str] = {}
        self._before = turn
        self._retry_s = retry_s
        self._sizes = dict(shards)  # of all that are neither done nor left
        self._waiting = [(-size, number) for number, size in self._sizes.items()]  # and some that no longer wait
        heapq.heapify(self._waiting)
        self._put_off: deque[tuple[float, int]] = deque()  # (until, number)
        self._given: dict[int, _Given] = {}
        self._of: dict[str, set[int]] = {}
        self._lost: dict[str, dict[int, int]] = {}  # worker -> its open shards and their records
        self._deaths: dict[int, _Deaths] = {}

    @property
    def finished(self) -> bool:
        """Whether every shard is done or left."""
        return not self._sizes

    @property
    def unfinished(self) -> int:
        """How many shards are neither done nor left."""
        return len(self._sizes)

    def renew(self, renewal: Renewal, now: float) -> list[ShardTurn]:
        """The shards that the worker is to begin, by what it says that it has, had and wants."""
        worker = renewal.worker
        self._lost.pop(worker, None)
        for end in renewal.ended:
            self._ended(worker, end, now)
        for opened in renewal.open:
            self._opened(worker, opened)
        mine = ((number, self._given[number]) for number in sorted(self._of.get(worker, ())))
        unopened = [ShardTurn(number, given.turn) for number, given in mine if given.records is None]
        if unopened or not renewal.wants_shard:
            return unopened
        return self._next(worker, now)

    def died(self, worker: str, records: Mapping[int, int] = NONE_READ) -> None:
        """The worker is dead: its shards are anybody's. `records` of them on disk, where the caller has looked."""
        for number, said in self._lost.pop(worker, {}).items():
            self._count_death(number, records.get(number, said))
        for number in self._of.pop(worker, set()):
            said_last = self._given.pop(number).records
            if said_last is not None:
                self._count_death(number, records.get(number, said_last))
            self._return(number)

    def lost(self, worker: str) -> None:
        """The worker's lease is over: its shards are tried by others, and had as soon as their locks are free."""
        for number in self._of.pop(worker, set()):
            records = self._given.pop(number).records
            if records is not None:
                self._lost.setdefault(worker, {})[number] = records
            self._return(number)

    def _next(self, worker: str, now: float) -> list[ShardTurn]:
        while self._put_off and self._put_off[0][0] <= now:
            self._return(self._put_off.popleft()[1])
        while self._waiting:
            _, number = heapq.heappop(self._waiting)
            if number in self._given or not self._is_wanted(number):
                continue
            self.turn += 1
            self._give(worker, number, self.turn)
            return [ShardTurn(number, self.turn)]
        return []

    def _ended(self, worker: str, end: ShardEnd, now: float) -> None:
        given = self._given.get(end.number)
        is_current = given is not None and (given.worker, given.turn) == (worker, end.turn)
        if end.outcome == "done":
            if end.turn > self._before:  # not of an earlier queue
                self._take_back(end.number)
                self._sizes.pop(end.number, None)
                self._deaths.pop(end.number, None)
        elif is_current:
            self._take_back(end.number)
            if end.outcome == "left":
                self._leave(end.number, end.said or "")
            elif end.outcome == "locked":
                self._put_off.append((now + self._retry_s, end.number))
            else:
                self._return(end.number)

    def _opened(self, worker: str, opened: ShardOpen) -> None:
        number, given = opened.number, self._given.get(opened.number)
        if number not in self._sizes or opened.turn <= self._before:
            return
        if given is None or given.worker != worker:
            if given is not None and given.records is not None:
                return
            self._take_back(number)
            given = self._give(worker, number, opened.turn)
        deaths = self._deaths.get(number)
        if deaths is not None and opened.records > deaths.records:
            if given.records is None:  # the last one to die had made more of them than it said
                self._deaths[number] = _Deaths(opened.records)
            else:
                del self._deaths[number]
        given.records = opened.records

    def _give(self, worker: str, number: int, turn: int) -> _Given:
        given = self._given[number] = _Given(worker, turn)
        self._of.setdefault(worker, set()).add(number)
        return given

    def _take_back(self, number: int) -> None:
        given = self._given.pop(number, None)
        if given is not None:
            self._of[given.worker].discard(number)

    def _return(self, number: int) -> None:
        if self._is_wanted(number):
            heapq.heappush(self._waiting, (-self._sizes[number], number))

    def _is_wanted(self, number: int) -> bool:
        deaths = self._deaths.get(number)
        if number in self._sizes and deaths is not None and deaths.count >= DEATHS:
            self._leave(number, COSTS_WORKERS)
        return number in self._sizes

    def _leave(self, number: int, said: str) -> None:
        if self._sizes.pop(number, None) is not None:
            self.left[number] = said

    def _count_death(self, number: int, records: int) -> None:
        deaths = self._deaths.get(number)
        if deaths is None or records > deaths.records:
            self._deaths[number] = _Deaths(records)
        else:
            deaths.count += 1
