"""The way into an endpoint: one request at a time waits here for the moment to be sent, in the order of arrival.

Five things can hold it up: what the lane may use (its allowance), the pause that a 429 asked for, a service tier
that is full, the breaker of an endpoint that is away, and its turn at the speed of the lane. All but the first are
an address's, and a lane may have several: a request waits for the one that is free soonest. The moment is
computed, and what comes sooner than that wakes the waiting request. What an answer means for the speed and the
breaker is learnt here, too; whether its request is sent again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from batchroute.send.allowance import tokens_used
from batchroute.send.classify import stop_reason
from batchroute.send.fleet import Fleet
from batchroute.send.rate import Rate
from batchroute.types import LaneState, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from batchroute.send.allowance import Allowance, Need, Permit, TokenEntry
    from batchroute.send.backend import Backend
    from batchroute.send.breaker import Failure
    from batchroute.send.classify import Answer
    from batchroute.send.retry import Attempts
    from batchroute.types import Usage

Row = TypeVar("Row")  # whatever tells requests apart


class Admission(NamedTuple, Generic[Row]):
    """Leave to send one attempt to `backend`; where it is a probe, `probed` is when the outage began.

    `entry`: what it took of the tokens that are the address's own.
    """

    permit: Permit
    backend: Backend[Row]
    probed: float | None
    entry: TokenEntry | None = None


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Row]):
    """A request in the queue; `failed` already, so it is no good as a probe. `wake` is set while it sleeps.

    `backend` is the one it would be sent to. `paced`: it had to wait for its turn at the speed of the lane.
    `turn`: it sleeps until that comes, and nothing but another speed is worth waking it.
    """

    need: Need
    failed: bool
    avoid: Collection[Backend[Row]]
    backend: Backend[Row]
    paced: bool = False
    turn: bool = False
    wake: asyncio.Future[None] | None = None

    def look_again(self) -> None:
        if not self.turn:
            self.get_up()

    def get_up(self) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class Gate(Generic[Row]):
    """What lets the requests of one lane through.

    The last that was answered well was at `passed_at`; `rate_limited` were answered 429.
    """

    def __init__(
        self,
        allowance: Allowance,
        outage_s: float,
        clock: Callable[[], float],
        addresses: Sequence[str] = ("",),
        *,
        per_address: bool = False,
    ) -> None:
        """`per_address`: the allowance is the sum of what each address may be asked for."""
        self.fleet: Fleet[Row] = Fleet(addresses, outage_s, per_address=per_address)
        self.passed_at = -math.inf
        self.rate_limited = 0
        self._allowance = allowance
        self._clock = clock
        self._rate = None if self.fleet.has_shares else Rate()  # else each address has its own
        self._queue: deque[_Waiting[Row]] = deque()
        self._speed = allowance.limits.requests_per_minute
        allowance.watch(self._allowance_changed)

    @property
    def passed(self) -> int:
        """How many were answered well."""
        return sum(backend.passed for backend in self.fleet.backends)

    @property
    def learnt_per_minute(self) -> float | None:
        """The speed that all addresses together were found to take; None: no limit was met."""
        learnt = [backend.learnt_per_minute for backend in self.fleet.backends]
        known = [speed for speed in learnt if speed is not None]
        return sum(known) if len(known) == len(learnt) else None

    @property
    def waits_for_allowance(self) -> bool:
        """Whether a request stands here that nothing else holds up than slots, tokens and speed."""
        state = self.state()
        return bool(self._queue) and (state is None or state.doing == "paced")

    def resume(self) -> None:
        """After a rest: where the endpoint was away, the next request is sent at once, as a probe."""
        for backend in self.fleet.backends:
            backend.breaker.probe_lost(self._clock())
        self._changed()

    async def admit(
        self,
        need: Need,
        *,
        failed: bool = False,
        avoid: Collection[Backend[Row]] = (),
        until_away: bool = False,
    ) -> Admission[Row] | None:
        """Waits for the moment to send a request that needs so much.

        `failed`: it is a probe only where no other request is, and is kept from the addresses to `avoid` as long
        as there are others. `until_away`: None as soon as all addresses are. Raises OverBudget where the moment
        will not come.
        """
        # Only the head of the queue looks at the clock. So a request of many tokens is never overtaken for good by
        # small ones that happen to fit, nothing wakes a thousand waiters for one slot, and whatever may end the
        # wait has one future to set.
        me = _Waiting(need, failed, avoid, self.fleet.backends[0])
        self._queue.append(me)
        try:
            while not (until_away and self.fleet.is_away):
                wait_s = self._wait_s(me)
                if wait_s > 0:
                    await self._sleep(me, wait_s)
                elif await self._is_due(me):
                    return self._taken(me)
            return None
        finally:
            self._leave_queue(me)

    async def _is_due(self, me: _Waiting[Row]) -> bool:
        """Whether it still may leave when its turn has come at the speed of the lane and of the address."""
        backend, limits = me.backend, self._allowance.limits
        if self._rate is not None:
            self._rate.set(limits.requests_per_minute, self._clock())
            if not await self._turn(me, self._rate):
                return False
        backend.set_speed(limits, self._clock())
        if not await self._turn(me, backend.rate):
            return False
        return self._wait_s(me) <= 0  # else a pause began, or the money went, in the meantime

    async def _turn(self, me: _Waiting[Row], rate: Rate) -> bool:
        """Waits for its turn; False where the lane has got another speed in the meantime."""
        speed = self._speed
        while (wait_s := rate.wait_s(self._clock())) > 0:
            me.paced = me.turn = True
            try:
                await self._sleep(me, wait_s)
            finally:
                me.turn = False
            if self._speed != speed:
                return False
        await rate.throttle()
        return True

    def _taken(self, me: _Waiting[Row]) -> Admission[Row]:
        now, backend = self._clock(), me.backend
        permit = self._allowance.take(me.need, now)
        if self._rate is not None:
            self._rate.sent(now)
        self.fleet.taken(backend)
        entry = backend.taken(self._allowance.limits, me.need.tokens, now)
        if backend.breaker.open:
            backend.breaker.probing()
        return Admission(permit, backend, backend.breaker.opened_at, entry)

    def give(self, admission: Admission[Row], answer: Answer | None) -> StopReason | None:
        """Takes back what a request had to use; returns why nothing more may be sent, where that is so.

        `answer` is the attempt's, None where none was awaited.
        """
        if answer is None:
            return self._give(admission, None, unbilled=False)
        return self._give(admission, answer.usage, unbilled=answer.unbilled)

    def _give(self, admission: Admission[Row], usage: Usage | None, *, unbilled: bool) -> StopReason | None:
        now, permit = self._clock(), admission.permit
        used = None if admission.entry is None else tokens_used(usage, unbilled=unbilled)
        admission.backend.given(admission.entry, permit.need.tokens, used, now)
        return self._allowance.give(permit, usage, now, unbilled=unbilled)

    def cancel(self, admission: Admission[Row]) -> None:
        """The request was not sent after all."""
        self._give(admission, None, unbilled=True)
        self.lost(admission)

    def lost(self, admission: Admission[Row]) -> None:
        """The answer is waited for no longer; where it was a probe, the next request may be one."""
        if self.is_probe(admission):
            admission.backend.breaker.probe_lost(self._clock())
            self._changed()

    def is_probe(self, admission: Admission[Row]) -> bool:
        """Whether the address is away and this is to show whether it is back."""
        breaker = admission.backend.breaker
        return breaker.open and admission.probed == breaker.opened_at

    def sent(self, backend: Backend[Row]) -> float:
        """A request leaves now; returns the time."""
        now = self._clock()
        backend.sent(now)
        return now

    def failed(self, backend: Backend[Row], failure: Failure[Row]) -> dict[Row, int]:
        """A request failed as all do when the address is away.

        Returns, by row, failures that an outage explains, so that they count against no row.
        """
        was_away = self.fleet.is_away
        forgiven = backend.breaker.failed(failure, self._clock())
        if self.fleet.is_away != was_away:  # whose turn it is depends on that
            for waiting in self._queue:
                waiting.look_again()
        self._changed()
        return forgiven

    def learn(self, backend: Backend[Row], answer: Answer, sent_at: float, attempts: Attempts) -> None:
        """What any other answer, to the last of these attempts, says of the address."""
        now = self._clock()
        self.rate_limited += answer.verdict == "rate_limited"
        if answer.verdict == "ok":
            self.passed_at = now
        backend.learn(answer, sent_at, now, attempts)
        self._changed()

    def rejects(self, backend: Backend[Row], answer: Answer) -> bool:
        """An address can answer no row, as this says; whether another one may, so that the lane need not stop."""
        another_may = self.fleet.rejects(backend, stop_reason(answer), answer.error or "", self._clock())
        self._changed()
        return another_may

    def gave_up(self, backend: Backend[Row], answer: Answer) -> StopReason | None:
        """Why the lane should wait no longer, after this answer; None where it should."""
        return self.fleet.gave_up(backend, answer, self._clock())

    def state(self) -> LaneState | None:
        """What holds up the request whose turn it is, None where nothing does."""
        now = self._clock()
        if (held := self.fleet.state(now)) is not None:
            return held
        if not self._queue:
            return None
        head = self._head()
        lack = self._allowance.lack(head.need, now)
        if lack == "money":
            return LaneState("no_money")
        return LaneState("paced") if lack == "tokens" or (lack is None and head.paced) else None

    def _wait_s(self, me: _Waiting[Row]) -> float:
        """0 where it may leave now; infinity: not before something changes."""
        head = self._head()
        if head is not me:
            if not self.fleet.is_one:  # whose turn it is depends on more than the order of arrival
                head.look_again()
            return math.inf
        now = self._clock()
        if self.fleet.is_one:
            held_s = me.backend.held_s(now)
        else:
            me.backend, held_s = self._pick(me, now)
        # Asked last: what is over budget now may fit when the endpoint takes requests again.
        return held_s if held_s > 0 else self._allowance.wait_s(me.need, now)

    def _pick(self, me: _Waiting[Row], now: float) -> tuple[Backend[Row], float]:
        return self.fleet.pick(self._allowance.limits, me.need.tokens, now, me.avoid)

    def _head(self) -> _Waiting[Row]:
        """Whose turn it is: the first to come; while all addresses are away the last one that has not failed.

        Rows that make a server fail often stand side by side, so the one furthest from them is the best probe.
        A row that waits for another address than those that it failed at holds no other up.
        """
        first = self._queue[0]
        if self.fleet.is_away:
            return next((each for each in reversed(self._queue) if not each.failed), first)
        if self.fleet.is_one or not first.avoid:
            return first
        now = self._clock()
        return next((each for each in self._queue if not each.avoid or self._pick(each, now)[1] <= 0), first)

    async def _sleep(self, me: _Waiting[Row], wait_s: float) -> None:
        """Until that moment, or until something has changed."""
        loop = asyncio.get_running_loop()
        me.wake = loop.create_future()
        timer = None if math.isinf(wait_s) else loop.call_later(wait_s, me.get_up)
        try:
            await me.wake
        finally:
            me.wake = None
            if timer is not None:
                timer.cancel()

    def _leave_queue(self, me: _Waiting[Row]) -> None:
        if self._queue[0] is me:
            self._queue.popleft()
        else:
            self._queue.remove(me)
        self._changed()

    def _allowance_changed(self) -> None:
        """Its speed, too: whoever waits for its turn is to have it at the new one."""
        speed = self._allowance.limits.requests_per_minute
        if speed != self._speed:
            self._speed = speed
            for waiting in self._queue:
                waiting.get_up()
        self._changed()

    def _changed(self) -> None:
        """Lets the request at the head of the queue look again."""
        if self._queue:
            self._head().look_again()
