"""How fast a lane may go, when it waits and when it stops: decisions on a clock that the caller reads.

Plain synchronous values and small state machines; nothing here sleeps or sends. All times are seconds on one
monotonic clock.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Row = TypeVar("Row")  # whatever tells rows apart

WINDOW_S = 60.0
# A server counts arrivals, we count departures: the network may bring two bursts closer together.
MARGIN = 1.003
TOKEN_MARGIN = 1.008  # a window of tokens may be full to the last one, so it has no other slack


@dataclass(frozen=True, slots=True)
class Cadence:
    """At most `count` requests in any `period_s`; `poll_s` is how often a waiter looks again."""

    count: int
    period_s: float
    poll_s: float


def cadence(requests_per_minute: float) -> Cadence:
    """A whole count and the period that goes with it.

    asyncio-throttle admits while fewer than its count left within the period, so a fraction would be
    rounded up and break the limit; instead the count is a tenth of a second's worth, at least 1, and the
    period is stretched.
    """
    count = max(1, math.floor(requests_per_minute / 600))
    period_s = WINDOW_S * count / requests_per_minute * MARGIN
    return Cadence(count, period_s, min(0.05, max(0.001, period_s / 200)))


@dataclass(slots=True)
class Schedule:
    """When the next request of a lane is due.

    A request that leaves up to `LATE_S` late (the process was busy elsewhere) does not put off those after it, or
    a lane would lose a little at each of them. In any time t thus leave at most (t + LATE_S) / interval_s + 1.
    Whoever waits at all waits `BUNCH_S`, less what the process oversleeps by itself, for several are due then and
    leave in one go: at 500 a second, waking up for each would take more CPU time than the requests.
    """

    interval_s: float = 0.0
    _due: float = -math.inf
    _wake_at: float = math.inf  # of the last wait
    _overslept_s: float = 0.0

    LATE_S = 0.03
    BUNCH_S = 0.01
    SPRINT = 1.05  # how much faster than its speed a lane may be for a moment, to make up for what it is late

    def at(self, requests_per_minute: float | None) -> None:
        """Takes this speed from now on; None: as fast as may be."""
        self.interval_s = 0.0 if requests_per_minute is None else WINDOW_S / requests_per_minute * MARGIN

    def wait_s(self, now: float) -> float:
        if now >= self._due:
            return 0.0
        wait_s = max(self._due - now, self.BUNCH_S - self._overslept_s)
        self._wake_at = now + wait_s
        return wait_s

    def sent(self, now: float) -> None:
        if now >= self._wake_at:
            self._overslept_s, self._wake_at = now - self._wake_at, math.inf
        self._due = max(self._due, now - self.LATE_S) + self.interval_s


@dataclass(slots=True)
class TokenWindow:
    """Tokens sent within the last 60 s, by estimate until the true usage is known.

    Requests that leave within the same `TOGETHER_S` share an entry, which counts as long as the last of them: at
    thousands a second, an entry for each would take more memory than the requests.
    """

    tokens_per_minute: int
    _sent: deque[TokenEntry] = field(default_factory=deque)
    _total: int = 0

    TOGETHER_S = 0.05

    def wait_s(self, tokens: int, now: float) -> float:
        """0 where `tokens` fit now; else how long until the window may have room for them.

        A request larger than the whole limit waits for an empty window and then goes alone.
        """
        self._forget(now)
        room = self.tokens_per_minute - tokens
        if self._total <= max(room, 0):
            return 0.0
        left = self._total
        for entry in self._sent:
            left -= entry.tokens
            if left <= max(room, 0):
                return entry.sent_at + WINDOW_S * TOKEN_MARGIN - now
        return WINDOW_S

    def take(self, tokens: int, now: float) -> TokenEntry:
        """Counts a request that leaves now."""
        self._total += tokens
        if self._sent and self._sent[-1].sent_at // self.TOGETHER_S == now // self.TOGETHER_S:
            entry = self._sent[-1]
            entry.sent_at, entry.tokens = now, entry.tokens + tokens
            return entry
        entry = TokenEntry(now, tokens)
        self._sent.append(entry)
        return entry

    def correct(self, entry: TokenEntry, taken: int, used: int, now: float) -> None:
        """Puts the true usage of a request in the place of what it had taken."""
        if now - entry.sent_at < WINDOW_S * TOKEN_MARGIN and not entry.forgotten:
            self._total += used - taken
            entry.tokens += used - taken

    def _forget(self, now: float) -> None:
        while self._sent and now - self._sent[0].sent_at >= WINDOW_S * TOKEN_MARGIN:
            entry = self._sent.popleft()
            entry.forgotten = True
            self._total -= entry.tokens


@dataclass(slots=True)
class TokenEntry:
    sent_at: float  # the last of those that share it
    tokens: int
    forgotten: bool = False


@dataclass(slots=True)
class Pace:
    """Finds the speed a server allows where it says 429, and grows back.

    One 429 starts an episode: the lane rests as long as the server asks and goes on a little slower than what
    the server took lately. Further 429s of requests sent before the rest ended belong to the same episode: they
    only make the measure of what it took exact. The speed is then held for `HOLD_S`, because a server that
    counts over a minute shows what a speed is worth no sooner, and grows faster from step to step until the next
    429; past twice the speed of the last fall the limit is taken for gone.

    A few stray ones among many that the server takes are no limit: the lane does not rest for them, and keeps the
    speed it has.
    """

    requests_per_minute: float | None = None
    resume_at: float = 0.0
    _sent: dict[int, int] = field(default_factory=dict)  # by second, less those known to be refused
    _refused: dict[int, int] = field(default_factory=dict)  # by second
    _first_sent_at: float = math.inf
    _episode_until: float = -math.inf
    _before: float = math.inf  # the speed when the episode began
    _taken: int = 0  # within the `_span_s` before the episode
    _span_s: float = WINDOW_S
    _fell_to: float = math.inf
    _rests: int = 0  # since the server last took a request
    _steps: int = 0  # of growth since the last fall
    _grow_at: float = 0.0

    FALL = 0.97
    HOLD_S = 60.0
    GROW_EVERY_S = 10.0
    GROWTH = 0.005  # of the first step; the second grows by twice as much, and so on
    REST_S = 1.0  # where the server does not say how long; twice as long each time it takes nothing
    LONGEST_REST_S = 60.0
    STRAY = 0.02  # of the requests sent lately
    LATELY_S = 10

    def sent(self, now: float) -> None:
        """A request leaves."""
        self._first_sent_at = min(self._first_sent_at, now)
        second = math.floor(now)
        self._sent[second] = self._sent.get(second, 0) + 1
        while next(iter(self._sent)) <= second - WINDOW_S:
            oldest = next(iter(self._sent))
            del self._sent[oldest]
            self._refused.pop(oldest, None)

    def accepted(self, sent_at: float, now: float) -> None:
        """The server took a request that left at `sent_at`."""
        if sent_at >= self._episode_until:
            self._rests = 0
        if self.requests_per_minute is not None and now >= self._grow_at:
            self._grow(self.requests_per_minute, now)

    def rate_limited(self, sent_at: float, now: float, retry_after_s: float | None) -> None:
        """The server answered 429 to a request that left at `sent_at`."""
        if (second := math.floor(sent_at)) in self._sent:
            self._sent[second] -= 1
            self._refused[second] = self._refused.get(second, 0) + 1
        if retry_after_s is None and sent_at >= self._episode_until and self._is_stray(now):
            return
        if retry_after_s is not None:
            self.resume_at = max(self.resume_at, now + retry_after_s)
        if sent_at >= self._episode_until:
            self._begin_episode(now, retry_after_s)
        else:
            self._taken -= 1
        self._fall()

    def _is_stray(self, now: float) -> bool:
        """Whether the server takes nearly all that is sent; a lane that knew no limit then keeps to this speed."""
        since = math.floor(now) - self.LATELY_S
        refused = sum(count for second, count in self._refused.items() if second >= since)
        sent = refused + sum(count for second, count in self._sent.items() if second >= since)
        if refused > self.STRAY * sent:
            return False
        if self.requests_per_minute is None:
            span_s = max(0.1, now - max(since, self._first_sent_at))
            self.requests_per_minute = self._fell_to = sent * WINDOW_S / span_s
            self._steps, self._grow_at = 0, now + self.GROW_EVERY_S
        return True

    def _begin_episode(self, now: float, retry_after_s: float | None) -> None:
        rest_s = min(self.LONGEST_REST_S, self.REST_S * 2**self._rests)
        if retry_after_s is None:
            self.resume_at = max(self.resume_at, now + rest_s)
        elif self._rests:  # the wait it asked for was no use: one that asks for 0 s would be asked without end
            self.resume_at = max(self.resume_at, now + rest_s / 2)
        self._rests += 1
        self._episode_until = self.resume_at
        self._before = math.inf if self.requests_per_minute is None else self.requests_per_minute
        since = math.floor(now - WINDOW_S) + 1
        self._span_s = max(1.0, now - max(since, self._first_sent_at))
        self._taken = sum(count for second, count in self._sent.items() if second >= since)

    def _fall(self) -> None:
        """To what the server took; where it took nothing there is nothing to learn but to rest."""
        if self._taken > 0:
            taken_per_minute = self._taken * WINDOW_S / self._span_s
            self._fell_to = max(1.0, self.FALL * min(taken_per_minute, self._before))
            self.requests_per_minute = self._fell_to
        self._steps = 0
        self._grow_at = self.resume_at + self.HOLD_S

    def _grow(self, speed: float, now: float) -> None:
        self._steps += 1
        self._grow_at = now + self.GROW_EVERY_S
        grown = speed * (1 + self.GROWTH * self._steps)
        self.requests_per_minute = None if grown > 2 * self._fell_to else grown


@dataclass(slots=True)
class Breaker(Generic[Row]):
    """Tells an endpoint that is away from a row that is bad.

    Opens when `ROWS_TO_OPEN` different rows in a row failed for passing reasons with no success between. While
    open one probe at a time is sent, at growing intervals; any answer closes it.
    """

    outage_s: float
    opened_at: float | None = None
    _probe_at: float = 0.0
    _probe_wait_s: float = 0.0
    _ever_answered: bool = False
    _streak: dict[Row, int] = field(default_factory=dict)

    ROWS_TO_OPEN = 5
    FIRST_PROBE_S = 1.0
    LONGEST_PROBE_S = 30.0
    FIRST_ANSWER_S = 60.0  # a mistyped host is not waited for as long as a known one

    @property
    def open(self) -> bool:
        return self.opened_at is not None

    def wait_s(self, now: float) -> float:
        """0 where a request may leave now; infinite while a probe is out."""
        return max(0.0, self._probe_at - now) if self.open else 0.0

    def probing(self) -> None:
        """The request that leaves now is the probe; no other may until it is back."""
        self._probe_at = math.inf

    def probe_lost(self, now: float) -> None:
        """Nobody waits for the probe any more; the next request may be one."""
        if self.open:
            self._probe_at = now

    def answered(self, *, well: bool) -> None:
        """The endpoint is there: it answered, whatever it said; `well` where that was a success."""
        self._ever_answered = True
        self.opened_at = None
        if well:
            self._streak.clear()

    def suspects(self, row: Row) -> bool:
        """Whether the row's last failures may yet turn out to be the first ones of an outage."""
        return row in self._streak

    def failed(self, row: Row, now: float, *, probe: bool) -> dict[Row, int]:
        """A row's attempt failed; returns the failures that an outage now explains, so that no row pays."""
        self._streak[row] = self._streak.get(row, 0) + 1
        if self.open and probe:
            self._probe_wait_s = min(self.LONGEST_PROBE_S, 2 * self._probe_wait_s)
            self._probe_at = now + self._probe_wait_s
        elif not self.open and len(self._streak) >= self.ROWS_TO_OPEN:
            self.opened_at = now
            self._probe_wait_s = min(self.FIRST_PROBE_S, self.outage_s)
            self._probe_at = now + self._probe_wait_s
        return self._forgiven() if self.open else {}

    def _forgiven(self) -> dict[Row, int]:
        forgiven, self._streak = self._streak, {}
        return forgiven

    def gave_up(self, now: float) -> bool:
        """Whether the endpoint was away for longer than the job waits."""
        longest_s = self.outage_s if self._ever_answered else min(self.outage_s, self.FIRST_ANSWER_S)
        return self.opened_at is not None and now - self.opened_at >= longest_s


_NUMBERS = re.compile(r"[\w-]*\d[\w-]*")


@dataclass(slots=True)
class SameRefusal:
    """Watches a lane's first answers: the same refusal again and again is a bad parameter, not bad rows."""

    stop_after: int
    _first: str | None = None
    _count: int = 0
    _over: bool = False

    def watching(self) -> bool:
        """Whether the refusals so far may still turn out to be the lane's fault rather than the rows'."""
        return self.stop_after > 0 and not self._over

    def ok(self) -> None:
        self._over = True

    def refused(self, refusal: str) -> bool:
        """Whether this refusal is one too many; numbers and ids in it (lengths, requests) make no difference."""
        if not self.watching():
            return False
        kind = _NUMBERS.sub("#", refusal)
        self._first = self._first or kind
        self._over = kind != self._first
        self._count += 1
        return self.watching() and self._count >= self.stop_after
