"""One attempt of a request over the network, and what it says of the endpoint: to its breaker, its pace, its tier.

The decision whether there is another is `retry`'s, who may go now the gate's.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, cast

import msgspec
from tenacity import AsyncRetrying, RetryCallState

from batchroute.send.classify import Answer
from batchroute.send.doubt import may_be_away
from batchroute.send.fleet import ADDRESSES_TO_BLAME
from batchroute.send.request import AnyRequest
from batchroute.send.retry import RetryDecision, decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from batchroute.send.allowance import OverBudget
    from batchroute.send.backend import Backend
    from batchroute.send.doubt import Doubt, OpenRequest
    from batchroute.send.gate import Admission, Gate
    from batchroute.send.retry import RetryPolicy


class Sending(Generic[AnyRequest]):
    """The attempts of one lane: how many were `sent`, and are `in_flight`."""

    def __init__(
        self,
        sends: Sequence[Callable[[AnyRequest], Awaitable[Answer]]],
        gate: Gate[OpenRequest[AnyRequest]],
        doubt: Doubt[AnyRequest],
        policy: RetryPolicy,
        *,
        at_standard: Callable[[AnyRequest], AnyRequest] | None,
        others_may_pass: Callable[[], bool],
        changed: Callable[[Backend[OpenRequest[AnyRequest]], Answer], None],
        clock: Callable[[], float],
    ) -> None:
        """`sends` has one function for each address. `others_may_pass`: beside requests that get 429 alone.

        `changed` is called with the answer that shows that an address went away, or is back.
        """
        self.in_flight = 0
        self.sent = 0
        self._sends = sends
        self._gate = gate
        self._doubt = doubt
        self._at_standard = at_standard
        self._others_may_pass = others_may_pass
        self._changed = changed
        self._policy = policy
        self._clock = clock

    async def once(self, row: OpenRequest[AnyRequest], admission: Admission[OpenRequest[AnyRequest]]) -> Answer:
        """Sends what the row asks; what it holds is given back here only where no answer was awaited."""
        request = self._at_standard(row.request) if row.standard and self._at_standard else row.request
        backend = admission.backend
        sent_at = self._gate.sent(backend)
        row.attempts.made += 1
        row.in_flight = True
        self.in_flight += 1
        self.sent += 1
        number = self.sent
        try:
            answer = await self._sends[backend.number](request)
        except BaseException:
            row.admission = None
            self._gate.lost(admission)
            self._gate.give(admission, None)
            raise
        finally:
            row.in_flight = False
            self.in_flight -= 1
        others_may_pass = not row.attempts.limited_alone or self._others_may_pass()
        row.attempts.count(
            answer, sent_at, backend.passed, address=backend.number, others_may_pass=others_may_pass
        )
        opened_at = backend.breaker.opened_at
        answer = self._learn(row, admission, answer, sent_at, number)
        if backend.breaker.opened_at != opened_at:
            self._changed(backend, answer)
        return answer

    def _learn(
        self,
        row: OpenRequest[AnyRequest],
        admission: Admission[OpenRequest[AnyRequest]],
        answer: Answer,
        sent_at: float,
        number: int,
    ) -> Answer:
        """What the answer to the lane's attempt of this number shows; another address may be the one to ask."""
        backend = admission.backend
        if may_be_away(answer):
            self._doubt.failed(row, admission, answer, overtaken=backend.latest_passed > number)
            return answer
        if answer.verdict == "fatal" and self._gate.rejects(backend, answer):
            row.fails_at(backend)
            return msgspec.structs.replace(answer, verdict="elsewhere")
        if answer.verdict == "ok":
            backend.latest_passed = max(backend.latest_passed, number)
        elif answer.verdict == "malformed":
            row.fails_at(backend)
        self._gate.learn(backend, answer, sent_at, row.attempts)
        return self._doubted(row, backend, answer) if answer.error_type == "http_404" else answer

    def _doubted(
        self, row: OpenRequest[AnyRequest], backend: Backend[OpenRequest[AnyRequest]], answer: Answer
    ) -> Answer:
        """A server may come back with another model: only where others say 404, too, is that the row's refusal."""
        row.fails_at(backend)
        is_enough = len(row.failed_at) >= ADDRESSES_TO_BLAME or not self._gate.fleet.others(row.failed_at)
        return answer if is_enough else msgspec.structs.replace(answer, verdict="elsewhere")

    def decide(self, row: OpenRequest[AnyRequest], answer: Answer) -> RetryDecision:
        """What follows the answer, as far as is known by now."""
        if answer.verdict == "busy" and self._at_standard is not None and not row.standard:
            row.standard = True
            return RetryDecision(again=True)
        jitter = random.random()  # noqa: S311 - jitter
        at_least_s = self._doubt.lasts_s(row, answer)
        decision = decide(row.attempts, answer, self._policy, self._clock(), jitter, at_least_s)
        if decision.counts and self._goes_elsewhere(row, decision, answer):
            return RetryDecision(again=True, counts=True)
        return decision

    def _goes_elsewhere(self, row: OpenRequest[AnyRequest], decision: RetryDecision, answer: Answer) -> bool:
        """Whether another address is asked, as soon as one takes it.

        What one address does not answer is no row's end before others failed it, too, whatever `max_attempts` is;
        nor is what an address does that is away.
        """
        fleet = self._gate.fleet
        if fleet.is_one:
            return False
        if row.avoids[-1].breaker.is_confirmed or (decision.again and fleet.others(row.avoids)):
            return True
        untried = answer.verdict == "transient" and bool(fleet.others(row.failed_at))
        return untried and (len(row.failed_at) < ADDRESSES_TO_BLAME or not fleet.blames(row))


def over_budget(over: OverBudget) -> Answer:
    """What an attempt amounts to that cannot be made."""
    return Answer(verdict="over_budget", error_type="budget", error=str(over), unsent=True)


def _row(state: RetryCallState) -> OpenRequest[Any]:
    return cast("OpenRequest[Any]", state.args[0])


def _is_asked_again(state: RetryCallState) -> bool:
    """Not after an exception, as tenacity takes a cancellation for one, too."""
    ended_well = state.outcome is not None and not state.outcome.failed
    return ended_well and _row(state).decision.again


def _decided_wait_s(state: RetryCallState) -> float:
    return _row(state).decision.after_s


def make_retrying() -> AsyncRetrying:
    """Calls a function of an open request as long as that request's `decision` says so; costly to make anew."""
    return AsyncRetrying(retry=_is_asked_again, wait=_decided_wait_s, sleep=asyncio.sleep)
