"""Limits over a sliding minute, on a clock that is passed in. Knows no requests, only amounts."""

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


class Limits:
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
        said: dict[str, str] = {}
        for name, window in (("requests", self._requests), ("tokens", self._tokens)):
            if window:
                said[f"x-ratelimit-limit-{name}"] = f"{window.limit:.0f}"
                said[f"x-ratelimit-remaining-{name}"] = str(window.remaining(now_s))
                said[f"x-ratelimit-reset-{name}"] = duration(window.empty_in_s(now_s))
        return said


def duration(seconds: float) -> str:
    """Seconds in OpenAI's spelling: `20ms`, `7.66s`, `6m0s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:g}s"
