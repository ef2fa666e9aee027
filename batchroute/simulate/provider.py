"""Decides what a simulated provider answers: plain code on a clock that is passed in, no sockets."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from batchroute.errors import UsageFault
from batchroute.simulate import chat, faults, messages, responses
from batchroute.simulate.answer import Reply, refused, reply_to
from batchroute.simulate.cache import PromptCache
from batchroute.simulate.compose import compose, prompt_tokens
from batchroute.simulate.damage import retry_after
from batchroute.simulate.embeddings import embed, read_embed
from batchroute.simulate.models import models, one_model
from batchroute.simulate.traffic import RateLimits, Traffic, prompt_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.dialect import SimulatedDialect
    from batchroute.simulate.question import Question
    from batchroute.simulate.traffic import Stats

CHAT, RESPONSES, MESSAGES = "POST /v1/chat/completions", "POST /v1/responses", "POST /v1/messages"
EMBEDDINGS, MODELS = "POST /v1/embeddings", "GET /v1/models"
DIALECTS: Mapping[str, SimulatedDialect] = {
    CHAT: chat.CHAT,
    RESPONSES: responses.RESPONSES,
    MESSAGES: messages.MESSAGES,
}
MARKER = re.compile(r"\[\[fault:(\w+)(?::(\d+))?\]\]")


class Provider:
    """One provider: its behaviour, its limits, its prompt cache, what it has seen.

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
        """Changes settings at once; `reset` starts counters (keep_*), limits, cache and repeated faults afresh.

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
        dialect = DIALECTS.get(route) or (messages.MESSAGES if _is_anthropic(headers) else chat.CHAT)
        reply = self._turned_away(dialect, headers) or self._answered(route, headers, body, now_s)
        self._traffic.replied(reply)
        return self._finished(reply, dialect, now_s)

    def release(self) -> None:
        self._in_flight -= 1

    def _set(self, behaviour: Behaviour) -> None:
        problem = faults.unknown(behaviour.faults_named())
        if problem:
            raise UsageFault(problem)
        self.behaviour = behaviour
        self._rates = [(name, rate) for name, rate in behaviour.rates() if rate]
        self._poison = [(name, rate) for name, rate in behaviour.poison.items() if rate]

    def _reset(self) -> None:
        self._traffic = Traffic(self.behaviour)
        self._limits = self._fresh_limits()
        self._cache = PromptCache()
        # Only prompts that were failed are in it, so that a long run of mostly good answers stays small.
        self._failed: dict[str, int] = {}

    def _fresh_limits(self) -> RateLimits:
        return RateLimits(self.behaviour.requests_per_minute, self.behaviour.tokens_per_minute)

    def _turned_away(self, dialect: SimulatedDialect, headers: Mapping[str, str]) -> Reply | None:
        """The refusals that do not depend on what is asked."""
        behaviour = self.behaviour
        if behaviour.down:
            return Reply(0, delivery="reset")
        if behaviour.api_key is not None and (key := _key(headers)) != behaviour.api_key:
            return refused(401, "invalid_api_key", f"Incorrect API key provided: {key}.")
        if dialect.wants is not None and dialect.wants not in headers:
            return refused(400, "invalid_request_error", f"{dialect.wants}: header is required")
        if behaviour.max_concurrency is not None and self._in_flight > behaviour.max_concurrency:
            return self._too_many("requests in flight", None)
        return None

    def _answered(self, route: str, headers: Mapping[str, str], body: bytes, now_s: float) -> Reply:
        if route == MODELS:
            return models(anthropic=_is_anthropic(headers))
        if route.startswith(f"{MODELS}/"):
            return one_model(route.removeprefix(f"{MODELS}/"), anthropic=_is_anthropic(headers))
        try:
            if route == EMBEDDINGS:
                return self._embedded(body, now_s)
            if route in DIALECTS:
                return self._asked(DIALECTS[route].read(body), now_s)
        except ValueError as fault:
            return refused(400, "invalid_request_error", f"Invalid request: {fault}")
        return refused(404, "unknown_url", f"Unknown request URL: {route}.")

    def _embedded(self, body: bytes, now_s: float) -> Reply:
        request = read_embed(body, self.behaviour)
        texts = request.texts()
        text = "\n".join(texts)
        return self._counted(
            texts, self._admitted(embed(request, self.behaviour), text, prompt_digest(text), now_s)
        )

    def _asked(self, question: Question, now_s: float) -> Reply:
        """The answer to a valid request; ValueError where its terms contradict each other."""
        (text,) = texts = question.texts()
        digest = prompt_digest(text)
        use = self._cache.use(
            question, prompt_tokens(question, self.behaviour), self.behaviour.characters_per_token
        )

        def draw(purpose: str) -> float:
            return self._draw(purpose, digest, 0)

        flawless = reply_to(question, compose(question, use, draw, next(self._numbers), self.behaviour))
        reply = self._busy(question, digest) or self._admitted(flawless, text, digest, now_s)
        if use.entries and reply.bill is not None:
            self._cache.keep(use)
        return self._counted(texts, reply)

    def _counted(self, texts: list[str], reply: Reply) -> Reply:
        if self.behaviour.count_prompts:
            self._traffic.prompted(texts, billed=reply.bill is not None)
        return reply

    def _busy(self, question: Question, digest: str) -> Reply | None:
        """The refusal of a tier that is full."""
        if not self.behaviour.busy:
            return None
        rate = self.behaviour.busy.get(question.terms().tier or "default", 0.0)
        tries = self._failed.get(digest, 0)
        if self._draw("busy", digest, tries) >= rate:
            return None
        self._failed[digest] = tries + 1
        return self._damaged(self.behaviour.busy_error, Reply(200))

    def _admitted(self, flawless: Reply, text: str, digest: str, now_s: float) -> Reply:
        """The flawless answer, unless a limit or a fault stands against it."""
        bill = flawless.bill
        tokens = bill.prompt_tokens + bill.completion_tokens if bill else 0
        # Composed before it is admitted: the limit counts what will be billed, which the answer's length decides.
        wait_s = self._limits.take(now_s, tokens)
        if wait_s:
            return self._too_many("requests or tokens per minute", wait_s)
        latency_s = self._latency_s(digest)
        reply = self._with_fault(flawless, text, digest)
        return replace(reply, after_s=latency_s) if latency_s else reply

    def _with_fault(self, reply: Reply, text: str, digest: str) -> Reply:
        # A marker decides alone: of a prompt that has one no fault is drawn.
        marker = MARKER.search(text) if "[[fault:" in text else None
        if marker is None and not self._rates and not self._poison:
            return reply
        failed = self._failed.get(digest, 0)
        name = _marked(marker, failed) if marker else self._drawn(digest, failed)
        if name is None:
            return reply
        self._failed[digest] = failed + 1
        return self._damaged(name, reply)

    def _damaged(self, name: str, reply: Reply) -> Reply:
        fault = faults.find(name)
        if fault is None:
            return refused(400, "unknown_fault", faults.unknown([name]) or name)
        self._traffic.failed(name)
        return fault(reply, self.behaviour)

    def _drawn(self, digest: str, failed: int) -> str | None:
        """The fault of a prompt that always has one, else one by chance."""
        poison = _hit(self._poison, self._draw("poison", digest, 0)) if self._poison else None
        return poison or _hit(self._rates, self._draw("fault", digest, failed))

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
        return refused(429, "rate_limit_exceeded", message, retry_after(asked_s))

    def _finished(self, reply: Reply, dialect: SimulatedDialect, now_s: float) -> Reply:
        """With the headers that every answer carries, and an error in the dialect's shape."""
        request_id = f"req_simulated_{next(self._numbers):08x}"
        headers = {dialect.request_id: request_id, **dialect.limits(self._limits.windows(now_s)), **reply.headers}
        if reply.refusal is None:
            return replace(reply, headers=headers)
        body = msgspec.json.encode(dialect.error(reply.refusal, request_id))
        return replace(reply, headers=headers, body=body)


def _is_anthropic(headers: Mapping[str, str]) -> bool:
    return messages.VERSION in headers


def _key(headers: Mapping[str, str]) -> str:
    """The key sent, as a bearer token or in the header `x-api-key` or `api-key`; "" where there is none."""
    named = headers.get("x-api-key") or headers.get("api-key")
    return named or headers.get("Authorization", "").removeprefix("Bearer ")


def _hit(rates: list[tuple[str, float]], draw: float) -> str | None:
    for name, rate in rates:
        if draw < rate:
            return name
        draw -= rate
    return None


def _marked(marker: re.Match[str], failed: int) -> str | None:
    name, times = marker.groups()
    return None if times is not None and failed >= int(times) else name
