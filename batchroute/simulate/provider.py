"""Decides what a simulated provider answers: plain code on a clock that is passed in, no sockets."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.simulate import answers, faults
from batchroute.simulate.answers import Reply, error_reply
from batchroute.simulate.traffic import RateLimits, Traffic, prompt_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.traffic import Stats

CHAT, EMBEDDINGS, MODELS = "POST /v1/chat/completions", "POST /v1/embeddings", "GET /v1/models"
MARKER = re.compile(r"\[\[fault:(\w+)(?::(\d+))?\]\]")


class Provider:
    """One provider: its behaviour, its limits, what it has seen.

    A prompt with `[[fault:NAME]]` in it always gets that fault, with `[[fault:NAME:2]]` the first two times;
    the other prompts get the faults that are drawn for them.
    """

    def __init__(self, behaviour: Behaviour, start_s: float) -> None:
        self._start_s = start_s
        self._numbers = itertools.count(1)
        self._in_flight = 0
        self._set(behaviour)
        self._reset()

    def control(self, changes: Mapping[str, Any], reset: bool = False) -> None:
        """Changes settings at once; `reset` starts counters (keep_*), limits and repeated faults afresh.

        UsageFault for an unknown setting or fault, or a bad value; nothing is changed then.
        """
        self._set(self.behaviour.changed(changes))
        if reset:
            self._reset()
        elif {"requests_per_minute", "tokens_per_minute"} & set(changes):
            self._limits = self._fresh_limits()

    def stats(self) -> Stats:
        return self._traffic.stats(self._in_flight)

    def receive(self, route: str, headers: Mapping[str, str], body: bytes, now_s: float) -> Reply:
        """The answer to one request, which is in flight from here to `release`; `route` is `POST /v1/...`."""
        self._in_flight += 1
        self._traffic.arrived(route, now_s - self._start_s, self._in_flight)
        self._traffic.record(route, headers, body)
        reply = self._turned_away(headers) or self._answered(route, body, now_s)
        self._traffic.replied(reply)
        return self._with_headers(reply, now_s)

    def release(self) -> None:
        self._in_flight -= 1

    def _set(self, behaviour: Behaviour) -> None:
        problem = faults.unknown(behaviour.faults)
        if problem:
            raise UsageFault(problem)
        self.behaviour = behaviour
        self._rates = [(name, rate) for name, rate in behaviour.rates() if rate]

    def _reset(self) -> None:
        self._traffic = Traffic(self.behaviour)
        self._limits = self._fresh_limits()
        # Only prompts that were failed are in it, so that a long run of mostly good answers stays small.
        self._failed: dict[str, int] = {}

    def _fresh_limits(self) -> RateLimits:
        return RateLimits(self.behaviour.requests_per_minute, self.behaviour.tokens_per_minute)

    def _turned_away(self, headers: Mapping[str, str]) -> Reply | None:
        """The refusals that do not depend on what is asked."""
        behaviour = self.behaviour
        if behaviour.down:
            return Reply(0, delivery="reset")
        if behaviour.api_key is not None and (key := _key(headers)) != behaviour.api_key:
            return error_reply(401, "invalid_api_key", f"Incorrect API key provided: {key}.")
        if behaviour.max_concurrency is not None and self._in_flight > behaviour.max_concurrency:
            return self._too_many("requests in flight", None)
        return None

    def _answered(self, route: str, body: bytes, now_s: float) -> Reply:
        if route == MODELS:
            return answers.models()
        if route not in {CHAT, EMBEDDINGS}:
            return error_reply(404, "unknown_url", f"Unknown request URL: {route}.")
        try:
            request = self._read(route, body)
        except ValueError as fault:
            return error_reply(400, "invalid_request_error", f"Invalid request: {fault}")
        reply = self._admitted(request, now_s)
        if self.behaviour.count_prompts:
            self._traffic.prompted(request.texts(), billed=reply.usage is not None)
        return reply

    def _read(self, route: str, body: bytes) -> answers.ChatBody | answers.EmbeddingBody:
        if route == CHAT:
            return answers.read_chat(body)
        return answers.read_embed(body, self.behaviour)

    def _admitted(self, request: answers.ChatBody | answers.EmbeddingBody, now_s: float) -> Reply:
        """The flawless answer, unless a limit or a fault stands against it."""
        text = "\n".join(request.texts())
        digest = prompt_digest(text)
        flawless = self._flawless(request, digest)
        usage = flawless.usage
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) if usage else 0
        # Composed before it is admitted: the limit counts what will be billed, which the answer's length decides.
        wait_s = self._limits.take(now_s, tokens)
        if wait_s:
            return self._too_many("requests or tokens per minute", wait_s)
        delayed = replace(flawless, after_s=self._latency_s(digest))
        return self._with_fault(delayed, text, digest)

    def _flawless(self, request: answers.ChatBody | answers.EmbeddingBody, digest: str) -> Reply:
        if isinstance(request, answers.EmbeddingBody):
            return answers.embed(request, self.behaviour)
        return answers.complete(request, self._draw("length", digest, 0), next(self._numbers), self.behaviour)

    def _with_fault(self, reply: Reply, text: str, digest: str) -> Reply:
        # A marker decides alone: of a prompt that has one no fault is drawn.
        marker = MARKER.search(text) if "[[fault:" in text else None
        if marker is None and not self._rates:
            return reply
        failed = self._failed.get(digest, 0)
        name = _marked(marker, failed) if marker else self._drawn(digest, failed)
        if name is None:
            return reply
        fault = faults.find(name)
        if fault is None:
            return error_reply(400, "unknown_fault", faults.unknown({name: 1.0}) or name)
        self._failed[digest] = failed + 1
        self._traffic.failed(name)
        return replace(fault(reply, self.behaviour), after_s=reply.after_s)

    def _drawn(self, digest: str, failed: int) -> str | None:
        draw = self._draw("fault", digest, failed)
        for name, rate in self._rates:
            if draw < rate:
                return name
            draw -= rate
        return None

    # What is drawn depends on the prompt and its failures so far, not on the order of arrival: with error_rate =
    # 0.1 a prompt whose first draw is 0.04 fails its first attempt in every run of this seed, whatever else is
    # sent, and its second attempt has a draw of its own (0.62: answered). Other purposes draw by themselves, so
    # that a change of error_rate leaves all lengths and latencies as they were.
    def _draw(self, purpose: str, digest: str, failed: int) -> float:
        """In [0, 1), the same for the same seed, purpose, prompt and number of failures before."""
        salted = f"{purpose} {self.behaviour.seed} {failed} {digest}".encode()
        return int.from_bytes(hashlib.blake2b(salted, digest_size=6).digest(), "big") / 2**48

    def _latency_s(self, digest: str) -> float:
        jitter_s = self.behaviour.jitter_s
        extra_s = jitter_s * self._draw("latency", digest, self._failed.get(digest, 0)) if jitter_s else 0.0
        return self.behaviour.latency_s + extra_s

    def _too_many(self, what: str, wait_s: float | None) -> Reply:
        asked_s = wait_s if self.behaviour.retry_after_s is None else self.behaviour.retry_after_s
        message = f"Rate limit reached: too many {what}."
        return error_reply(429, "rate_limit_exceeded", message, faults.retry_after(asked_s))

    def _with_headers(self, reply: Reply, now_s: float) -> Reply:
        """With the headers that every answer carries."""
        request_id = {"x-request-id": f"req_simulated_{next(self._numbers):08x}"}
        return replace(reply, headers={**request_id, **self._limits.headers(now_s), **reply.headers})


def _key(headers: Mapping[str, str]) -> str:
    """The key sent, as a bearer token or in the header `api-key`; "" where there is none."""
    return headers.get("api-key") or headers.get("Authorization", "").removeprefix("Bearer ")


def _marked(marker: re.Match[str], failed: int) -> str | None:
    name, times = marker.groups()
    return None if times is not None and failed >= int(times) else name
