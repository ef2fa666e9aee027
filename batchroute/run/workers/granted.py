"""The shards that a driver gave to a worker: begun one after the other, told of until the driver has heard it.

Knows no files and no lanes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from batchroute.lease.messages import ShardEnd, ShardOpen
from batchroute.run.shards.queue import ShardTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from batchroute.input.cut import Shard
    from batchroute.lease.messages import ShardTurn
    from batchroute.run.shards.queue import ShardOutcome


class GrantedShards:
    """See `TaskQueue`; and `Stoppable`: once it is stopped, no shard is begun any more."""

    # Worked example: the lanes have been given the last row of shard 4 and ask for another: `wants`. The renewal
    # that says so is answered with shard 9, turn 12, which is opened while rows of shard 4 are in flight; then 4
    # is closed, and the next renewals say "4, turn 7: done" until one of them has its answer.

    def __init__(
        self,
        shards: Sequence[Shard],
        limits: Mapping[int, int],
        most_open: int,
        renew: Callable[[], None],
        is_lane_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """`limits` are of shards of which only so many rows are wanted; at most `most_open` are had at a time.

        `renew` asks for a renewal at once.
        `is_lane_over`: who goes on with a shard that is not done would not come further, either.
        """
        self.sent = 0
        self._shards = shards
        self._limits = limits
        self._most_open = most_open
        self._renew = renew
        self._is_lane_over = is_lane_over
        self._turns: dict[int, int] = {}  # of those given and not ended
        self._ready: deque[int] = deque()
        self._ended: list[ShardEnd] = []
        self._waiting = 0
        self._no_more = False
        self._changed = asyncio.Event()

    @property
    def wants(self) -> bool:
        """Whether another shard could be begun: a lane may be ahead of another one, but not by too many."""
        return self._waiting > 0 and not self._no_more and len(self._turns) < self._most_open

    @property
    def ended(self) -> list[ShardEnd]:
        """What the driver has not answered yet."""
        return list(self._ended)

    def open(self, records: Callable[[int], int]) -> list[ShardOpen]:
        """Those that are the worker's; `records` of a shard are the rows of it on file."""
        return [ShardOpen(number, turn, records(number)) for number, turn in self._turns.items()]

    def granted(self, turns: Iterable[ShardTurn], heard: Sequence[ShardEnd], *, finished: bool) -> None:
        """The answer to a renewal that said what is `heard` by now."""
        self._ended = [end for end in self._ended if end not in heard]
        for given in turns:
            if self._turns.get(given.number) != given.turn and not self._has_ended(given):
                self._turns[given.number] = given.turn
                self._ready.append(given.number)
        self._no_more = self._no_more or finished
        self._changed.set()

    async def take(self) -> ShardTask | None:
        self._waiting += 1
        self._renew()
        try:
            while not self._ready and not self._no_more:
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting -= 1
        if self._no_more and not self._ready:
            return None
        number = self._ready.popleft()
        return ShardTask(self._shards[number], self._limits.get(number))

    def give_back(self, number: int, outcome: ShardOutcome, said: str | None = None) -> None:
        if outcome == "returned" and self._is_lane_over():
            outcome = "left"
        self._ended.append(ShardEnd(number, self._turns.pop(number), outcome, said))
        self._renew()

    def stop(self) -> None:
        """Gives those back that are not begun."""
        self._no_more = True
        while self._ready:
            self.give_back(self._ready.popleft(), "returned")
        self._changed.set()

    async def stopped(self) -> None:
        """Returns when no shard comes any more."""
        while not self._no_more:
            self._changed.clear()
            await self._changed.wait()

    def abandon(self) -> None:
        self.stop()

    def _has_ended(self, given: ShardTurn) -> bool:
        return any((end.number, end.turn) == (given.number, given.turn) for end in self._ended)
