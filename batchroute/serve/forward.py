"""A live request on its lane, to its end: with the limits, retries, breaker and prices of a run.

A run stops a lane that can do no more, since somebody can run it again; a server goes on. What is fatal to a lane
is here the end of the one request, and a lane that stopped for another reason is begun anew after a rest.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from batchroute.input.content import Refusal
from batchroute.job.prices import open_targets
from batchroute.route.next import Done, Policy, RowState, next_step
from batchroute.run.settle import settled
from batchroute.send.allowance import EndpointLimits, OwnLimits, Spending
from batchroute.send.body import Body
from batchroute.send.classify import Answer
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Transport
from batchroute.send.lane import Lane
from batchroute.send.open import asked_by, endpoint_limits, open_address, retry_policy, scrubber_for
from batchroute.send.request import Outcome, Request
from batchroute.send.tokens import estimate_tokens
from batchroute.serve.chat import ChatRequest, RouteDecision, prompt_of
from batchroute.types import SIDES, Completion

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from batchroute.job.prices import Target
    from batchroute.job.secrets import Scrubber
    from batchroute.job.spec import Job
    from batchroute.send.budget import Budget
    from batchroute.send.request import Spent
    from batchroute.send.retry import RetryPolicy
    from batchroute.serve.stream import EventRelay
    from batchroute.types import Result, Side

LIVE_OUTAGE_S = 60.0  # somebody waits: longer than that no request is held for an endpoint that is away
_POLICY = Policy(stops=False)
_ROW = RowState("")
REST_S = 5.0  # before a lane that stopped is tried again


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended: the endpoint's last word, and the same as a run would record it."""

    outcome: Outcome
    result: Result
    threshold: float | None


@dataclass(slots=True)
class _Exchange:
    relay: EventRelay | None
    outcome: Outcome | None = None


