"""A live request at its endpoint, to its end: with the limits, retries, breaker and prices of a run.

Decides only what differs from a run, whose lane stops when its endpoint or the budget can do no more, as the run
can be started again. Here such an answer ends one request (`next_step` with a policy that never stops), and
a lane that stopped because its endpoint is away takes requests again after a rest. Knows no clients.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from batchroute.input.row import Refusal
from batchroute.job.prices import open_targets
from batchroute.job.tiers import STANDARD
from batchroute.report.export.completion import chat_completion
from batchroute.route.next import Done, Policy, RowState, next_step
from batchroute.run.feed import RequestWriter
from batchroute.run.settle import settled
from batchroute.send.allowance import Need
from batchroute.send.body import at_standard_tier
from batchroute.send.classify import Answer
from batchroute.send.lane import Lane
from batchroute.send.open import endpoint_limits, open_endpoints, own_limits, retry_policy
from batchroute.send.request import Outcome, billed_in
from batchroute.send.tokens import estimate_tokens
from batchroute.types import Completion, Prompt, StopReason

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal
    from typing import TypeAlias

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.secrets import Scrubber
    from batchroute.job.spec import Endpoints, Limits
    from batchroute.send.allowance import OwnLimits
    from batchroute.send.budget import Budget
    from batchroute.send.endpoint import Receive
    from batchroute.send.request import Request, Spent
    from batchroute.send.retry import RetryPolicy
    from batchroute.send.verdict import Verdict
    from batchroute.serve.chat import ChatRequest, RouteDecision
    from batchroute.serve.stream import EventRelay
    from batchroute.types import Result, Status

    Send: TypeAlias = Callable[[bytes, Receive | None], Awaitable[Answer]]

LIVE_OUTAGE_S = 60.0  # a client waits: longer than that no request is held for an endpoint that is away
REST_S = 5.0  # before a lane that stopped takes requests again
_POLICY = Policy(stops=False)
# A failure that the endpoint did not explain itself: status, code.
_FAILURES = {
    "context_length": (400, "context_length_exceeded"),
    "content_filter": (400, "content_filter"),
    "rate_limit": (429, "rate_limit_exceeded"),
    "rate_limited": (429, "rate_limit_exceeded"),
    "busy": (429, "resource_unavailable"),
    "too_large": (413, "request_too_large"),
    "quota": (429, "insufficient_quota"),
    "budget": (429, "insufficient_quota"),
    "timeout": (504, "timeout"),
    "stopped": (503, "unavailable"),
}


@dataclass(frozen=True, slots=True)
class LiveResult:
    """How a request ended: the endpoint's last answer, and the same as a run would record it."""

    outcome: Outcome
    result: Result


@dataclass(slots=True, eq=False)
class _Exchange:
    """What a lane sends for one request, and its `Sink`; `relay` gets the events of the answer."""

    body: bytes
    tokens: int
    most_usd: Decimal
    relay: EventRelay | None
    service_tier: str | None
    attempts: int = 0
    outcome: Outcome | None = None

    @property
    def need(self) -> Need:
        return Need(self.tokens, self.most_usd)

    def settle(self, request: _Exchange, outcome: Outcome) -> None:
        step = next_step(RowState(""), outcome, _POLICY)
        status = step.status if isinstance(step, Done) else "failed"
        self.outcome = msgspec.structs.replace(outcome, status=status)

    def leave(self, request: _Exchange, spent: Spent) -> None:
        """The lane stopped, or the client is gone; there is nothing to keep."""


def _at_standard(exchange: _Exchange) -> _Exchange:
    return replace(exchange, body=at_standard_tier(exchange.body), service_tier=STANDARD)


