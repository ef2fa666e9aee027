"""One lane: requests sent to one endpoint as fast as it allows, each to its end.

Requests stand in one queue, the gate. A new one becomes a task only when it is admitted, so that one task waits
for all of them; one that failed waits outside for its next attempt, without a slot, and queues again. What an
answer means was decided in `classify`, whether there is another attempt in `retry`, the moment in `gate`; what
becomes of a request is the sink's decision. Prices, files and routing are not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Generic

import msgspec

from batchroute.send.allowance import OverBudget
from batchroute.send.attempt import Sending, make_retrying, over_budget
from batchroute.send.classify import MOST_DETAIL_CHARS, Answer, shortened
from batchroute.send.doubt import Doubt, OpenRequest
from batchroute.send.gate import Gate
from batchroute.send.outage import OutageWatch
from batchroute.send.refusals import SameRefusal
from batchroute.send.request import AnyRequest, Outcome, Spent
from batchroute.send.retry import NO_MORE, RETRIABLE, Attempts
from batchroute.send.room import Room
from batchroute.send.state import lane_state
from batchroute.types import StopReason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping

    from batchroute.send.allowance import Allowance
    from batchroute.send.request import Sink
    from batchroute.send.retry import RetryPolicy
    from batchroute.types import LaneState, Status


class Lane(Generic[AnyRequest]):
    """A `Delivery`: asks one endpoint until all requests are settled, or the lane has to stop.

    `sends` makes one attempt at each address of the endpoint, which it names (host:port); mostly there is one.
    `per_address`: the allowance is the sum of what each may be asked for. `at_standard` makes the same request for
    the standard tier of service, where a full tier is not waited for. `notify` is told the reason, once, when the
    lane stops of its own accord or is told one, `watch` the state whenever the endpoint goes away or is back, and
    that of one of several addresses with its name. At most `most_open` requests are taken in at a time: those that
    wait for another attempt hold no slot, but memory.
    """

    def __init__(
        self,
        sends: Mapping[str, Callable[[AnyRequest], Awaitable[Answer]]],
        policy: RetryPolicy,
        allowance: Allowance,
        notify: Callable[[str], None],
        *,
        most_open: int,
        at_standard: Callable[[AnyRequest], AnyRequest] | None = None,
        per_address: bool = False,
        watch: Callable[[str, LaneState], None] = lambda where, state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop_reason: StopReason | None = None  # None as well where it was only told to stop
        self.gate: Gate[OpenRequest[AnyRequest]] = Gate(
            allowance, policy.outage_s, clock, list(sends), per_address=per_address
        )
        self._notify = notify
        self._stopping = False
        self._done = False
        self._starved = False
        self._feeding: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], OpenRequest[AnyRequest]] = {}
        self._ended = 0  # of the open ones; their tasks close later
        self._refusals: SameRefusal[tuple[OpenRequest[AnyRequest], Answer]] = SameRefusal(
            policy.stop_after_same_refusal
        )
        self._room = Room(most_open, self.gate.fleet)
        self._doubt: Doubt[AnyRequest] = Doubt(self.gate, self._room, policy, lambda: self._is_fed)
        self._sending: Sending[AnyRequest] = Sending(
            list(sends.values()),
            self.gate,
            self._doubt,
            policy,
            at_standard=at_standard,
            others_may_pass=self._others_may_pass,
            changed=OutageWatch(self.gate.fleet, watch, self.state).changed,
            clock=clock,
        )
        self._retrying = make_retrying()

    async def deliver(self, requests: AsyncGenerator[AnyRequest, None], sink: Sink[AnyRequest]) -> None:
        """Until every request is settled, or the lane stopped and what was in flight is back."""
        async with asyncio.TaskGroup() as group:
            self._feeding = group.create_task(self._feed(requests, sink, group))
            self._feeding.add_done_callback(lambda _: self._doubt.review())
            if self._stopping:
                self._feeding.cancel()
        self._settle_refusals("refused")
        self._done = not self._stopping

    @property
    def in_flight(self) -> int:
        return self._sending.in_flight

    @property
    def sent(self) -> int:
        """Attempts."""
        return self._sending.sent

    @property
    def stopped(self) -> str | None:
        """`stop_reason` as text."""
        return None if self.stop_reason is None else str(self.stop_reason)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is sent, for whatever reason."""
        return self._stopping

    def state(self) -> LaneState:
        """What it does now."""
        fleet = self.gate.fleet
        return lane_state(
            self.stop_reason,
            self.gate.state(),
            stopping=self._stopping,
            done=self._done,
            in_flight=self.in_flight,
            is_open=bool(self._open),
            where=fleet.backends[0].where if fleet.is_one else "",
            away=fleet.away,
            addresses=len(fleet.backends),
        )

    async def ask(self, request: AnyRequest, sink: Sink[AnyRequest]) -> None:
        """One request from outside `deliver`, which stands in the same queue; returns when it is settled or left.

        Where the caller is cancelled, the request is left. A lane that has stopped leaves it at once.
        """
        row = OpenRequest(request, sink, Attempts(request.attempts))
        if self._stopping:
            self._leave(row)
            return
        task = asyncio.create_task(self._answer(row))
        self._begin(task, row)
        task.add_done_callback(self._close)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if not task.cancelled():
            task.result()

    @contextlib.contextmanager
    def starved(self) -> Iterator[None]:
        """See `Delivery`: requests that wait here to hear of others hear only of those that are open."""
        self._starved = True
        self._doubt.review()
        self._settle_last_refusals()
        try:
            yield
        finally:
            self._starved = False

    def stop(self, reason: StopReason | None = None) -> None:
        """Sends nothing more; requests in flight are still awaited, all others are left undone."""
        self._stopping = True
        if reason is not None and self.stop_reason is None:
            self.stop_reason = reason
            self._notify(str(reason))
        if self._feeding:
            self._feeding.cancel()
        for task, row in self._open.items():
            if not row.in_flight:
                task.cancel()

    def resume(self) -> None:
        """Takes requests again after it stopped; what was learnt of the endpoint stays known."""
        self._stopping, self.stop_reason = False, None
        self.gate.resume()

    def abandon(self) -> None:
        """Leaves the requests in flight undone, too."""
        self.stop()
        for task in self._open:
            task.cancel()

    async def _feed(
        self, requests: AsyncGenerator[AnyRequest, None], sink: Sink[AnyRequest], group: asyncio.TaskGroup
    ) -> None:
        async with contextlib.aclosing(requests):
            async for request in requests:
                row = OpenRequest(request, sink, Attempts(request.attempts))
                try:
                    await self._room.take()
                    row.admission = await self.gate.admit(request.need, until_away=True)
                except asyncio.CancelledError:
                    self._leave(row)
                    raise
                except OverBudget as over:
                    self._settle(row, over_budget(over), "open")
                    if self._stopping:  # a task that cancels itself only ends where it waits
                        return
                    continue
                task = group.create_task(self._answer(row))
                self._room.taken += 1
                self._begin(task, row)
                task.add_done_callback(self._close_fed)

    def _begin(self, task: asyncio.Task[None], row: OpenRequest[AnyRequest]) -> None:
        self._open[task] = row
        self._doubt.opened()

    def _close_fed(self, task: asyncio.Task[None]) -> None:
        self._room.taken -= 1
        self._room.changed()
        self._close(task)

    def _close(self, task: asyncio.Task[None]) -> None:
        row = self._open.pop(task)
        self._ended -= row.ended
        if not row.begun:  # cancelled before its first step
            if row.admission is not None:
                self.gate.cancel(row.admission)
            self._leave(row)
        self._doubt.ended(row)

    async def _answer(self, row: OpenRequest[AnyRequest]) -> None:
        """One request to its end. Only a failed first attempt leads to tenacity, which is costly."""
        row.begun = True
        try:
            answer = await self._attempt(row)
            if row.decision.again:
                await asyncio.sleep(row.decision.after_s)
                answer = await self._retrying(self._attempt, row)
        except asyncio.CancelledError:
            self._leave(row)
            raise
        self._end(row, answer)
        self._release(row, answer)  # only now: what was settled is on file

    async def _attempt(self, row: OpenRequest[AnyRequest]) -> Answer:
        """Sends once; `row.decision` then says what follows. The slot is kept where this was the last attempt."""
        while row.admission is None:
            try:
                row.admission = await self.gate.admit(row.request.need, failed=row.failed, avoid=row.avoids)
            except OverBudget as over:
                row.decision = NO_MORE
                return over_budget(over)
        backend = row.admission.backend
        answer = await self._sending.once(row, row.admission)
        waits_alone = answer.verdict == "ok" or row.attempts.limited_alone
        if not waits_alone and (reason := self.gate.gave_up(backend, answer)) is not None:
            self.stop(reason)
        self._doubt.review()
        row.decision = NO_MORE
        if answer.verdict in RETRIABLE:
            await self._decide_on_retry(row, answer)
        return answer

    async def _decide_on_retry(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        """Raises CancelledError where the lane stops: it leaves undone what it could not finish."""
        row.decision = self._sending.decide(row, answer)
        if row.decision.again or self._doubt.is_undecided(row):
            self._release(row, answer)
        if self._doubt.is_undecided(row):
            await self._doubt.hear_others(row)
            row.decision = self._sending.decide(row, answer)
        if self._stopping:
            self._release(row, answer)
            raise asyncio.CancelledError

    def _others_may_pass(self) -> bool:
        """Whether there is another request than those that get 429 alone."""
        return self._is_fed or not all(row.attempts.limited_alone for row in self._open.values())

    @property
    def _is_fed(self) -> bool:
        return self._feeding is not None and not self._feeding.done() and not self._starved

    def _end(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        if answer.verdict == "ok":
            self._refusals.succeeded()
            self._settle_refusals("refused")
            self._settle(row, answer, "ok")
        elif answer.verdict == "refused":
            self._refuse(row, answer)
        elif answer.verdict in {"fatal", "over_budget"}:
            self._settle(row, answer, "open")
        elif answer.verdict == "rate_limited":
            self._settle(row, msgspec.structs.replace(answer, error_type="rate_limited"), "failed")
        else:
            self._settle(row, answer, "failed")
        row.ended = True
        self._ended += 1
        if not self._is_fed:
            self._settle_last_refusals()

    def _refuse(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        """Holds refusals until it is known whether the requests or the job is to blame.

        They are settled long after they gave their slots back: until then they are open, and a crash asks them
        again, which costs nothing.
        """
        if not self._refusals.watching:
            self._settle(row, answer, "refused")
            return
        self._refusals.hold((row, answer))
        if too_many := self._refusals.refused(f"{answer.error_type} {answer.error}"):
            self._settle_refusals("failed")
            detail = shortened(answer.error or "", MOST_DETAIL_CHARS)
            self.stop(StopReason(f"{too_many} with no success between", detail, "fix the job", is_vague=True))

    def _settle_last_refusals(self) -> None:
        """Where no answer is to come that could show whether they are the job's fault."""
        if len(self._open) - self._ended == len(self._doubt.undecided):
            self._settle_refusals("refused")

    def _settle_refusals(self, status: Status) -> None:
        for row, answer in self._refusals.release():
            self._settle(row, answer, status)

    def _settle(self, row: OpenRequest[AnyRequest], answer: Answer, status: Status) -> None:
        outcome = Outcome(status, answer, row.attempts.made, tuple(row.attempts.usages))
        try:
            row.sink.settle(row.request, outcome)
        except BaseException:
            self.stop()  # else another request would be sent in the slot of one whose answer is not on file
            raise

    def _leave(self, row: OpenRequest[AnyRequest]) -> None:
        row.sink.leave(row.request, Spent(row.attempts.made, tuple(row.attempts.usages)))

    def _release(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        """Gives back what the last attempt held, if it still holds it."""
        admission, row.admission = row.admission, None
        if admission is not None and (reason := self.gate.give(admission, answer)) is not None:
            self.stop(reason)
