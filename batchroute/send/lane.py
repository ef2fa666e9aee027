"""One lane: requests sent to one endpoint as fast as it allows, each to its end.

Requests stand in one queue, the gate. A new one becomes a task only when it is admitted, so that one task waits
for all of them; one that failed waits outside for its next attempt, without a slot, and queues again. What an
answer means was decided in `classify`, whether there is another attempt in `retry`, the moment in `gate`; what
becomes of a request is the sink's decision. Prices, files and routing are not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

import msgspec
from tenacity import AsyncRetrying, RetryCallState

from batchroute.send.allowance import OverBudget
from batchroute.send.breaker import Failure
from batchroute.send.classify import Answer
from batchroute.send.gate import Gate
from batchroute.send.refusals import SameRefusal
from batchroute.send.request import AnyRequest, Outcome, Spent
from batchroute.send.retry import NO_MORE, RETRIABLE, Attempts, RetryDecision, decide

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from batchroute.send.allowance import Allowance
    from batchroute.send.classify import Presence
    from batchroute.send.gate import Admission
    from batchroute.send.request import Sink
    from batchroute.send.retry import RetryPolicy
    from batchroute.types import Status

FARTHEST_AHEAD = 256  # rows that a feed goes ahead at a time, to find a probe
OVERTAKEN_BY = 5  # requests that left later and were answered well: it hangs, and the endpoint does not


@dataclass(slots=True, eq=False)
class OpenRequest(Generic[AnyRequest]):
    """A request that is neither settled nor left yet; `admission` is what it holds, `decision` what comes next.

    `failed`: at least once as all do when the endpoint is away; `overtaken`: by so many that left later and were
    answered well. `standard`: at the standard tier from now on.
    """

    request: AnyRequest
    sink: Sink[AnyRequest]
    attempts: Attempts
    admission: Admission | None = None
    begun: bool = False
    in_flight: bool = False
    failed: bool = False
    overtaken: bool = False
    standard: bool = False
    decision: RetryDecision = NO_MORE


class Lane(Generic[AnyRequest]):
    """A `Delivery`: asks one endpoint until all requests are settled, or the lane has to stop.

    `send` makes one attempt, `send_standard` one at the standard service tier, where a full tier is not waited
    for. `notify` is told the reason, once, when the lane stops of its own accord or is told one. At most
    `most_open` requests are taken in at a time: those that wait for another attempt hold no slot, but memory.
    """

    def __init__(
        self,
        send: Callable[[AnyRequest], Awaitable[Answer]],
        policy: RetryPolicy,
        allowance: Allowance,
        notify: Callable[[str], None],
        *,
        most_open: int,
        send_standard: Callable[[AnyRequest], Awaitable[Answer]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.in_flight = 0
        self.sent = 0  # attempts
        self.stopped: str | None = None
        self.gate: Gate[OpenRequest[AnyRequest]] = Gate(allowance, policy.outage_s, clock)
        self._send = send
        self._send_standard = send_standard
        self._policy = policy
        self._notify = notify
        self._clock = clock
        self._stopping = False
        self._starved = False
        self._feeding: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], OpenRequest[AnyRequest]] = {}
        self._undecided: dict[OpenRequest[AnyRequest], asyncio.Future[None]] = {}
        self._refusals: SameRefusal[tuple[OpenRequest[AnyRequest], Answer]] = SameRefusal(
            policy.stop_after_same_refusal
        )
        self._most_open = most_open
        self._fed = 0  # open requests that `deliver` took in
        self._ahead = 0  # that it may take in beyond its room
        self._unfailed = 0  # open requests that have not failed
        self._room: asyncio.Future[None] | None = None  # which the feed waits for
        self._retrying = AsyncRetrying(retry=_is_asked_again, wait=_decided_wait_s, sleep=asyncio.sleep)

    async def deliver(self, requests: AsyncGenerator[AnyRequest, None], sink: Sink[AnyRequest]) -> None:
        """Until every request is settled, or the lane stopped and what was in flight is back."""
        async with asyncio.TaskGroup() as group:
            self._feeding = group.create_task(self._feed(requests, sink, group))
            self._feeding.add_done_callback(lambda _: self._review_undecided())
            if self._stopping:
                self._feeding.cancel()
        self._settle_refusals("refused")

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
        self._review_undecided()
        if len(self._open) == len(self._undecided):
            self._settle_refusals("refused")
        try:
            yield
        finally:
            self._starved = False

    def stop(self, reason: str | None = None) -> None:
        """Sends nothing more; requests in flight are still awaited, all others are left undone."""
        self._stopping = True
        if reason is not None and self.stopped is None:
            self.stopped = reason
            self._notify(reason)
        if self._feeding:
            self._feeding.cancel()
        for task, row in self._open.items():
            if not row.in_flight:
                task.cancel()

    def resume(self) -> None:
        """Takes requests again after it stopped; what was learnt of the endpoint stays known."""
        self._stopping, self.stopped = False, None
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
                    await self._have_room()
                    row.admission = await self.gate.admit(request.tokens, request.most_usd, until_open=True)
                except asyncio.CancelledError:
                    self._leave(row)
                    raise
                except OverBudget as over:
                    self._settle(row, _over_budget(over), "open")
                    if self._stopping:  # a task that cancels itself only ends where it waits
                        return
                    continue
                task = group.create_task(self._answer(row))
                self._fed += 1
                self._begin(task, row)
                task.add_done_callback(self._close_fed)

    async def _have_room(self) -> None:
        """Until another request may be taken in; those that wait to hear of others are no obstacle for these."""
        while self._fed - len(self._undecided) >= self._most_open and not self._goes_ahead():
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _goes_ahead(self) -> bool:
        """Whether one may be taken in though there is no room for it.

        A room full of rows that fail would else be all there is to ask. So while the breaker is open the feed goes
        1, 2, 4 ... rows further after each probe that failed, and by one where it is far ahead already.
        """
        if not self.gate.breaker.open or self._ahead == 0:
            return False
        self._ahead -= 1
        return True

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _begin(self, task: asyncio.Task[None], row: OpenRequest[AnyRequest]) -> None:
        self._open[task] = row
        self._unfailed += 1

    def _close_fed(self, task: asyncio.Task[None]) -> None:
        self._fed -= 1
        self._make_room()
        self._close(task)

    def _close(self, task: asyncio.Task[None]) -> None:
        row = self._open.pop(task)
        if row.failed:
            self.gate.breaker.ended(row)
        else:
            self._unfailed -= 1
        if not row.begun:  # cancelled before its first step
            if row.admission is not None:
                self.gate.cancel(row.admission)
            self._leave(row)
        self._review_undecided()

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
        tokens, most_usd = row.request.tokens, row.request.most_usd
        while row.admission is None:
            try:
                row.admission = await self.gate.admit(tokens, most_usd, failed=row.failed)
            except OverBudget as over:
                row.decision = NO_MORE
                return _over_budget(over)
        answer = await self._sent(row, row.admission)
        row.decision = NO_MORE
        if answer.verdict in RETRIABLE:
            await self._decide_on_retry(row, answer)
        return answer

    async def _decide_on_retry(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        """Raises CancelledError where the lane stops: it leaves undone what it could not finish."""
        row.decision = self._decide(row, answer)
        if row.decision.again or self._is_undecided(row):
            self._release(row, answer)
        if self._is_undecided(row):
            await self._hear_others(row)
            row.decision = self._decide(row, answer)
        if self._stopping:
            self._release(row, answer)
            raise asyncio.CancelledError

    async def _sent(self, row: OpenRequest[AnyRequest], admission: Admission) -> Answer:
        """One attempt over the network, and what it says of the endpoint."""
        send = self._send_standard if row.standard and self._send_standard else self._send
        sent_at = self.gate.sent()
        row.attempts.made += 1
        row.in_flight = True
        passed_before = self.gate.passed + self.in_flight  # or will be, and left before this one
        self.in_flight += 1
        self.sent += 1
        try:
            answer = await send(row.request)
        except BaseException:
            row.admission = None
            self.gate.lost(admission)
            self.gate.give(admission, None)
            raise
        finally:
            row.in_flight = False
            self.in_flight -= 1
        row.attempts.count(answer, sent_at, self.gate.passed)
        if _may_be_away(answer):
            row.overtaken = row.overtaken or self.gate.passed - passed_before >= OVERTAKEN_BY
            self._learn_of_failure(row, answer, probe=self.gate.is_probe(admission))
        else:
            self.gate.learn(answer, sent_at, limited_alone=row.attempts.limited_alone)
        waits_alone = answer.verdict == "ok" or row.attempts.limited_alone
        if not waits_alone and (reason := self.gate.gave_up(answer)) is not None:
            self.stop(reason)
        self._review_undecided()
        return answer

    def _learn_of_failure(self, row: OpenRequest[AnyRequest], answer: Answer, *, probe: bool) -> None:
        first, row.failed = not row.failed, True
        self._unfailed -= first
        last_rows = self._policy.excuse_outages and not self._others_may_tell()
        failure = Failure(row, self._presence(row, answer), probe, first, last_rows)
        probes = self.gate.breaker.probes
        for excused, failures in self.gate.failed(failure).items():
            excused.attempts.forgive(failures)
        if self.gate.breaker.probes > probes:
            is_far_ahead = self._fed >= self._most_open + FARTHEST_AHEAD
            self._ahead = 1 if is_far_ahead else 2**probes
            self._make_room()

    def _presence(self, row: OpenRequest[AnyRequest], answer: Answer) -> Presence:
        """How much there was of the endpoint; it was there if it answered others while this request hung."""
        return "answered" if row.overtaken and answer.presence == "silent" else answer.presence

    def _decide(self, row: OpenRequest[AnyRequest], answer: Answer) -> RetryDecision:
        if answer.verdict == "busy" and self._send_standard is not None and not row.standard:
            row.standard = True
            return RetryDecision(again=True)
        jitter = random.random()  # noqa: S311 - jitter
        return decide(row.attempts, answer, self._policy, self._clock(), jitter, self._lasting_s(row, answer))

    def _lasting_s(self, row: OpenRequest[AnyRequest], answer: Answer) -> float:
        """How long a request has to fail before it has for good.

        No longer than its attempts take, unless it is one of the last and nothing tells whether it is to blame.
        """
        if not (_may_be_away(answer) and self._policy.excuse_outages) or self._others_may_tell():
            return 0.0
        presence = self._presence(row, answer)
        if presence == "unconnected":
            return math.inf
        if self.gate.breaker.blames(row):
            return 0.0
        return math.inf if presence == "silent" else self._policy.last_rows_s

    def _is_undecided(self, row: OpenRequest[AnyRequest]) -> bool:
        """Whether a request at the end of its attempts has to wait for what becomes of others.

        If they fail, too, it was the beginning of an outage, which uses up no attempts: five requests fail once
        each, with one attempt allowed. The first four wait here; the fifth opens the breaker, which forgives all
        five their failure, and all are asked again when the endpoint is back. Had the fifth been answered well,
        the four would have failed for themselves.
        """
        is_last = row.decision.counts and not row.decision.again
        return (
            is_last and self._policy.excuse_outages and self.gate.breaker.suspects(row) and self._others_may_tell()
        )

    def _others_may_tell(self) -> bool:
        """Whether an answer may come of a request that has not failed yet."""
        return self._is_fed or self._unfailed > 0

    @property
    def _is_fed(self) -> bool:
        return self._feeding is not None and not self._feeding.done() and not self._starved

    async def _hear_others(self, row: OpenRequest[AnyRequest]) -> None:
        self._undecided[row] = asyncio.get_running_loop().create_future()
        self._make_room()
        self._review_undecided()
        try:
            await self._undecided[row]
        finally:
            del self._undecided[row]

    def _review_undecided(self) -> None:
        """Lets those go on that need to hear no more; few ever wait."""
        for row, decided in self._undecided.items():
            if not decided.done() and not self._is_undecided(row):
                decided.set_result(None)

    def _end(self, row: OpenRequest[AnyRequest], answer: Answer) -> None:
        if answer.verdict == "ok":
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
        if not self._is_fed and len(self._open) == len(self._undecided) + 1:
            self._settle_refusals("refused")

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
            self.stop(f"{too_many} with no success between ({answer.error}); fix the job")

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


def _may_be_away(answer: Answer) -> bool:
    """Whether this is what an endpoint that is away looks like: no 4xx, behind which there is one."""
    return answer.verdict == "transient" and not answer.turned_away


def _over_budget(over: OverBudget) -> Answer:
    return Answer(verdict="over_budget", error_type="budget", error=str(over), unsent=True)


def _row(state: RetryCallState) -> OpenRequest[Any]:
    return cast("OpenRequest[Any]", state.args[0])


def _is_asked_again(state: RetryCallState) -> bool:
    """Not after an exception, as tenacity takes a cancellation for one, too."""
    ended_well = state.outcome is not None and not state.outcome.failed
    return ended_well and _row(state).decision.again


def _decided_wait_s(state: RetryCallState) -> float:
    return _row(state).decision.after_s