class LiveLane:
    """One side, for requests that somebody waits for."""

    def __init__(
        self,
        endpoint: Endpoint,
        policy: RetryPolicy,
        limits: EndpointLimits,
        say: Callable[[str], None],
        spending: Spending | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._policy = policy
        self._limits = limits
        self._say = say
        self._spending = spending
        self._exchanges: dict[int, _Exchange] = {}
        self._rests_until = 0.0
        self._lane = self._fresh()

    @property
    def in_flight(self) -> int:
        return self._lane.in_flight

    def close(self, reason: str) -> None:
        """Lets go of everything, for good."""
        self._rests_until = math.inf
        self._lane.stop(reason)
        self._lane.abandon()

    async def ask(self, request: Request, relay: EventRelay | None = None) -> Outcome:
        """Waits for its turn and its end; `relay` is given the answer's events. Cancelled, it lets go of it.

        Every request under way has a row number of its own.
        """
        lane = self._working_lane()
        exchange = self._exchanges[request.prompt.row] = _Exchange(relay)
        try:
            await lane.ask(request, self)
        finally:
            del self._exchanges[request.prompt.row]
        if exchange.outcome is not None:
            return exchange.outcome
        return Outcome("failed", Answer(verdict="transient", error_type="stopped", error=lane.stopped), 0, ())

    def _working_lane(self) -> Lane[Request]:
        if self._lane.stopped is not None and time.monotonic() >= self._rests_until:
            self._lane = self._fresh()
        return self._lane

    def _fresh(self) -> Lane[Request]:
        allowance = OwnLimits(self._limits, self._spending)
        return Lane(self._send, self._policy, allowance, self._stopped, most_open=0)

    async def _send(self, request: Request) -> Answer:
        relay = self._exchanges[request.prompt.row].relay
        answer = await self._endpoint.send(request.body, None if relay is None else relay.receive)
        if relay is not None and relay.begun:
            return msgspec.structs.replace(answer, completion=Completion(usage=relay.usage))
        return answer

    def settle(self, request: Request, outcome: Outcome) -> None:
        """See `Sink`: what ends a run's lane is the end of this one request."""
        step = next_step(_ROW, outcome, _POLICY)
        status = step.status if isinstance(step, Done) else "failed"
        self._exchanges[request.prompt.row].outcome = msgspec.structs.replace(outcome, status=status)

    def leave(self, request: Request, spent: Spent) -> None:
        """See `Sink`: the lane stopped, or the client is gone; there is nothing to keep."""

    def _stopped(self, reason: str) -> None:
        if self._rests_until < math.inf:
            self._rests_until = time.monotonic() + REST_S
            self._say(reason)


class Live:
    """Both sides of a job, open for requests."""

    def __init__(
        self,
        job: Job,
        targets: Mapping[str, Target],
        lanes: Mapping[Side, LiveLane],
        scrub: Scrubber,
        budget: Budget | None,
    ) -> None:
        self.lanes = lanes
        self.scrub = scrub
        self.asked = targets
        self._bodies = {side: Body(job.endpoints[side].model, job.endpoints[side].params) for side in SIDES}
        self._budget = budget
        self._numbers = itertools.count()

    async def ask(self, chat: ChatRequest, routed: RouteDecision, relay: EventRelay | None = None) -> Ended:
        """The end of one request. Refusal where a budget needs to know how long its answer may get."""
        request = self._request(chat, routed)
        if self._budget is not None and request.most_usd > self._budget.left + self._budget.reserved:
            outcome = _over_budget(request.most_usd, self._budget.left)
        else:
            outcome = await self.lanes[routed.side].ask(request, relay)
        finished_at = time.time_ns() // 1000
        result = settled(request, outcome, self.asked[routed.side], None, finished_at, raw=False)
        return Ended(outcome, result, routed.threshold)

    def close(self) -> None:
        """Lets go of what is under way; whoever asked for it is told so."""
        for lane in self.lanes.values():
            lane.close("closed")

    def _request(self, chat: ChatRequest, routed: RouteDecision) -> Request:
        prompt = prompt_of(chat, next(self._numbers))
        body, longest = self._bodies[routed.side](prompt)
        request = Request(prompt, body, estimate_tokens(chat.chars) + longest, routed.score, routed.reason)
        pricing = self.asked[routed.side].pricing
        if self._budget is None or pricing is None:
            return request
        if not longest:
            raise Refusal("limits.max_cost_usd holds here: set max_completion_tokens or max_tokens")
        return msgspec.structs.replace(request, most_usd=pricing.most_usd(len(body), longest))


async def open_live(
    job: Job,
    environ: Mapping[str, str],
    stack: contextlib.AsyncExitStack,
    say: Callable[[str], None],
    budget: Budget | None = None,
) -> Live:
    """The lanes of a job until `stack` ends; keys come from `environ`."""
    scrub = scrubber_for(asked_by(job.endpoints, job.router), environ)
    lanes: dict[Side, LiveLane] = {}
    targets = open_targets(job.endpoints)
    for side in SIDES:
        address = await open_address(job.endpoints[side], job.limits, environ, stack)
        transport = await stack.enter_async_context(Transport(address))
        endpoint = Endpoint(transport, scrub, keep_bodies=True)
        pricing = targets[side].pricing
        spending = Spending(budget, pricing.cost) if budget and pricing else None
        spec = job.endpoints[side]
        policy = live_policy(retry_policy(spec, job.limits))
        lanes[side] = LiveLane(endpoint, policy, endpoint_limits(spec), _saying(say, side), spending)
    return Live(job, targets, lanes, scrub, budget)


def _over_budget(most_usd: Decimal, left_usd: Decimal) -> Outcome:
    """A request that does not fit even if all that are in flight cost nothing: it alone fails, at once.

    With $0.50 left and $0.20 reserved for answers in flight, one that may cost $0.60 is queued, as it may fit when
    those have turned out cheaper; one that may cost $0.71 is not.
    """
    error = f"limits.max_cost_usd: the request may cost ${most_usd:.4f}, ${left_usd:.4f} are left"
    return Outcome("failed", Answer(verdict="refused", error_type="budget", error=error), 0, ())


def _saying(say: Callable[[str], None], side: Side) -> Callable[[str], None]:
    return lambda reason: say(f"the {side} endpoint: {reason}")


def live_policy(policy: RetryPolicy) -> RetryPolicy:
    """A lane's policy where a client waits, and where a refusal says something of its request alone."""
    outage_s = min(policy.outage_s, LIVE_OUTAGE_S)
    return replace(policy, outage_s=outage_s, stop_after_same_refusal=0, excuse_outages=False)
