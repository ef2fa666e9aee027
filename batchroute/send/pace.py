"""The speed that a server allows, learnt from its 429s: decisions on a clock that the caller reads.

Nothing here sleeps or sends. All times are seconds on one monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from batchroute.send.rate import WINDOW_S


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

    # Worked example: a server takes 600 requests in any minute and the lane knows no limit. It sends 600 within
    # 9 s; the next is answered 429, "retry after 51 s". All that is known is that 600 in 9 s were taken, so the
    # lane rests and goes on at 97 % of that, 3,880 a minute. 600 later, the next 429: now 600 in a minute were
    # taken, and it goes on at 97 % of about that. It holds that for `HOLD_S`, tries 0.5 % more, 10 s later 1 %
    # more than that, and so on, until it is told off again and falls to 582 a minute.
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

    def forget(self) -> None:
        """All 429s so far were single requests' own, and said nothing of the speed."""
        self.requests_per_minute, self.resume_at, self._rests = None, 0.0, 0
        self._episode_until, self._fell_to = -math.inf, math.inf

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
