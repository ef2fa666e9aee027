"""The rows of a run, part by part: read as they are scored, and given to the delivery of their endpoint.

Each endpoint's delivery reads the input on its own, so that one that is far behind holds no more than the chunk
it stands in. What becomes of a row is the matter of `row_ends`, when the run stops that of `stop`. Knows no scores
that are not on disk, and no network.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError
from batchroute.run.feed import Feed
from batchroute.run.handover import HandOver
from batchroute.run.row_ends import EndpointSink, ReuseSink, RowEnds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.route.downgrade import Downgrade
    from batchroute.run.pilot.beside import Beside
    from batchroute.run.pilot.watch import WatchedRows
    from batchroute.run.progress import Progress
    from batchroute.run.stop import Stopper
    from batchroute.send.request import Delivery, Request
    from batchroute.store.directory import RunDirectory
    from batchroute.store.rows import DoneRows


@dataclass(slots=True)
class _Feeding:
    """How far an endpoint is: `fed` with the rows that its scores send there, `ended` with its delivery."""

    fed: asyncio.Event
    ended: asyncio.Event


class ShardRun:
    """Delivers the rows of one run directory."""

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
        beside: Beside,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `reserves`: a budget has to hold for each."""
        self._beside = beside
        self._endpoints = endpoints
        self._targets = targets
        self._source = source
        self._store = directory.store
        self._scores = directory.scores
        self._stopper = stopper
        self._limit = limit
        self._reserves = reserves
        self._shard = directory.layout.shard or 0
        self._handover: HandOver | None = None
        if any("other" in spec.on_finish.decided().values() for _, spec in endpoints.items()):
            folder = directory.layout.path
            self._handover = HandOver(endpoints, targets, folder, self._shard, reserves=reserves)
        self._deliveries: dict[str, Delivery[Request]] = {}
        self._ends = RowEnds(endpoints, targets, directory, progress, self._deliveries, self._handover, beside)
        self._feeding = {name: _Feeding(asyncio.Event(), asyncio.Event()) for name in endpoints.names}

    async def deliver(self, name: str, delivery: Delivery[Request], threshold: asyncio.Future[float]) -> None:
        """All rows of one endpoint to their ends, by its delivery; begins when the threshold is known."""
        await delivery.deliver(self.requests(name, delivery, threshold), self.sink(name))
        self.ended(name)

    def sink(self, name: str) -> EndpointSink:
        """Where the requests of an endpoint end."""
        return EndpointSink(self._ends, name, self._beside)

    def ended(self, name: str) -> None:
        """An endpoint's delivery is over: it settles nothing more."""
        self._beside.ended(name)
        if self._handover is not None:
            self._handover.ended(name)
        if self._downgrade is not None:
            self._downgrade.ended(name)
        self._feeding[name].fed.set()
        self._feeding[name].ended.set()

    def move_by(self, downgrade: Downgrade) -> None:
        """Before the endpoints begin: rows that one of them has no money for go to the other."""
        self._ends.downgrade = downgrade

    @property
    def _downgrade(self) -> Downgrade | None:
        return self._ends.downgrade

    def close(self) -> None:
        """Nothing is left on disk of what waited between the endpoints."""
        if self._handover is not None:
            self._handover.close()

    async def take_over(self, reuse: Delivery[Request], threshold: float) -> None:
        """Settles the rows that finished runs have answered, before anything is asked."""
        self._stopper.add(reuse)
        for name in self._endpoints.names:
            await reuse.deliver(self._askable(name, threshold), ReuseSink(self._ends, name))

    async def _askable(self, name: str, threshold: float) -> AsyncGenerator[Request, None]:
        """The rows of an endpoint that can be asked at all."""
        async for requests in self._read(name, threshold):
            for request in requests:
                if request.prompt.refusal is None:
                    yield request

    async def requests(
        self, name: str, delivery: Delivery[Request], threshold: asyncio.Future[float]
    ) -> AsyncGenerator[Request, None]:
        """What a pilot asks an endpoint; then its rows, but those whose answer the pilot has."""
        self._deliveries[name] = delivery
        async for request in self._beside.requests(name, delivery):
            yield request
        with delivery.starved():
            lowest = await asyncio.shield(threshold)
        async for request in self._own_and_moved(name, lowest):
            if request.beside is not None or not self._is_taken(name, request):
                yield request

    def _is_taken(self, name: str, request: Request) -> bool:
        """Settles a row with the answer that the pilot has, if it has one."""
        outcome = self._beside.take(name, request)
        if outcome is not None:
            self._ends.settle(name, request, outcome)
        return outcome is not None

    async def _own_and_moved(self, name: str, lowest: float) -> AsyncGenerator[Request, None]:
        """The rows of an endpoint, and those that the answers of another one send here."""
        if self._handover is None:
            async for request in self._routed(name, lowest):
                yield request
            return
        async for request in self._routed(name, lowest):
            if request.beside is None:
                self._handover.asked(name, request)
            yield request
            for moved in self._handed_over(name, self._handover):
                yield moved
        while not self._handover.is_final(name):
            with self._deliveries[name].starved():
                await self._handover.changed()
            for moved in self._handed_over(name, self._handover):
                yield moved

    def _handed_over(self, name: str, handover: HandOver) -> Iterator[Request]:
        for request in handover.waiting(name):
            if self._downgrade is not None:
                self._downgrade.admits(name, request)
            yield request

    async def _routed(self, name: str, lowest: float) -> AsyncGenerator[Request, None]:
        """The rows that their scores send to an endpoint; those another one has no money for come last."""
        async for request in self._admitted(name, lowest):
            yield request
        if self._handover is not None:
            self._handover.fed(name)
        self._feeding[name].fed.set()
        if self._downgrade is None:
            return
        self._downgrade.fed(name)
        if name != self._downgrade.to:
            return
        others = [feeding for other, feeding in self._feeding.items() if other != name]
        for no_more in (*(each.fed for each in others), *(each.ended for each in others)):
            with self._deliveries[name].starved():
                await no_more.wait()
            if (moved := self._downgrade.take_moved()) is not None:
                async for request in self._admitted(name, lowest, moved):
                    yield request

    async def _admitted(
        self, name: str, threshold: float, moved: DoneRows | None = None
    ) -> AsyncIterator[Request]:
        """A way through the input; rows that cannot be asked are put on file on it."""
        async for requests in self._read(name, threshold, moved, watch=self._beside.watch):
            for request in requests:
                if request.beside is not None:
                    if self._beside.wants(name, request):
                        yield request
                elif request.prompt.refusal is not None:
                    self._ends.refuse(name, request)
                elif self._beside.has(name, request):
                    if self._downgrade is not None:
                        self._downgrade.take(name, request)
                    yield request
                elif self._downgrade is None or await self._stays(name, request, self._downgrade):
                    yield request

    async def _read(
        self, name: str, threshold: float, moved: DoneRows | None = None, *, watch: WatchedRows | None = None
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
            watch=watch if moved is None else None,
            shard=self._shard,
        )
        number = 0
        while part := await self._scores.part(number):
            chunks = feed.requests(part, threshold)
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
                    self._ends.count_moved(name, downgrade.to)
                    return False
                await downgrade.changed()
        return True
