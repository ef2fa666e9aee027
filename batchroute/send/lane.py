"""One lane: the requests of one side, sent as fast as its endpoint allows, each to its end.

Rows stand in one queue in front of the endpoint: whoever is first takes a slot, waits for the breaker, the pause
a 429 asked for, the token window, its turn in the schedule and the throttle, and sends. A new row becomes a task
only then, so that one task waits for all of them. A row that failed waits outside (tenacity decides how long) and
queues again; while it sleeps it holds no slot. What an answer means was decided in `classify`, how fast the lane
may go in `limits`; prices, files and routing are not known here.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from asyncio_throttle.throttler import Throttler
from tenacity import AsyncRetrying, Future, RetryCallState, retry_if_result, wait_random_exponential

from batchroute.send.pace import Breaker, Pace, SameRefusal, Schedule, TokenWindow, cadence
from batchroute.send.request import Outcome
from batchroute.types import (
    Status,  # noqa: TC001 - msgspec reads them
    Usage,  # noqa: TC001 - msgspec reads them
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from batchroute.send.budget import Budget
    from batchroute.send.classify import Answer
    from batchroute.send.pace import TokenEntry

LOOK_AGAIN_S = 0.25  # how long a state change may go unnoticed by the row at the head of the queue
MALFORMED_ATTEMPTS = 2
_AGAIN = frozenset({"rate_limited", "transient", "malformed"})

ADVICE = {
    "invalid_key": "set api_key_env, or check the key it names",
    "permission": "check what the key may use, and the region",
    "quota": "top up the account or raise its quota",
    "not_found": "check base_url and model",
    "redirect": "set base_url to the address it leads to",
    "certificate": "check base_url and the certificates of this machine",
}


class Sendable(Protocol):
    """What a lane has to know of a request, whatever it asks for.

    `tokens` is what it may take of the limit, `attempts` how often it was made in earlier runs, `most_usd` what
    one attempt can cost at most.
    """

    @property
    def body(self) -> bytes: ...
    @property
    def tokens(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def most_usd(self) -> Decimal: ...


Asking = TypeVar("Asking", bound=Sendable)


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What one lane may do; units as in the job file."""

    max_concurrency: int
    max_attempts: int
    outage_s: float
    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None
    stop_after_same_refusal: int = 20
    excuse_outages: bool = True  # where somebody waits for a row itself, it fails rather than waits for others


@dataclass(frozen=True, slots=True)
class Purse:
    """The budget both lanes share, and this lane's price."""

    budget: Budget
    cost: Callable[[Usage], Decimal | None]


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to send one attempt: a slot and the money are taken, `entry` stands in the token window."""

    entry: TokenEntry | None
    probe: bool  # of an endpoint that is away


@dataclass(slots=True, eq=False)
class OpenRow(Generic[Asking]):
    """A row that is neither settled nor left yet."""

    request: Asking
    attempts: int
    failures: int = 0  # those that count against max_attempts, less what an outage explains
    malformed: int = 0  # complete answers that are none; they count, too
    limited_since: float | None = None
    usages: list[Usage] = field(default_factory=list)
    in_flight: bool = False
    admission: Admission | None = None  # until the attempt begins


class _LetGo(Exception):
    """A row is somebody else's from here on."""


