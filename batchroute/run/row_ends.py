"""What becomes of a request that came back: on file as its row's result, on to another endpoint, or left undone.

What follows an answer is decided in `route/next`, how a result looks in `settle`; here it is done. Reads no input.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.route.next import Ask, Done, Policy, RowState, Stop, next_step
from batchroute.run.settle import billed_usd, handed_over, left_open, never_sent, refused_for, settled, taken_over
from batchroute.send.request import Spent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.route.downgrade import Downgrade
    from batchroute.run.handover import HandOver
    from batchroute.run.pilot.beside import Beside
    from batchroute.run.progress import Progress
    from batchroute.send.request import Delivery, Outcome, Request
    from batchroute.store.directory import RunDirectory
    from batchroute.types import Result


class RowEnds:
    """Of one run directory; `deliveries` are those that are at work, by endpoint.

    `downgrade`, where there is one, is set before they begin.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        targets: Mapping[str, Target],
        directory: RunDirectory,
        progress: Progress,
        deliveries: Mapping[str, Delivery[Request]],
        handover: HandOver | None,
        beside: Beside,
    ) -> None:
        self.downgrade: Downgrade | None = None
        self._targets = targets
        self._store = directory.store
        self._raw = directory.raw
        self._progress = progress
        self._deliveries = deliveries
        self._handover = handover
        self._beside = beside
        self._on_finish = {name: spec.on_finish.decided() for name, spec in endpoints.items()}

    def settle(self, name: str, request: Request, outcome: Outcome) -> None:
        """What follows an answer, and the end of a row that is not asked again."""
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
            self.count_moved(name, step.endpoint)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """A row stays undone; what its attempts cost does not get lost."""
        if self.downgrade is not None:
            self.downgrade.left(name, request)
        if spent.attempts > request.attempts:
            self._keep(name, left_open(request, spent, self._targets[name], self._earlier(request), _now_us()))
        if self._handover is not None:
            self._handover.settled(name, request)

    def refuse(self, name: str, request: Request) -> None:
        """Puts a row on file that cannot be asked."""
        self._keep(name, never_sent(request, self._targets[name], self._earlier(request), _now_us()))

    def settle_beside(self, name: str, request: Request, outcome: Outcome) -> None:
        """An answer that is no result by itself: for the pilot, or of a watched row."""
        if (reason := self._beside.settle(name, request, outcome)) is not None:
            self._deliveries[name].stop(reason)

    def reuse(self, name: str, request: Request, outcome: Outcome) -> None:
        """The answer that a finished run has is the row's result."""
        target = self._targets[name]
        result = taken_over(request, outcome, target, self._earlier(request), _now_us(), raw=self._raw)
        self._store.record(result)
        self._progress.done_before += 1

    def count_moved(self, name: str, to: str) -> None:
        """A row goes on at another endpoint."""
        here, there = self._progress.lanes[name], self._progress.lanes[to]
        here.rows, there.rows = (here.rows or 0) - 1, (there.rows or 0) + 1

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
        self._keep(name, settled(request, outcome, target, self._earlier(request), _now_us(), raw=self._raw))
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
        opened = left_open(request, spent, target, self._earlier(request), _now_us())
        self._keep(name, handed_over(opened, self._targets[to]))
        if self.downgrade is not None:
            self.downgrade.settled(name, request, billed_usd(outcome.usages, target.pricing))
            self.downgrade.expect(to, request)
        self.count_moved(name, to)
        handover.put(to, moved)
        handover.settled(name, request)

    def _keep(self, name: str, result: Result) -> None:
        """Puts a result on file, and counts it."""
        earlier = self._store.record(result)
        self._progress.add(name, result, earlier)

    def _earlier(self, request: Request) -> Result | None:
        """What earlier runs spent on a row that they did not settle."""
        return self._store.unsettled.get((request.prompt.file, request.prompt.row))


@dataclass(frozen=True, slots=True)
class EndpointSink:
    """See `Sink`: where the requests of one endpoint end."""

    rows: RowEnds
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
class ReuseSink:
    """See `Sink`: rows without an answer in a finished run stay as they are."""

    rows: RowEnds
    name: str

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.rows.reuse(self.name, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        pass


def _now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
