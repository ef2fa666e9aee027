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
from batchroute.route.next import Ask, Done, Policy, RowState, Stop, next_step
from batchroute.run.feed import Feed
from batchroute.run.handover import HandOver
from batchroute.run.settle import (
    billed_usd,
    handed_over,
    left_open,
    never_sent,
    refused_for,
    settled,
    taken_over,
)
from batchroute.send.request import Spent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.route.downgrade import Downgrade
    from batchroute.run.pilot.beside import Beside
    from batchroute.run.pilot.watch import Watch
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
        beside: Beside,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `reserves`: a budget has to hold for each."""
        self._beside = beside
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
        self._on_finish = {name: spec.on_finish.decided() for name, spec in endpoints.items()}
        self._handover: HandOver | None = None
        if any("other" in actions.values() for actions in self._on_finish.values()):
            self._handover = HandOver(endpoints, targets, directory.layout.path, reserves=reserves)
        self._deliveries: dict[str, Delivery[Request]] = {}
        self._feeding = {name: _Feeding(asyncio.Event(), asyncio.Event()) for name in endpoints.names}

    async def deliver(self, name: str, delivery: Delivery[Request], threshold: asyncio.Future[float]) -> None:
        """All rows of one endpoint to their ends, by its delivery; begins when the threshold is known."""
        self._deliveries[name] = delivery
        await delivery.deliver(self._requests(name, threshold), _EndpointSink(self, name, self._beside))
        self._beside.ended(name)
        if self._handover is not None:
            self._handover.ended(name)
        if self.downgrade is not None:
            self.downgrade.ended(name)
        self._feeding[name].fed.set()
        self._feeding[name].ended.set()

    def close(self) -> None:
        """Nothing is left on disk of what waited between the endpoints."""
        if self._handover is not None:
            self._handover.close()

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
        """What a pilot asks an endpoint; then its rows, but those whose answer the pilot has."""
        async for request in self._beside.requests(name, self._deliveries[name]):
            yield request
        with self._deliveries[name].starved():
            lowest = await asyncio.shield(threshold)
        async for request in self._own_and_moved(name, lowest):
            if request.beside is not None or not self._is_taken(name, request):
                yield request

    def _is_taken(self, name: str, request: Request) -> bool:
        """Settles a row with the answer that the pilot has, if it has one."""
        outcome = self._beside.take(name, request)
        if outcome is not None:
            self.settle(name, request, outcome)
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
            if self.downgrade is not None:
                self.downgrade.admits(name, request)
            yield request

    async def _routed(self, name: str, lowest: float) -> AsyncGenerator[Request, None]:
        """The rows that their scores send to an endpoint; those another one has no money for come last."""
        async for request in self._admitted(name, lowest):
            yield request
        if self._handover is not None:
            self._handover.fed(name)
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
        async for requests in self._read(name, threshold, moved, watch=self._beside.watch):
            for request in requests:
                if request.beside is not None:
                    if self._beside.wants(name, request):
                        yield request
                elif request.prompt.refusal is not None:
                    self.keep(name, never_sent(request, self._targets[name], self.earlier(request), now_us()))
                elif self._beside.has(name, request):
                    if self.downgrade is not None:
                        self.downgrade.take(name, request)
                    yield request
                elif self.downgrade is None or await self._stays(name, request, self.downgrade):
                    yield request

    async def _read(
        self, name: str, threshold: float, moved: DoneRows | None = None, *, watch: Watch | None = None
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
        earlier = self._store.record(result)
        self._progress.add(name, result, earlier)

    def earlier(self, request: Request) -> Result | None:
        """What earlier runs spent on a row that they did not settle."""
        return self._store.unsettled.get((request.prompt.file, request.prompt.row))

    def settle(self, name: str, request: Request, outcome: Outcome) -> None:
        step = next_step(self._state(name, request), outcome, self._policy(name))
        if isinstance(step, Done):
            end = outcome if step.refused_for is None else refused_for(outcome, step.refused_for, name)
            self._end(name, request, end)
            return
        if isinstance(step, Ask) and step.reason == "finish":
            self._move_on(name, step.endpoint, request, outcome)
            return
        self.leave(name, request, Spent(outcome.attempts, outcome.usages))
        if isinstance(step, Stop):
            self._deliveries[name].stop(step.reason)
        elif self.downgrade is not None:
            self.downgrade.move_admitted(request)
            self._count_moved(name, step.endpoint)

    def _state(self, name: str, request: Request) -> RowState:
        may_move = self.downgrade is not None and self.downgrade.may_move(request)
        return RowState(name, may_move, None if self._handover is None else self._handover.other(name, request))

    def _policy(self, name: str) -> Policy:
        return Policy(
            downgrade_to=None if self.downgrade is None else self.downgrade.to, on_finish=self._on_finish[name]
        )

    def _end(self, name: str, request: Request, outcome: Outcome) -> None:
        """The row's end, on file."""
        target = self._targets[name]
        self._beside.seen(name, request, outcome)
        self.keep(name, settled(request, outcome, target, self.earlier(request), now_us(), raw=self._raw))
        if self.downgrade is not None:
            self.downgrade.settled(name, request, billed_usd(outcome.usages, target.pricing))
        if self._handover is not None:
            self._handover.settled(name, request)

    def _move_on(self, name: str, to: str, request: Request, outcome: Outcome) -> None:
        """The row goes on at another endpoint; on file as open there, so that a crash loses no money.

        An answer that the other endpoint cannot take over, for what its API or a budget needs, is kept.
        """
        handover, target = self._handover, self._targets[name]
        moved = None if handover is None else handover.request(request, to, outcome.attempts)
        if handover is None or moved is None:
            self._end(name, request, outcome)
            return
        spent = Spent(outcome.attempts, outcome.usages)
        opened = left_open(request, spent, target, self.earlier(request), now_us())
        self.keep(name, handed_over(opened, self._targets[to]))
        if self.downgrade is not None:
            self.downgrade.settled(name, request, billed_usd(outcome.usages, target.pricing))
            self.downgrade.expect(to, request)
        self._count_moved(name, to)
        handover.put(to, moved)
        handover.settled(name, request)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        if self.downgrade is not None:
            self.downgrade.left(name, request)
        if spent.attempts > request.attempts:
            self.keep(name, left_open(request, spent, self._targets[name], self.earlier(request), now_us()))
        if self._handover is not None:
            self._handover.settled(name, request)

    def settle_beside(self, name: str, request: Request, outcome: Outcome) -> None:
        """An answer that is no result by itself: for the pilot, or of a watched row."""
        if (reason := self._beside.settle(name, request, outcome)) is not None:
            self._deliveries[name].stop(reason)

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
    beside: Beside

    def settle(self, request: Request, outcome: Outcome) -> None:
        if request.beside is not None:
            self.rows.settle_beside(self.name, request, outcome)
        else:
            self.rows.settle(self.name, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        if request.beside is not None:
            self.beside.leave(self.name, request, spent)
        else:
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
