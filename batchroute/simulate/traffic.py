"""What a simulated provider has seen, counted as a provider counts it: on arrival."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from copy import deepcopy
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


class Stats(msgspec.Struct):
    """The counters since the start or the last reset; requests to /stats, /control and /health are in none.

    `by_route` has keys like "POST /v1/embeddings"; `by_status` has "0" for requests that never got a status
    line. The tokens are those a provider would bill, whether or not the answer arrived. `asked` and `billed`
    count requests by `prompt_digest` of the last message (or of each text to embed) where `count_prompts` is
    on. `*_s` are seconds since the start.
    """

    requests: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_status: dict[str, int] = msgspec.field(default_factory=Counter)
    by_route: dict[str, int] = msgspec.field(default_factory=Counter)
    by_fault: dict[str, int] = msgspec.field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_arrival_s: float | None = None
    last_arrival_s: float | None = None
    arrivals_s: list[float] = []
    asked: dict[str, int] = msgspec.field(default_factory=Counter)
    billed: dict[str, int] = msgspec.field(default_factory=Counter)
    recorded: list[Recorded] = []


def prompt_digest(text: str) -> str:
    """16 hexadecimal digits that stand for a prompt in `Stats`."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Traffic:
    """Counts while the provider runs; of arrivals and requests it keeps the last few."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._stats = Stats()
        self._arrivals_s: deque[float] = deque(maxlen=behaviour.keep_arrivals)
        self._recorded: deque[Recorded] = deque(maxlen=behaviour.keep_requests)

    def stats(self, in_flight: int) -> Stats:
        """A copy of what has been counted so far."""
        stats = deepcopy(self._stats)
        stats.in_flight = in_flight
        stats.arrivals_s = list(self._arrivals_s)
        stats.recorded = list(self._recorded)
        return stats

    def arrived(self, route: str, at_s: float, in_flight: int) -> None:
        stats = self._stats
        stats.requests += 1
        stats.by_route[route] += 1
        stats.max_in_flight = max(stats.max_in_flight, in_flight)
        stats.last_arrival_s = at_s
        if stats.first_arrival_s is None:
            stats.first_arrival_s = at_s
        self._arrivals_s.append(at_s)

    def record(self, route: str, headers: Mapping[str, str], body: bytes) -> None:
        if self._recorded.maxlen:
            self._recorded.append(Recorded(route, dict(headers), body.decode("utf-8", "replace")))

    def prompted(self, texts: Iterable[str], billed: bool) -> None:
        for digest in map(prompt_digest, texts):
            self._stats.asked[digest] += 1
            if billed:
                self._stats.billed[digest] += 1

    def failed(self, fault: str) -> None:
        self._stats.by_fault[fault] += 1

    def replied(self, reply: Reply) -> None:
        stats = self._stats
        stats.by_status[str(reply.status)] += 1
        if reply.usage is not None:
            stats.prompt_tokens += reply.usage.prompt_tokens or 0
            stats.completion_tokens += reply.usage.completion_tokens or 0
