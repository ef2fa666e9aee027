"""The way into an endpoint: one request at a time waits here for the moment to be sent, in the order of arrival.

Four things can hold it up: what the lane may use (its allowance), the pause that a 429 asked for, the breaker of
an endpoint that is away, and its turn at the speed of the lane. The moment is computed, and what comes sooner than
that wakes the waiting request. What an answer means for the speed and the breaker is learnt here, too; whether its
request is sent again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from batchroute.send.breaker import Breaker
from batchroute.send.pace import Pace
from batchroute.send.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from batchroute.send.allowance import Allowance, Permit
    from batchroute.send.classify import Answer

Row = TypeVar("Row")  # whatever tells requests apart


class Admission(NamedTuple):
    """Leave to send one attempt; `probe`: to see whether an endpoint that is away is back."""

    permit: Permit
    probe: bool


class Gate(Generic[Row]):
    """What lets the requests of one lane through."""

    def __init__(self, allowance: Allowance, outage_s: float, clock: Callable[[], float]) -> None:
        self.breaker: Breaker[Row] = Breaker(outage_s)
        self._allowance = allowance
        self._outage_s = outage_s
        self._clock = clock
        self._pace = Pace()
        self._rate = Rate()
        self._head_of_queue = asyncio.Lock()
        self._waiter: asyncio.Future[None] | None = None
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

    async def admit(self, tokens: int, usd: Decimal) -> Admission:
        """Waits for the moment to send a request of so many tokens and US dollars at most.

        Raises OverBudget where that will not come.
        """
        # One waiter at a time: all others stand behind the lock, which asyncio hands on in the order of arrival.
        # So a request of many tokens is never overtaken for good by small ones that happen to fit, nothing wakes
        # a thousand waiters for one slot, and whatever may end the wait has one future to set.
        async with self._head_of_queue:
            while True:
                while (wait_s := self._wait_s(tokens, usd)) > 0:
                    await self._sleep(wait_s)
                self._set_speed()
                while (wait_s := self._rate.wait_s(self._clock())) > 0:  # noqa: ASYNC110 - no event tells a time
                    await asyncio.sleep(wait_s)
                await self._rate.throttle()
                if self._wait_s(tokens, usd) <= 0:  # else a pause began, or the money went, in the meantime
                    break
            now = self._clock()
            self._rate.sent(now)
            permit = self._allowance.take(tokens, usd, now)
            probe = self.breaker.open
            if probe:
                self.breaker.probing()
            return Admission(permit, probe)

    def give(self, admission: Admission, answer: Answer | None) -> str | None:
        """Takes back what a request had to use; returns why nothing more may be sent, where that is so.

        `answer` is the attempt's, None where none was awaited.
        """
        if answer is None:
            return self._allowance.give(admission.permit, None, self._clock())
        unbilled = answer.turned_away or answer.unsent
        return self._allowance.give(admission.permit, answer.usage, self._clock(), unbilled=unbilled)

    def cancel(self, admission: Admission) -> None:
        """The request was not sent after all."""
        self._allowance.give(admission.permit, None, self._clock(), unbilled=True)
        self.lost(admission)

    def lost(self, admission: Admission) -> None:
        """The answer is waited for no longer; where it was a probe, the next request may be one."""
        if admission.probe:
            self.breaker.probe_lost(self._clock())
            self._changed()

    def sent(self) -> float:
        """A request leaves now; returns the time."""
        now = self._clock()
        self._pace.sent(now)
        return now

    def learn(self, row: Row, answer: Answer, sent_at: float, *, probe: bool) -> dict[Row, int]:
        """What an answer says of the endpoint's speed and presence.

        Returns, by row, failures that an outage explains, so that they count against no row.
        """
        now = self._clock()
        forgiven: dict[Row, int] = {}
        if answer.verdict == "rate_limited":
            self._pace.rate_limited(sent_at, now, answer.retry_after_s)
            self._limited_since = min(self._limited_since, sent_at)
            self.breaker.answered(well=False)
        elif answer.verdict == "transient" and not answer.turned_away:
            forgiven = self.breaker.failed(row, now, probe=probe)
        else:
            self._limited_since = math.inf
            self._pace.accepted(sent_at, now)
            self.breaker.answered(well=answer.verdict == "ok")
        self._changed()
        return forgiven

    def gave_up(self, answer: Answer) -> str | None:
        """Why the lane should wait no longer, after this answer; None where it should."""
        now = self._clock()
        if answer.retry_after_s is not None and answer.retry_after_s > self._outage_s:
            return f"asked to wait {answer.retry_after_s:.0f} s, longer than limits.outage_s; run again later"
        if answer.verdict == "rate_limited" and now - self._limited_since > self._outage_s:
            return "answers nothing but 429 for longer than limits.outage_s; run again later"
        if self.breaker.gave_up(now):
            return f"does not answer ({answer.error}); run again when it is back, or check base_url"
        return None

    def _wait_s(self, tokens: int, usd: Decimal) -> float:
        now = self._clock()
        held_s = max(self._pace.resume_at - now, self.breaker.wait_s(now))
        # Asked last: what is over budget now may fit when the endpoint takes requests again.
        return held_s if held_s > 0 else self._allowance.wait_s(tokens, usd, now)

    async def _sleep(self, wait_s: float) -> None:
        """Until that moment, or until something has changed."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if math.isinf(wait_s) else loop.call_later(wait_s, self._changed)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _changed(self) -> None:
        """Lets the request at the head of the queue look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_speed(self) -> None:
        allowed, learnt = self._allowance.requests_per_minute, self._pace.requests_per_minute
        if allowed is None or learnt is None:
            self._rate.set(learnt if allowed is None else allowed)
        else:
            self._rate.set(min(allowed, learnt))