class LiveLane:
    """One endpoint, for requests of clients that wait. What is learnt of it outlives its rests."""

    def __init__(
        self,
        sends: Mapping[str, Send],
        policy: RetryPolicy,
        allowance: OwnLimits,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        leaves_full_tier: bool = False,
        per_address: bool = False,
    ) -> None:
        """`sends` makes one attempt at each address, `notify` takes the reason whenever the lane stops for a rest.

        `leaves_full_tier`: for the standard one, instead of waiting.
        """
        self.allowance = allowance
        self._notify = notify
        self._clock = clock
        self._lane: Lane[_Exchange] = Lane(
            {where: partial(self._send, send) for where, send in sends.items()},
            policy,
            allowance,
            self._rest,
            most_open=0,
            at_standard=_at_standard if leaves_full_tier else None,
            per_address=per_address,
            clock=clock,
        )
        self._rests_until = 0.0

    @property
    def in_flight(self) -> int:
        return self._lane.in_flight

    def close(self, reason: str) -> None:
        """Abandons all requests, for good."""
        self._rests_until = math.inf
        self._lane.stop(StopReason(reason))
        self._lane.abandon()

    async def ask(self, request: Request, relay: EventRelay | None = None) -> Outcome:
        """Waits for its turn and its end; where the caller is cancelled, the request is abandoned."""
        if self._lane.stopped is not None and self._clock() >= self._rests_until:
            self._lane.resume()
        exchange = _Exchange(request.body, request.tokens, request.most_usd, relay, request.service_tier)
        await self._lane.ask(exchange, exchange)
        return exchange.outcome or _not_sent("failed", "stopped", self._lane.stopped or "closed")

    async def _send(self, send: Send, exchange: _Exchange) -> Answer:
        relay = exchange.relay
        answer = await send(exchange.body, None if relay is None else relay.receive)
        if relay is not None and relay.begun:
            answer = msgspec.structs.replace(answer, completion=Completion(usage=relay.usage))
        return billed_in(exchange.service_tier, answer)

    def _rest(self, reason: str) -> None:
        """The endpoint is away, or asked for a pause longer than a client waits.

        Say it is down. After 60 s the lane stops: all that wait get a 503, and so does every request of the next
        5 s. The first one after that is sent to see whether the endpoint is back, and those behind it wait for its
        answer. It fails: they all get a 503, and so on every 5 s. What was learnt stays known over the rests: the
        speed that the endpoint's 429s taught, and the tokens of the last minute.
        """
        if self._rests_until < math.inf:
            self._rests_until = max(self._clock() + REST_S, self._lane.gate.fleet.resume_at)
            self._notify(reason)


