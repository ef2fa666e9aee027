"""What a simulated provider counts: its limits over a sliding minute, and what it has seen; on a clock passed in.

The limits count requests that were admitted, whatever became of them, and the tokens that will be billed for them
(prompt and completion), at the moment of admission. What was turned away (401, 400, a 429) counts nothing.

    requests_per_minute = 3
    at  0 s, 10 s, 20 s   admitted: 3 in the window
    at 30 s               429, wait 30 s: the first admission leaves the window at 60 s
    at 31 s, 32 s, ...    429, wait 29 s, 28 s, ...: that it asked again does not push its turn away
    at 60 s               admitted: the window holds those of 10 s, 20 s and 60 s
    at 61 s               429, wait 9 s

With tokens_per_minute = 1000 besides, a request of 600 tokens at 0 s lets one of 500 wait until 60 s. One of 1500,
more than the whole limit, waits until nothing is left in the window.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.simulate.answer import Reply, TrueBill
    from batchroute.simulate.behaviour import Behaviour


WINDOW_S = 60.0
_COUNTERS = ("by_status", "by_route", "by_fault", "asked", "billed")  # of `Stats`


class Window:
    """What was granted in the last minute, against a limit.

    An amount above the whole limit is granted into an empty window: refused there, it could never be.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._grants: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait_s(self, now_s: float, amount: int) -> float:
        """Seconds until `amount` fits; 0 if it fits now."""
        self._forget(now_s)
        over = self._sum + amount - self.limit
        wait_s = 0.0
        for granted_s, granted in self._grants:
            if over <= 0:
                break
            over -= granted
            wait_s = granted_s + WINDOW_S - now_s
        return wait_s

    def grant(self, now_s: float, amount: int) -> None:
        self._grants.append((now_s, amount))
        self._sum += amount

    def remaining(self, now_s: float) -> int:
        self._forget(now_s)
        return max(0, int(self.limit - self._sum))

    def empty_in_s(self, now_s: float) -> float:
        """Seconds until the window is back in its initial state, as reset headers count."""
        return max(0.0, self._grants[-1][0] + WINDOW_S - now_s) if self._grants else 0.0

    def _forget(self, now_s: float) -> None:
        while self._grants and self._grants[0][0] <= now_s - WINDOW_S:
            self._sum -= self._grants.popleft()[1]


class Remaining(NamedTuple):
    """What is left of a limit on requests or tokens, and when it is back in its initial state."""

    name: str
    limit: float
    left: int
    reset_s: float


class RateLimits:
    """Requests and tokens a minute, either of them optional; what is refused counts against neither."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests = Window(requests_per_minute) if requests_per_minute else None
        self._tokens = Window(tokens_per_minute) if tokens_per_minute else None

    def take(self, now_s: float, tokens: int) -> float:
        """Grants one request of `tokens` and returns 0, or grants nothing and returns the seconds to wait."""
        amounts = ((self._requests, 1), (self._tokens, tokens))
        wanted = [(window, amount) for window, amount in amounts if window]
        wait_s = max((window.wait_s(now_s, amount) for window, amount in wanted), default=0.0)
        if wait_s == 0:
            for window, amount in wanted:
                window.grant(now_s, amount)
        return wait_s

    def windows(self, now_s: float) -> list[Remaining]:
        """What is left of each limit; empty without limits."""
        named = (("requests", self._requests), ("tokens", self._tokens))
        return [
            Remaining(name, window.limit, window.remaining(now_s), window.empty_in_s(now_s))
            for name, window in named
            if window
        ]


class Recorded(msgspec.Struct, frozen=True):
    """One request as it came."""

    route: str
    headers: dict[str, str]
    body: str


class BillLine(msgspec.Struct, frozen=True):
    """The true bill of one model in one tier, to be priced by whoever knows prices.

    Tokens are counted once each: those of the prompt are `input_tokens` (plain), `cached_tokens`, `written_tokens`
    and `written_1h_tokens`; `output_tokens` has the reasoning in it. Where the answers named their cost themselves
    they have a line of their own, whose `cost_usd` is their bill.
    """

    model: str
    tier: str
    answers: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    written_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None

    def prompt_tokens(self) -> int:
        return self.input_tokens + self.cached_tokens + self.written_tokens + self.written_1h_tokens

    def plus(self, bill: TrueBill) -> BillLine:
        """With one more answer in it."""
        hour, written = bill.written_1h_tokens, bill.written_tokens - bill.written_1h_tokens
        return BillLine(
            self.model,
            self.tier,
            self.answers + 1,
            self.input_tokens + bill.prompt_tokens - bill.cached_tokens - bill.written_tokens,
            self.cached_tokens + bill.cached_tokens,
            self.written_tokens + written,
            self.written_1h_tokens + hour,
            self.output_tokens + bill.completion_tokens,
            self.reasoning_tokens + bill.reasoning_tokens,
            None if bill.cost_usd is None else bill.cost_usd + (self.cost_usd or 0.0),
        )


class Stats(msgspec.Struct):
    """The counters since the start or the last reset; requests to /stats, /control and /health are in none.

    `by_route` has keys like "POST /v1/embeddings"; `by_status` has "0" for requests that never got a status
    line. The tokens are those a provider would bill, whether or not the answer arrived; `bill` has them by model,
    tier and kind. `asked` and `billed`
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
    bill: list[BillLine] = []
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
        self._bill: dict[tuple[str, str, bool], BillLine] = {}
        self._arrivals_s: deque[float] = deque(maxlen=behaviour.keep_arrivals)
        self._recorded: deque[Recorded] = deque(maxlen=behaviour.keep_requests)

    def stats(self, in_flight: int) -> Stats:
        """A copy of what has been counted so far."""
        counters = {name: Counter(getattr(self._stats, name)) for name in _COUNTERS}
        bill = [line for _, line in sorted(self._bill.items())]
        return msgspec.structs.replace(
            self._stats,
            in_flight=in_flight,
            prompt_tokens=sum(line.prompt_tokens() for line in bill),
            completion_tokens=sum(line.output_tokens for line in bill),
            bill=bill,
            arrivals_s=list(self._arrivals_s),
            recorded=list(self._recorded),
            **counters,
        )

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
        self._stats.by_status[str(reply.status)] += 1
        bill = reply.bill
        if bill is not None:
            key = (bill.model, bill.tier, bill.cost_usd is not None)
            line = self._bill.get(key) or BillLine(bill.model, bill.tier)
            self._bill[key] = line.plus(bill)
