"""Requests a minute: when the next request of a lane is due, and the throttle behind that.

All times are seconds on one monotonic clock, which the caller reads. Knows no requests and no answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asyncio_throttle.throttler import Throttler

WINDOW_S = 60.0
# A server counts arrivals, we count departures: the network may bring two bursts closer together.
MARGIN = 1.003


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

    # Worked example, 8 requests a minute, one in 7.5 s: one left at 0 s, so the next is due at 7.5 s. At 3 s the
    # lane is given 600, one in 0.1 s. Two fifths of the way to the next one are behind it; the other three take
    # 0.06 s now, and not 4.5 s, in which a driver would see a worker that has no use for what it was given.

    def at(self, requests_per_minute: float | None, now: float) -> None:
        """Takes this speed from now on; None: as fast as may be."""
        interval_s = 0.0 if requests_per_minute is None else WINDOW_S / requests_per_minute * MARGIN
        if now < self._due and self.interval_s > 0:
            self._due = now + (self._due - now) * interval_s / self.interval_s
        self.interval_s = interval_s

    def wait_s(self, now: float) -> float:
        if now >= self._due:
            return 0.0
        wait_s = max(self._due - now, self.BUNCH_S - self._overslept_s)
        self._wake_at = now + wait_s
        return wait_s

    def due_s(self, now: float) -> float:
        """The same for one who does not wait yet."""
        return 0.0 if now >= self._due else max(self._due - now, self.BUNCH_S)

    def sent(self, now: float) -> None:
        if now >= self._wake_at:
            self._overslept_s, self._wake_at = now - self._wake_at, math.inf
        self._due = max(self._due, now - self.LATE_S) + self.interval_s


class Rate:
    """One speed, kept twice over: the schedule spreads requests evenly, the throttle bounds any short time.

    Worked example, 600 a minute: the schedule has one request due every 100.3 ms. The process is busy for 250 ms,
    so three are late; up to `LATE_S` of that may be made up for, and asyncio-throttle, set 5 % faster (one in any
    95.5 ms), sees to it that they do not leave in one burst.
    """

    def __init__(self) -> None:
        self.requests_per_minute: float | None = None
        self._schedule = Schedule()
        self._throttler: Throttler | None = None

    def set(self, requests_per_minute: float | None, now: float) -> None:
        """Takes this speed from now on; None: as fast as may be."""
        if requests_per_minute == self.requests_per_minute:
            return
        self.requests_per_minute = requests_per_minute
        self._schedule.at(requests_per_minute, now)
        if requests_per_minute is None:
            self._throttler = None
            return
        pattern = cadence(requests_per_minute * Schedule.SPRINT)
        self._throttler = self._throttler or Throttler(pattern.count, pattern.period_s, pattern.poll_s)
        self._throttler.rate_limit = pattern.count
        self._throttler.period = pattern.period_s
        self._throttler.retry_interval = pattern.poll_s

    def wait_s(self, now: float) -> float:
        """How long until the next request is due."""
        return self._schedule.wait_s(now)

    def due_s(self, now: float) -> float:
        """The same for one who may go elsewhere instead."""
        return self._schedule.due_s(now)

    async def throttle(self) -> None:
        """Waits as long as a request would make a burst; one caller at a time."""
        if self._throttler is not None:
            await self._throttler.acquire()  # type: ignore[no-untyped-call]  # it has no types

    def sent(self, now: float) -> None:
        """A request leaves now."""
        self._schedule.sent(now)
