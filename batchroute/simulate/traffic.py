"""What a simulated provider has seen, counted as a provider counts it: on arrival."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.reply import Reply


class Recorded(msgspec.Struct, frozen=True):
    """One request as it came."""

    route: str
    headers: dict[str, str]
    body: str


class Stats(msgspec.Struct, frozen=True):
    """The counters since the start or the last reset; requests to /stats, /control and /health are in none.

    `by_route` has keys like "POST /v1/embeddings"; `by_status` has "0" for requests that never got a status
    line. The tokens are those a provider would bill, whether or not the answer arrived. `asked` and `billed`
    count requests by `prompt_digest` of the last message (or of each text to embed) where `count_prompts` is
    on. `*_s` are seconds since the start.
    """

    requests: int
    in_flight: int
    max_in_flight: int
    by_status: dict[str, int]
    by_route: dict[str, int]
    by_fault: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    first_arrival_s: float | None
    last_arrival_s: float | None
    arrivals_s: list[float]
    asked: dict[str, int]
    billed: dict[str, int]
    recorded: list[Recorded]


def prompt_digest(text: str) -> str:
    """16 hexadecimal digits that stand for a prompt in `Stats`."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Traffic:
    """The counters while they run."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.requests = 0
        self.max_in_flight = 0
        self.by_status: Counter[str] = Counter()
        self.by_route: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.first_arrival_s: float | None = None
        self.last_arrival_s: float | None = None
        self.arrivals_s: deque[float] = deque(maxlen=behaviour.keep_arrivals)
        self.asked: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.recorded: deque[Recorded] = deque(maxlen=behaviour.keep_requests)

    def arrived(self, route: str, at_s: float, in_flight: int) -> None:
        self.requests += 1
        self.by_route[route] += 1
        self.max_in_flight = max(self.max_in_flight, in_flight)
        self.arrivals_s.append(at_s)
        self.last_arrival_s = at_s
        if self.first_arrival_s is None:
            self.first_arrival_s = at_s

    def record(self, route: str, headers: Mapping[str, str], body: bytes) -> None:
        if self.recorded.maxlen:
            self.recorded.append(Recorded(route, dict(headers), body.decode("utf-8", "replace")))

    def prompted(self, texts: Iterable[str], billed: bool) -> None:
        digests = [prompt_digest(text) for text in texts]
        self.asked.update(digests)
        if billed:
            self.billed.update(digests)

    def replied(self, reply: Reply) -> None:
        self.by_status[str(reply.status)] += 1
        if reply.usage is not None:
            self.prompt_tokens += reply.usage.prompt_tokens or 0
            self.completion_tokens += reply.usage.completion_tokens or 0

    def stats(self, in_flight: int) -> Stats:
        return Stats(
            requests=self.requests,
            in_flight=in_flight,
            max_in_flight=self.max_in_flight,
            by_status=dict(self.by_status),
            by_route=dict(self.by_route),
            by_fault=dict(self.by_fault),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            first_arrival_s=self.first_arrival_s,
            last_arrival_s=self.last_arrival_s,
            arrivals_s=list(self.arrivals_s),
            asked=dict(self.asked),
            billed=dict(self.billed),
            recorded=list(self.recorded),
        )
