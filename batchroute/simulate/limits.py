"""Limits over a sliding minute, on a clock that is passed in. Knows no requests, only amounts.

What they count: requests that were admitted, whatever became of them, and the tokens that will be billed for them
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

from collections import deque

WINDOW_S = 60.0


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
        """Seconds until the window is back in its initial state, as x-ratelimit-reset-* counts."""
        return max(0.0, self._grants[-1][0] + WINDOW_S - now_s) if self._grants else 0.0

    def _forget(self, now_s: float) -> None:
        while self._grants and self._grants[0][0] <= now_s - WINDOW_S:
            self._sum -= self._grants.popleft()[1]


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

    def headers(self, now_s: float) -> dict[str, str]:
        """x-ratelimit-* as OpenAI sends them; empty without limits."""
        headers: dict[str, str] = {}
        for name, window in (("requests", self._requests), ("tokens", self._tokens)):
            if window:
                headers[f"x-ratelimit-limit-{name}"] = f"{window.limit:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = str(window.remaining(now_s))
                headers[f"x-ratelimit-reset-{name}"] = duration(window.empty_in_s(now_s))
        return headers


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: `20ms`, `7.66s`, `6m0s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:g}s"