class Lane(Generic[Asking]):
    """Runs the requests of one side until they end, or the lane has to stop.

    `send` makes one attempt; `settle` is called once for every row that came to an end, before the row gives its
    slot back; `leave` for every row that was begun but stays undone because the lane stopped; `say` once, with the
    reason, when the lane stops of its own accord. Before it stops for want of money, `let_go` may take over the
    next row, which then is left here.
    """

    def __init__(
        self,
        send: Callable[[Asking], Awaitable[Answer]],
        limits: LaneLimits,
        settle: Callable[[Asking, Outcome], None],
        leave: Callable[[OpenRow[Asking]], None],
        say: Callable[[str], None],
        purse: Purse | None = None,
        let_go: Callable[[Asking], bool] = lambda request: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.in_flight = 0
        self.stopped: str | None = None
        self._send = send
        self._limits = limits
        self._settle = settle
        self._leave = leave
        self._say = say
        self._purse = purse
        self._let_go = let_go
        self._clock = clock
        self._stopping = False
        self._feeding: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], OpenRow[Asking]] = {}
        self._suspects: list[tuple[OpenRow[Asking], Answer]] = []
        self._head_of_queue = asyncio.Lock()
        self._slots = asyncio.Semaphore(limits.max_concurrency)
        # Rows that wait outside hold no slot, but memory: as many again as there are slots may.
        self._room = asyncio.Semaphore(2 * limits.max_concurrency + 64)
        self._pace = Pace()
        self._schedule = Schedule()
        self._throttler: Throttler | None = None
        self._speed: float | None = None
        self._set_speed()
        self._tokens = TokenWindow(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._breaker: Breaker[OpenRow[Asking]] = Breaker(limits.outage_s)
        self._limited_since = math.inf  # since when the endpoint takes nothing, but says 429
        self._held_back = 0  # rows at the end of their attempts that an outage may still excuse
        self._same_refusal = SameRefusal(limits.stop_after_same_refusal)
        self._retrying = AsyncRetrying(
            retry=retry_if_result(lambda answer: answer.verdict in _AGAIN),
            stop=self._exhausted,
            wait=self._wait_before_retry,
            sleep=asyncio.sleep,
            retry_error_callback=_last_answer,
        )
        self._backoff = wait_random_exponential(multiplier=0.5, max=30)

    async def run(self, requests: AsyncIterator[Asking]) -> None:
        """Until every request is settled, or the lane stopped and what was in flight is back."""
        async with asyncio.TaskGroup() as group:
            self._feeding = group.create_task(self._feed(requests, group))
            if self._stopping:
                self._feeding.cancel()
        self._clear_suspects()

    async def _feed(self, requests: AsyncIterator[Asking], group: asyncio.TaskGroup) -> None:
        async for request in requests:
            await self._room.acquire()
            row = OpenRow(request, request.attempts)
            try:
                row.admission = await self._admitted(request)
            except _LetGo:
                self._room.release()
                self._leave(row)
                continue
            task = group.create_task(self._answer(row))
            self._open[task] = row
            task.add_done_callback(self._close)

    async def ask(self, request: Asking) -> None:
        """One request from outside `run`, which stands in the same queue; returns when it is settled or left.

        Where the caller is cancelled, the row is let go of. A lane that has stopped leaves it at once.
        """
        row = OpenRow(request, request.attempts)
        if self._stopping:
            self._leave(row)
            return
        task = asyncio.create_task(self._answer(row))
        self._open[task] = row
        task.add_done_callback(self._open.pop)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if not task.cancelled():
            task.result()

    def stop(self, reason: str | None = None) -> None:
        """Sends nothing more; rows in flight are still awaited, all others are left undone."""
        self._stopping = True
        if reason is not None and self.stopped is None:
            self.stopped = reason
            self._say(reason)
        if self._feeding:
            self._feeding.cancel()
        for task, row in self._open.items():
            if not row.in_flight:
                task.cancel()

    def abandon(self) -> None:
        """Leaves the rows in flight undone, too."""
        self.stop()
        for task in self._open:
            task.cancel()

    def _close(self, task: asyncio.Task[None]) -> None:
        row = self._open.pop(task)
        if row.admission is not None:  # cancelled before it had begun
            self._give_back(row.request)
        self._room.release()

    async def _answer(self, row: OpenRow[Asking]) -> None:
        """One row to its end. Only a row whose first try failed enters tenacity: it costs more than the rest."""
        try:
            answer = await self._attempt(row)
            while answer.verdict in _AGAIN and not await self._given_up(row, answer):
                answer = await self._retry(row, answer)
        except asyncio.CancelledError:
            self._leave(row)
            raise
        except _LetGo:
            self._leave(row)
            return
        self._end(row, answer)

    async def _retry(self, row: OpenRow[Asking], failed: Answer) -> Answer:
        tries = iter([failed])

        async def attempt(row: OpenRow[Asking]) -> Answer:
            # tenacity's own first attempt is the one that has already been made
            return next(tries, None) or await self._attempt(row)

        answer: Answer = await self._retrying(attempt, row)
        return answer

    async def _given_up(self, row: OpenRow[Asking], answer: Answer) -> bool:
        """Whether the row has had its chances; a failure waits for what other rows say, as long as any may.

        If they fail, too, it was the beginning of an outage, which uses up no attempts.
        """
        if not self._limits.excuse_outages:
            return self._used_up(row, answer)
        self._held_back += 1
        try:
            while self._used_up(row, answer) and self._breaker.suspects(row) and self._others_may_tell():  # noqa: ASYNC110 - as below
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            self._held_back -= 1
        return self._used_up(row, answer)

    def _others_may_tell(self) -> bool:
        is_fed = self._feeding is not None and not self._feeding.done()
        return is_fed or len(self._open) > self._held_back

    async def _attempt(self, row: OpenRow[Asking]) -> Answer:
        admission = row.admission or await self._admitted(row.request)
        row.admission = None
        row.in_flight = True
        row.attempts += 1
        self.in_flight += 1
        sent_at = self._clock()
        self._pace.sent(sent_at)
        answer: Answer | None = None
        try:
            answer = await self._send(row.request)
        finally:
            row.in_flight = False
            self.in_flight -= 1
            self._slots.release()
            self._pay(row.request, answer)
            if admission.probe and answer is None:
                self._breaker.probe_lost(self._clock())
        self._learn(row, answer, sent_at, admission)
        return answer

    async def _admitted(self, request: Asking) -> Admission:
        """Takes a slot and the money, and waits for the moment to send; one row at a time stands here."""
        async with self._head_of_queue:
            await self._slots.acquire()
            reserved = False
            try:
                while True:
                    # Most of these waits are for a point in time, which no event would tell.
                    while (wait_s := self._wait_s(request.tokens)) > 0 or not (reserved or self._reserve(request)):  # noqa: ASYNC110 - see above
                        await asyncio.sleep(min(wait_s, LOOK_AGAIN_S) if wait_s > 0 else LOOK_AGAIN_S)
                    reserved = True
                    if self._throttler:
                        await self._throttler.acquire()  # type: ignore[no-untyped-call]  # it has no types
                    if self._wait_s(request.tokens) <= 0:  # else a pause began while the throttle held it up
                        break
            except (asyncio.CancelledError, _LetGo):
                self._give_back(request, reserved=reserved)
                raise
            now = self._clock()
            self._schedule.sent(now)
            entry = self._tokens.take(request.tokens, now) if self._tokens else None
            probe = self._breaker.open
            if probe:
                self._breaker.probing()
            return Admission(entry, probe)

    def _give_back(self, request: Asking, *, reserved: bool = True) -> None:
        """The slot and the money of a row that was not sent after all."""
        self._slots.release()
        if reserved and self._purse:
            self._purse.budget.spend(request.most_usd, Decimal(0))

    def _reserve(self, request: Asking) -> bool:
        """At the limit, answers in flight may still leave room; without any, the lane is at its end."""
        if self._purse is None or self._purse.budget.reserve(request.most_usd):
            return True
        if self._purse.budget.idle:
            if self._let_go(request):
                raise _LetGo
            left = self._purse.budget.left
            self.stop(f"limits.max_cost_usd: the next row may cost ${request.most_usd:.4f}, ${left:.4f} are left")
        return False

    def _pay(self, request: Asking, answer: Answer | None) -> None:
        """Settles the reservation with what the attempt cost; what nobody can tell stays taken."""
        if self._purse is None:
            return
        cost = self._purse.cost(answer.usage) if answer and answer.usage else None
        if cost is None and answer is not None and (answer.turned_away or answer.unsent):
            cost = Decimal(0)
        if cost is None:
            self._purse.budget.lose(request.most_usd)
            return
        self._purse.budget.spend(request.most_usd, cost)
        if self._purse.budget.overshot:
            self.stop("limits.max_cost_usd is passed: an answer was billed more than its request allowed")

    def _wait_s(self, tokens: int) -> float:
        now = self._clock()
        window_s = self._tokens.wait_s(tokens, now) if self._tokens else 0.0
        return max(self._pace.resume_at - now, self._breaker.wait_s(now), self._schedule.wait_s(now), window_s)

    def _learn(self, row: OpenRow[Asking], answer: Answer, sent_at: float, admission: Admission) -> None:
        """What one answer says about the lane: its speed, whether the endpoint is there, the row's own count."""
        now = self._clock()
        if answer.usage is not None:
            row.usages.append(answer.usage)
            if admission.entry and self._tokens and answer.usage.prompt_tokens is not None:
                used = answer.usage.prompt_tokens + (answer.usage.completion_tokens or 0)
                self._tokens.correct(admission.entry, row.request.tokens, used, now)
        if answer.retry_after_s is not None and answer.retry_after_s > self._limits.outage_s:
            self.stop(f"asked to wait {answer.retry_after_s:.0f} s, longer than limits.outage_s; run again later")
        if answer.verdict == "rate_limited":
            self._count_429(row, answer, sent_at, now)
            return
        row.limited_since = None  # it no longer gets nothing but 429
        if answer.verdict == "transient" and not answer.turned_away:
            self._count_failure(row, answer, now, probe=admission.probe)
            return
        row.failures += answer.verdict == "transient"  # a 408, 409 or 425: the row's trouble, no outage
        row.malformed += answer.verdict == "malformed"
        self._limited_since = math.inf
        self._breaker.answered(well=answer.verdict == "ok")
        self._pace.accepted(sent_at, now)
        self._set_speed()

    def _count_429(self, row: OpenRow[Asking], answer: Answer, sent_at: float, now: float) -> None:
        self._pace.rate_limited(sent_at, now, answer.retry_after_s)
        self._set_speed()
        self._breaker.answered(well=False)
        row.limited_since = sent_at if row.limited_since is None else row.limited_since
        self._limited_since = min(self._limited_since, sent_at)
        if now - self._limited_since > self._limits.outage_s:
            self.stop("answers nothing but 429 for longer than limits.outage_s; run again later")

    def _count_failure(self, row: OpenRow[Asking], answer: Answer, now: float, *, probe: bool) -> None:
        row.failures += 1
        for forgiven, failures in self._breaker.failed(row, now, probe=probe).items():
            forgiven.failures -= failures
        if self._breaker.gave_up(now):
            self.stop(f"does not answer ({answer.error}); run again when it is back, or check base_url")

    def _set_speed(self) -> None:
        limits = (self._limits.requests_per_minute, self._pace.requests_per_minute)
        speed = min((limit for limit in limits if limit is not None), default=None)
        if speed == self._speed:
            return
        self._speed = speed
        self._schedule.at(speed)
        if speed is None:
            self._throttler = None
            return
        pattern = cadence(speed * Schedule.SPRINT)
        self._throttler = self._throttler or Throttler(pattern.count, pattern.period_s, pattern.poll_s)
        self._throttler.rate_limit = pattern.count
        self._throttler.period = pattern.period_s
        self._throttler.retry_interval = pattern.poll_s

    def _exhausted(self, state: RetryCallState) -> bool:
        """Whether the row has had its chances; a lane that stops settles no row this way."""
        row, answer = _row_and_answer(state)
        if self._stopping:
            raise asyncio.CancelledError
        return self._used_up(row, answer)

    def _used_up(self, row: OpenRow[Asking], answer: Answer) -> bool:
        if answer.verdict == "rate_limited":  # others are accepted meanwhile, or the lane would have stopped
            since = self._clock() if row.limited_since is None else row.limited_since
            return self._clock() - since > self._limits.outage_s
        used_up = row.failures + row.malformed >= self._limits.max_attempts
        return used_up or (answer.verdict == "malformed" and row.malformed >= MALFORMED_ATTEMPTS)

    def _wait_before_retry(self, state: RetryCallState) -> float:
        """The server's word where it gives one. After a 429 the whole lane pauses, so the row need not."""
        _, answer = _row_and_answer(state)
        if answer.verdict == "rate_limited":
            return 0.0
        return answer.retry_after_s if answer.retry_after_s is not None else self._backoff(state)

    def _end(self, row: OpenRow[Asking], answer: Answer) -> None:
        if answer.verdict == "ok":
            self._same_refusal.ok()
            self._clear_suspects()
            self._finish(row, answer, "ok")
        elif answer.verdict == "refused":
            self._refuse(row, answer)
        elif answer.verdict == "fatal":
            self._leave(row)
            self.stop(f"{answer.error}; {ADVICE.get(answer.error_type or '', 'mend it')}, then run again")
        else:
            self._finish(row, answer, "failed")

    def _refuse(self, row: OpenRow[Asking], answer: Answer) -> None:
        """Holds the first refusals back until it is known whether the rows or the lane are to blame."""
        if not self._same_refusal.watching():
            self._finish(row, answer, "refused")
            return
        self._suspects.append((row, answer))
        if self._same_refusal.refused(f"{answer.error_type} {answer.error}"):
            suspects, self._suspects = self._suspects, []
            for suspect, refusal in suspects:
                self._finish(suspect, refusal, "failed")
            self.stop(f"the first {len(suspects)} answers are the same refusal ({answer.error}); mend the job")
        elif not self._same_refusal.watching():
            self._clear_suspects()

    def _clear_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for row, answer in suspects:
            self._finish(row, answer, "refused")

    def _finish(self, row: OpenRow[Asking], answer: Answer, status: Status) -> None:
        try:
            self._settle(row.request, Outcome(status, answer, row.attempts, tuple(row.usages)))
        except BaseException:
            self.stop()  # else another row would be sent in the slot of one whose answer is not on file
            raise


def _row_and_answer(state: RetryCallState) -> tuple[OpenRow[Any], Answer]:
    return cast("OpenRow[Any]", state.args[0]), cast("Future", state.outcome).result()


def _last_answer(state: RetryCallState) -> Answer:
    return _row_and_answer(state)[1]
