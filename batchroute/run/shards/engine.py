"""One process at work on shards, one after the other, by lanes that live as long as it does.

    queue -> a shard opened -> scoring -> scores/ -> a feed per endpoint -> lane -> the shard's journal -> results/

A lane goes on to the next shard as soon as it has been given the rows of the last one, so that what is still in
flight there costs no time; a shard is closed when its last row has ended. Where shards come from, and what the
lanes may use, is decided by the caller.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError
from batchroute.run.pilot.beside import Beside
from batchroute.run.shard import ShardRun
from batchroute.run.shards.opened import OpenShard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from batchroute.run.scoring import Scoring
    from batchroute.run.shards.queue import ShardTask, TaskQueue
    from batchroute.run.shards.work import ShardWork
    from batchroute.send.lane import Lane
    from batchroute.send.request import Delivery, Outcome, Request, Spent
    from batchroute.store.directory import RunDirectory

# An endpoint that is slow keeps shards open that another one is done with. Each is two files, and a few kB.
MOST_OPEN = 64


class ShardsRun:
    """Asks the rows of the shards of a queue, and scores those that have no scores yet. See `Stoppable`."""

    def __init__(
        self,
        work: ShardWork,
        queue: TaskQueue,
        lanes: Mapping[str, Lane[Request]],
        threshold: float,
        reuse: Delivery[Request] | None,
    ) -> None:
        self._work = work
        self._queue = queue
        self._lanes = lanes
        self._threshold = threshold
        self._reuse = reuse
        self._over: set[str] = set()  # lanes that have ended
        self._open: dict[int, OpenShard] = {}  # by number
        self._nth: dict[int, OpenShard] = {}  # in the order of their opening
        self._opened = 0
        self._no_more = False
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(MOST_OPEN)
        self._rows = self._sent = 0  # of shards that are closed
        self._group = asyncio.TaskGroup()

    @property
    def rows(self) -> int:
        """Scored so far, of the shards that were opened."""
        return self._rows + sum(scoring.rows for scoring in self._scoring)

    @property
    def sent(self) -> int:
        """Requests to an embedder."""
        return self._sent + sum(scoring.sent for scoring in self._scoring)

    @property
    def _scoring(self) -> list[Scoring]:
        return [opened.scoring for opened in self._open.values()]

    def stop(self) -> None:
        """Scores no more; the lanes are stopped by themselves."""
        for scoring in self._scoring:
            scoring.stop()

    def abandon(self) -> None:
        for scoring in self._scoring:
            scoring.abandon()

    async def run(self) -> None:
        """Until no shard is left, or the lanes have stopped; every shard is closed then."""
        async with self._group:
            async with asyncio.TaskGroup() as delivering:
                for name, lane in self._lanes.items():
                    delivering.create_task(self._deliver(name, lane))
            self.stop()
            asyncio.get_running_loop().call_later(self._work.job.limits.drain_s, self.abandon)
            for opened in list(self._open.values()):
                self._close(opened)

    async def _deliver(self, name: str, lane: Lane[Request]) -> None:
        await lane.deliver(self._requests(name, lane), _ShardSink(self, name))
        self._over.add(name)
        for opened in list(self._open.values()):
            opened.rows.ended(name)
            self._review(opened)

    async def _requests(self, name: str, lane: Lane[Request]) -> AsyncGenerator[Request, None]:
        """The rows of one endpoint, shard after shard."""
        place = 0
        while (opened := await self._at(place, lane)) is not None:
            async for request in opened.rows.requests(name, lane, opened.threshold):
                opened.out += 1
                yield request
            opened.fed.add(name)
            self._review(opened)
            place += 1

    async def _at(self, place: int, lane: Lane[Request]) -> OpenShard | None:
        """The n-th shard of this process, opened by the first lane that gets there; None: there are no more."""
        if place >= self._opened and not self._no_more:
            with lane.starved():
                # In a task of its own: a lane that stops meanwhile must not leave a shard half opened.
                await asyncio.shield(self._group.create_task(self._open_until(place)))
        return self._nth.get(place)

    async def _open_until(self, place: int) -> None:
        async with self._opening:
            while place >= self._opened and not self._no_more:
                await self._room.acquire()
                task = None if self._work.stopper.stopping else await self._queue.take()
                directory = None if task is None else await self._work.opened(self._queue, task)
                if task is None or directory is None:
                    self._room.release()
                    self._no_more = task is None
                else:
                    self._begin(task, directory)

    def _begin(self, task: ShardTask, directory: RunDirectory) -> None:
        work = self._work
        rows = ShardRun(
            work.job.endpoints,
            work.targets,
            work.rows(task),
            directory,
            work.progress,
            work.stopper,
            limit=task.limit,
            reserves=work.books.has_budget,
            beside=Beside(),
        )
        for name in self._over:
            rows.ended(name)
        opened = OpenShard(self._opened, task, directory, rows, work.scoring(task, directory))
        self._open[opened.number] = self._nth[opened.place] = opened
        self._opened += 1
        opened.begin(self._group)
        opened.scored = self._group.create_task(self._score(opened))

    async def _score(self, opened: OpenShard) -> None:
        work = self._work
        try:
            await opened.score(self._threshold, self._reuse)
            if opened.scoring.stopped is not None:
                work.stopper.stop(f"the embedder stopped: {opened.scoring.stopped}")
        except BatchrouteError as fault:
            work.stopper.fail(fault)
        if not opened.threshold.done():  # else its rows would be waited for
            for lane in self._lanes.values():
                lane.stop()

    def settle(self, name: str, request: Request, outcome: Outcome) -> None:
        """A request of a lane has come to an end."""
        opened = self._open[request.shard]
        opened.rows.sink(name).settle(request, outcome)
        self._back(opened)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """A request stays undone."""
        opened = self._open[request.shard]
        opened.rows.sink(name).leave(request, spent)
        self._back(opened)

    def _back(self, opened: OpenShard) -> None:
        opened.out -= 1
        if not opened.out:
            self._review(opened)

    def _review(self, opened: OpenShard) -> None:
        """Closes a shard of which no lane has, or gets, another row."""
        if not opened.out and opened.fed | self._over >= self._lanes.keys():
            self._close(opened)

    def _close(self, opened: OpenShard) -> None:
        if not opened.closing:
            opened.closing = True
            self._group.create_task(self._closed(opened))

    async def _closed(self, opened: OpenShard) -> None:
        if opened.scored is not None:
            await asyncio.wait([opened.scored])
        await opened.close()
        self._rows, self._sent = self._rows + opened.scoring.rows, self._sent + opened.scoring.sent
        del self._open[opened.number], self._nth[opened.place]
        rows = opened.ended_rows
        await self._work.books.close(opened.directory, rows=rows)
        self._queue.give_back(opened.number, "returned" if rows is None else "done")
        self._room.release()


@dataclass(frozen=True, slots=True)
class _ShardSink:
    """See `Sink`: each request goes to the shard that it lies in."""

    run: ShardsRun
    name: str

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.run.settle(self.name, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        self.run.leave(self.name, request, spent)
