"""The rows of a run, shard by shard: read as they are scored, delivered by endpoint, put on file as they end.

Each endpoint's delivery reads the input on its own, so that one that is far behind holds no more than the chunk
it stands in. What follows an answer is decided in `route/next`, how a result looks in `settle`, when the run stops
in `stop`. Knows no scores that are not on disk, and no network.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError
from batchroute.route.next import Done, Policy, RowState, Stop, next_step
from batchroute.run.feed import Feed
from batchroute.run.settle import billed_usd, left_open, never_sent, settled, taken_over
from batchroute.send.request import Spent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.route.downgrade import Downgrade
    from batchroute.run.progress import Progress
    from batchroute.run.stop import Stopper
    from batchroute.send.request import Delivery, Outcome, Request
    from batchroute.store.directory import RunDirectory
    from batchroute.store.rows import DoneRows
    from batchroute.types import Result


@dataclass(slots=True)
class _Feeding:
    """How far an endpoint is: `fed` with the rows that its scores send there, `ended` with its delivery."""

    fed: asyncio.Event
    ended: asyncio.Event


class ShardRun:
    """Delivers the rows of one run directory; `downgrade`, where there is one, is set before they begin."""

    def __init__(
        self,
        endpoints: Endpoints,
        targets: Mapping[str, Target],
        source: Source,
        directory: RunDirectory,
        progress: Progress,
        stopper: Stopper,
        *,
        limit: int | None,
        reserves: bool,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `reserves`: a budget has to hold for each."""
        self.downgrade: Downgrade | None = None
        self._endpoints = endpoints
        self._targets = targets
        self._source = source
        self._store = directory.store
        self._scores = directory.scores
        self._raw = directory.raw
        self._progress = progress
        self._stopper = stopper
        self._limit = limit
        self._reserves = reserves
        self._deliveries: dict[str, Delivery[Request]] = {}
        self._feeding = {name: _Feeding(asyncio.Event(), asyncio.Event()) for name in endpoints.names}

    async def deliver(self, name: str, delivery: Delivery[Request], threshold: asyncio.Future[float]) -> None:
        """All rows of one endpoint to their ends, by its delivery; begins when the threshold is known."""
        self._deliveries[name] = delivery
        await delivery.deliver(self._requests(name, threshold), _EndpointSink(self, name))
        if self.downgrade is not None:
            self.downgrade.ended(name)
        self._feeding[name].fed.set()
        self._feeding[name].ended.set()

    async def take_over(self, reuse: Delivery[Request], threshold: float) -> None:
        """Settles the rows that finished runs have answered, before anything is asked."""
        self._stopper.add(reuse)
        for name in self._endpoints.names:
            await reuse.deliver(self._askable(name, threshold), _ReuseSink(self, name))

    async def _askable(self, name: str, threshold: float) -> AsyncGenerator[Request, None]:
        """The rows of an endpoint that can be asked at all."""
        async for requests in self._read(name, threshold):
            for request in requests:
                if request.prompt.refusal is None:
                    yield request

    async def _requests(self, name: str, threshold: asyncio.Future[float]) -> AsyncGenerator[Request, None]:
        """The rows an endpoint is asked; those that another one gives up for the budget's sake come last."""
        lowest = await asyncio.shield(threshold)
        async for request in self._admitted(name, lowest):
            yield request
        self._feeding[name].fed.set()
        if self.downgrade is None:
            return
        self.downgrade.fed(name)
        if name != self.downgrade.to:
            return
        others = [feeding for other, feeding in self._feeding.items() if other != name]
        for no_more in (*(each.fed for each in others), *(each.ended for each in others)):
            with self._deliveries[name].starved():
                await no_more.wait()
            if (moved := self.downgrade.take_moved()) is not None:
                async for request in self._admitted(name, lowest, moved):
                    yield request

    async def _admitted(
        self, name: str, threshold: float, moved: DoneRows | None = None
    ) -> AsyncIterator[Request]:
        """A way through the input; rows that cannot be asked are put on file on it."""
        async for requests in self._read(name, threshold, moved):
            for request in requests:
                if request.prompt.refusal is not None:
                    self.keep(name, never_sent(request, self._targets[name], now_us()))
                elif self.downgrade is None or await self._stays(name, request, self.downgrade):
                    yield request

    async def _read(
        self, name: str, threshold: float, moved: DoneRows | None = None
    ) -> AsyncIterator[list[Request]]:
        """The rows of an endpoint, chunk by chunk; a fault of the input ends them and stops the run."""
        feed = Feed(
            name,
            self._source,
            self._endpoints,
            self._store,
            pricing=self._targets[name].pricing if self._reserves else None,
            moved=moved,
            limit=self._limit,
        )
        number = 0
        while shard := await self._scores.shard(number):
            chunks = feed.requests(shard, threshold)
            while (requests := await self._next(chunks)) is not None:
                yield requests
            number += 1

    async def _next(self, chunks: Iterator[list[Request]]) -> list[Request] | None:
        try:
            return await asyncio.to_thread(next, chunks, None)
        except BatchrouteError as fault:
            self._stopper.fail(fault)
            return None

    async def _stays(self, name: str, request: Request, downgrade: Downgrade) -> bool:
        """Whether a row is asked where its score sends it; where money is short, answers in flight are awaited."""
        if downgrade.admits(name, request):
            return True
        with self._deliveries[name].starved():
            while not downgrade.admits(name, request):
                if downgrade.is_final:
                    downgrade.move(request)
                    self._count_moved(name, downgrade.to)
                    return False
                await downgrade.changed()
        return True

    def _count_moved(self, name: str, to: str) -> None:
        here, there = self._progress.lanes[name], self._progress.lanes[to]
        here.rows, there.rows = (here.rows or 0) - 1, (there.rows or 0) + 1

    def keep(self, name: str, result: Result) -> None:
        """Puts a result on file, and counts it."""
        self._store.record(result)
        self._progress.add(name, result)

    def earlier(self, request: Request) -> Result | None:
        """What earlier runs spent on a row that they did not settle."""
        return self._store.unsettled.get((request.prompt.file, request.prompt.row))

    def settle(self, name: str, request: Request, outcome: Outcome) -> None:
        downgrade = self.downgrade
        policy = Policy(downgrade_to=None if downgrade is None else downgrade.to)
        may_move = downgrade is not None and downgrade.may_move(request)
        step = next_step(RowState(name, may_move), outcome, policy)
        if isinstance(step, Done):
            target = self._targets[name]
            self.keep(name, settled(request, outcome, target, self.earlier(request), now_us(), raw=self._raw))
            if downgrade is not None:
                downgrade.settled(name, request, billed_usd(outcome.usages, target.pricing))
            return
        self.leave(name, request, Spent(outcome.attempts, outcome.usages))
        if isinstance(step, Stop):
            self._deliveries[name].stop(step.reason)
        elif downgrade is not None:
            downgrade.move_admitted(request)
            self._count_moved(name, step.endpoint)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        if self.downgrade is not None:
            self.downgrade.left(name, request)
        if spent.attempts > request.attempts:
            self.keep(name, left_open(request, spent, self._targets[name], self.earlier(request), now_us()))

    def reuse(self, name: str, request: Request, outcome: Outcome) -> None:
        target = self._targets[name]
        result = taken_over(request, outcome, target, self.earlier(request), now_us(), raw=self._raw)
        self._store.record(result)
        self._progress.done_before += 1


@dataclass(frozen=True, slots=True)
class _EndpointSink:
    """See `Sink`: where the requests of one endpoint end."""

    rows: ShardRun
    name: str

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.rows.settle(self.name, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        self.rows.leave(self.name, request, spent)


@dataclass(frozen=True, slots=True)
class _ReuseSink:
    """See `Sink`: rows without an answer in a finished run stay as they are."""

    rows: ShardRun
    name: str

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.rows.reuse(self.name, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        pass


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