@dataclass(frozen=True, slots=True)
class LiveEndpoints:
    """The endpoints of a job, open for requests; each mapping is by endpoint."""

    targets: Mapping[str, Target]
    apis: Mapping[str, str]
    writers: Mapping[str, RequestWriter]
    lanes: Mapping[str, LiveLane]
    scrub: Scrubber
    budget: Budget | None

    async def ask(self, chat: ChatRequest, decision: RouteDecision, relay: EventRelay | None = None) -> LiveResult:
        """The end of one request. Refusal where a budget needs to know how long its answer may get."""
        target = self.targets[decision.endpoint]
        request = self._request(chat, decision)
        if self.budget is not None and request.most_usd > self.budget.left + self.budget.reserved:
            outcome = _over_budget(request.most_usd, self.budget.left)
        else:
            outcome = await self.lanes[decision.endpoint].ask(request, relay)
        result = settled(request, outcome, target, None, time.time_ns() // 1000, raw=False)
        return LiveResult(_as_chat(outcome, result, self.apis[decision.endpoint]), result)

    def close(self) -> None:
        """Abandons all requests; their callers get an outcome that says so."""
        for lane in self.lanes.values():
            lane.close("closed")

    def _request(self, chat: ChatRequest, decision: RouteDecision) -> Request:
        prompt = Prompt(
            file="",
            row=0,  # a row of no file
            id=None,
            messages=chat.messages,
            params=chat.params,
            media=chat.media,
            inlined_bytes=chat.inlined_bytes,
        )
        tokens, write = estimate_tokens(chat.chars), self.writers[decision.endpoint]
        request = write(prompt, decision.score, decision.reason, chars=chat.chars, tokens=tokens, attempts=0)
        if request.prompt.refusal is not None:
            raise Refusal(request.prompt.refusal)
        return request


async def open_live_endpoints(
    endpoints: Endpoints,
    limits: Limits,
    environ: Mapping[str, str],
    scrub: Scrubber,
    stack: contextlib.AsyncExitStack,
    notify: Callable[[str], None],
    budget: Budget | None = None,
) -> LiveEndpoints:
    """The endpoints until `stack` ends; keys come from `environ`, `scrub` takes them out of what endpoints say."""
    targets, lanes = open_targets(endpoints), {}
    writers = {
        name: RequestWriter(spec, targets[name].pricing if budget else None) for name, spec in endpoints.items()
    }
    for name, spec in endpoints.items():
        opened = await open_endpoints(spec, limits, environ, stack, scrub, keep_bodies=True)
        lanes[name] = LiveLane(
            {where: endpoint.send for where, endpoint in opened.items()},
            live_policy(spec, limits),
            own_limits(endpoint_limits(spec), budget, targets[name]),
            _naming(name, notify),
            leaves_full_tier=spec.on_busy == "standard",
            per_address=spec.per_address,
        )
    apis = {name: spec.api for name, spec in endpoints.items()}
    return LiveEndpoints(targets, apis, writers, lanes, scrub, budget)


def _as_chat(outcome: Outcome, result: Result, api: str) -> Outcome:
    """With a body that a client of chat can read: of another API's error nothing but what it says goes on."""
    answer = outcome.answer
    if api == "chat" or answer.body is None:
        return outcome
    body = None
    if outcome.status == "ok":
        answer_id = f"chatcmpl-{result.request_id or uuid.uuid4().hex}"
        whole = chat_completion(msgspec.structs.asdict(result), answer_id, result.finished_at // 1_000_000)
        body = msgspec.json.encode(whole).decode()
    return msgspec.structs.replace(outcome, answer=msgspec.structs.replace(answer, body=body))


def _naming(endpoint: str, notify: Callable[[str], None]) -> Callable[[str], None]:
    return lambda reason: notify(f"the {endpoint} endpoint: {reason}")


def live_policy(spec: EndpointSpec, limits: Limits) -> RetryPolicy:
    """No request waits for what others say of the endpoint, and none is to blame for it."""
    policy = retry_policy(spec, limits)
    outage_s = min(policy.outage_s, LIVE_OUTAGE_S)
    return replace(policy, outage_s=outage_s, stop_after_same_refusal=0, excuse_outages=False)


def _over_budget(most_usd: Decimal, left_usd: Decimal) -> Outcome:
    """A request that does not fit even if all that are in flight cost nothing: it alone fails, at once.

    With $0.50 left and $0.20 reserved for answers in flight, one that may cost $0.60 is queued, as it may fit when
    those have turned out cheaper; one that may cost $0.71 is not.
    """
    error = f"limits.max_cost_usd: the request may cost ${most_usd:.4f}, ${left_usd:.4f} are left"
    return _not_sent("refused", "budget", error)


def _not_sent(status: Status, error_type: str, error: str) -> Outcome:
    verdict: Verdict = "refused" if status == "refused" else "transient"
    return Outcome(status, Answer(verdict=verdict, error_type=error_type, error=error, unsent=True), 0, ())


def failure_of(answer: Answer) -> tuple[int, str]:
    """HTTP status and code of a failure; 502 for what is wrong between the server and an endpoint."""
    error_type = answer.error_type or "failed"
    if error_type in _FAILURES:
        return _FAILURES[error_type]
    is_clients = answer.verdict == "refused" and error_type.startswith("http_4")
    return (int(error_type.removeprefix("http_")), error_type) if is_clients else (502, error_type)
