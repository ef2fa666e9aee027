"""The way into an endpoint: one request at a time waits here for the moment to be sent, in the order of arrival.

Five things can hold it up: what the lane may use (its allowance), the pause that a 429 asked for, a service tier
that is full, the breaker of an endpoint that is away, and its turn at the speed of the lane. The moment is
computed, and what comes sooner than that wakes the waiting request. What an answer means for the speed and the
breaker is learnt here, too; whether its request is sent again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from batchroute.send.breaker import Breaker
from batchroute.send.pace import Pace
from batchroute.send.rate import Rate
from batchroute.send.tier import FullTier
from batchroute.types import LaneState, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.send.allowance import Allowance, Need, Permit
    from batchroute.send.breaker import Failure
    from batchroute.send.classify import Answer
    from batchroute.send.retry import Attempts

Row = TypeVar("Row")  # whatever tells requests apart


class Admission(NamedTuple):
    """Leave to send one attempt; where it is a probe, `probed` is when the outage began that it looks at."""

    permit: Permit
    probed: float | None


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request in the queue; `failed` already, so it is no good as a probe. `wake` is set while it sleeps.

    `paced`: it had to wait for its turn at the speed of the lane.
    """

    need: Need
    failed: bool
    paced: bool = False
    wake: asyncio.Future[None] | None = None

    def look_again(self) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class Gate(Generic[Row]):
    """What lets the requests of one lane through; `passed` of them were answered well, the last at `passed_at`."""

    def __init__(self, allowance: Allowance, outage_s: float, clock: Callable[[], float]) -> None:
        self.breaker: Breaker[Row] = Breaker(outage_s)
        self.passed = 0
        self.passed_at = -math.inf
        self._allowance = allowance
        self._outage_s = outage_s
        self._clock = clock
        self._pace = Pace()
        self._tier = FullTier()
        self._rate = Rate()
        self._queue: deque[_Waiting] = deque()
        self._slowed = 0  # times, by 429s that may have been the lane's
        self._limited_since = math.inf  # since when the endpoint takes nothing, but says 429
        allowance.watch(self._changed)

    @property
    def paused_until(self) -> float:
        """When the pause ends that the endpoint asked for."""
        return self._pace.resume_at

    def resume(self) -> None:
        """After a rest: where the endpoint was away, the next request is sent at once, as a probe."""
        self.breaker.probe_lost(self._clock())
        self._changed()

    async def admit(self, need: Need, *, failed: bool = False, until_open: bool = False) -> Admission | None:
        """Waits for the moment to send a request that needs so much.

        `failed`: it is a probe only where no other request is. `until_open`: None as soon as the breaker is open.
        Raises OverBudget where the moment will not come.
        """
        # Only the head of the queue looks at the clock. So a request of many tokens is never overtaken for good by
        # small ones that happen to fit, nothing wakes a thousand waiters for one slot, and whatever may end the
        # wait has one future to set.
        me = _Waiting(need, failed)
        self._queue.append(me)
        try:
            while not (until_open and self.breaker.open):
                wait_s = self._wait_s(me)
                if wait_s > 0:
                    await self._sleep(me, wait_s)
                elif await self._is_due(me):
                    return self._taken(me)
            return None
        finally:
            self._leave_queue(me)

    async def _is_due(self, me: _Waiting) -> bool:
        """Whether it still may leave when its turn has come at the speed of the lane."""
        self._set_speed()
        while (wait_s := self._rate.wait_s(self._clock())) > 0:
            me.paced = True
            await asyncio.sleep(wait_s)
        await self._rate.throttle()
        return self._wait_s(me) <= 0  # else a pause began, or the money went, in the meantime

    def _taken(self, me: _Waiting) -> Admission:
        now = self._clock()
        self._rate.sent(now)
        permit = self._allowance.take(me.need, now)
        if self.breaker.open:
            self.breaker.probing()
        return Admission(permit, self.breaker.opened_at)

    def give(self, admission: Admission, answer: Answer | None) -> StopReason | None:
        """Takes back what a request had to use; returns why nothing more may be sent, where that is so.

        `answer` is the attempt's, None where none was awaited.
        """
        if answer is None:
            return self._allowance.give(admission.permit, None, self._clock())
        return self._allowance.give(admission.permit, answer.usage, self._clock(), unbilled=answer.unbilled)

    def cancel(self, admission: Admission) -> None:
        """The request was not sent after all."""
        self._allowance.give(admission.permit, None, self._clock(), unbilled=True)
        self.lost(admission)

    def lost(self, admission: Admission) -> None:
        """The answer is waited for no longer; where it was a probe, the next request may be one."""
        if self.is_probe(admission):
            self.breaker.probe_lost(self._clock())
            self._changed()

    def is_probe(self, admission: Admission) -> bool:
        """Whether the endpoint is away and this is to show whether it is back."""
        return self.breaker.open and admission.probed == self.breaker.opened_at

    def sent(self) -> float:
        """A request leaves now; returns the time."""
        now = self._clock()
        self._pace.sent(now)
        return now

    def failed(self, failure: Failure[Row]) -> dict[Row, int]:
        """A request failed as all do when the endpoint is away.

        Returns, by row, failures that an outage explains, so that they count against no row.
        """
        was_open = self.breaker.open
        forgiven = self.breaker.failed(failure, self._clock())
        if self.breaker.open != was_open:  # whose turn it is depends on that
            for waiting in self._queue:
                waiting.look_again()
        self._changed()
        return forgiven

    def learn(self, answer: Answer, sent_at: float, attempts: Attempts) -> None:
        """What any other answer, to the last of these attempts, says of the endpoint."""
        now = self._clock()
        if answer.verdict == "ok":
            self.passed, self.passed_at = self.passed + 1, now
            self.breaker.succeeded()
        else:
            self.breaker.answered()
        if answer.verdict == "busy":
            self._tier.busy(sent_at, now, answer.retry_after_s)
        elif answer.verdict != "rate_limited":
            self._limited_since = math.inf
            self._tier.answered()
            self._pace.accepted(sent_at, now)
        elif attempts.limited_alone:
            self._take_back(attempts)
        else:
            self._pace.rate_limited(sent_at, now, answer.retry_after_s)
            self._limited_since = min(self._limited_since, sent_at)
            self._slowed += 1
            attempts.slowed += 1
        self._changed()

    def _take_back(self, attempts: Attempts) -> None:
        """The 429s of this request turned out to be its own; where there were no others the lane has no limit."""
        if attempts.slowed:
            self._slowed, attempts.slowed = self._slowed - attempts.slowed, 0
            if self._slowed == 0:
                self._pace.forget()

    def gave_up(self, answer: Answer) -> StopReason | None:
        """Why the lane should wait no longer, after this answer; None where it should."""
        now = self._clock()
        if answer.retry_after_s is not None and answer.retry_after_s > self._outage_s:
            cause = f"asked to wait {answer.retry_after_s:.0f} s, longer than limits.outage_s"
            return StopReason(cause, advice="run again later")
        if answer.verdict == "rate_limited" and now - self._limited_since > self._outage_s:
            return StopReason("answers nothing but 429 for longer than limits.outage_s", advice="run again later")
        if answer.verdict == "busy" and self._tier.full_s(now) > self._outage_s:
            cause = "its service tier is full for longer than limits.outage_s"
            return StopReason(cause, advice='run again later, or set on_busy = "standard"')
        if self.breaker.gave_up(now):
            return StopReason(
                "does not answer", answer.error or "", "run again when it is back, or check base_url"
            )
        return None

    def state(self) -> LaneState | None:
        """What holds up the request whose turn it is, None where nothing does."""
        now = self._clock()
        if (away := self.breaker.state(now)) is not None:
            return away
        if (pause_s := self._pace.resume_at - now) > 0:
            return LaneState("rate_limited", next_try_s=pause_s)
        if (rest_s := self._tier.resume_at - now) > 0:
            return LaneState("tier_full", next_try_s=rest_s)
        if not self._queue:
            return None
        head = self._head()
        lack = self._allowance.lack(head.need, now)
        if lack == "money":
            return LaneState("no_money")
        return LaneState("paced") if lack == "tokens" or (lack is None and head.paced) else None

    def _wait_s(self, me: _Waiting) -> float:
        """0 where it may leave now; infinity: not before something changes."""
        if self._head() is not me:
            return math.inf
        now = self._clock()
        held_s = max(self._pace.resume_at - now, self._tier.resume_at - now, self.breaker.wait_s(now))
        # Asked last: what is over budget now may fit when the endpoint takes requests again.
        return held_s if held_s > 0 else self._allowance.wait_s(me.need, now)

    def _head(self) -> _Waiting:
        """Whose turn it is: the first to come; while the breaker is open the last one that has not failed.

        Rows that make a server fail often stand side by side, so the one furthest from them is the best probe.
        """
        if self.breaker.open:
            return next((each for each in reversed(self._queue) if not each.failed), self._queue[0])
        return self._queue[0]

    async def _sleep(self, me: _Waiting, wait_s: float) -> None:
        """Until that moment, or until something has changed."""
        loop = asyncio.get_running_loop()
        me.wake = loop.create_future()
        timer = None if math.isinf(wait_s) else loop.call_later(wait_s, me.look_again)
        try:
            await me.wake
        finally:
            me.wake = None
            if timer is not None:
                timer.cancel()

    def _leave_queue(self, me: _Waiting) -> None:
        if self._queue[0] is me:
            self._queue.popleft()
        else:
            self._queue.remove(me)
        self._changed()

    def _changed(self) -> None:
        """Lets the request at the head of the queue look again."""
        if self._queue:
            self._head().look_again()

    def _set_speed(self) -> None:
        allowed, learnt = self._allowance.requests_per_minute, self._pace.requests_per_minute
        if allowed is None or learnt is None:
            self._rate.set(learnt if allowed is None else allowed)
        else:
            self._rate.set(min(allowed, learnt))
