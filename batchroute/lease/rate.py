"""Requests a minute of one lane, shared so that a server never counts more than the limit and one.

Knows no reasons why a worker is to have this much or that. All times are seconds on the driver's clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from batchroute.lease.book import Book

WINDOW_S = 60.0


class RateShare(NamedTuple):
    """Requests a minute that a worker may send, none of them before `rests_s` have passed."""

    requests_per_minute: float
    rests_s: float = 0.0


class SharedRate:
    """Who may be sending how fast.

    A worker at a speed of r sends at most (t + 0.03 s) * r / 60.18 s + 1 in any time t (send/rate), so each holder
    may add one request to what its speed comes to in a minute. Two are left free for each that held a share
    within the last minute, and for each that began to.
    """

    # Worked example, 3,000 a minute, 5 holders for long: they have 3,000 - 2 * 5 = 2,990, in any minute they send
    # 2,990 * 60.03 / 60.18 + 5 = 2,987.5 at most. One dies, and another begins: for a minute 6 have held a share
    # and one has begun to, so all speeds come to 2,986. The fullest minute ends when the new one has just begun:
    # 2,990 * 60.03 / 60.18 + 6 = 2,988.5. So many may begin within a minute as make no difference to the limit:
    # what the clocks' margin leaves, 0.0025 * 3,000 + 1 = 8.
    #
    # 10 a minute are one seat. Its holder has all of it, as one process would: at most 10 * 60.03 / 60.18 + 1 in a
    # minute. Who follows it sends nothing for 60 / 10 s after its lease, and so the two are like one.

    def __init__(self, requests_per_minute: float, seats: int, ttl_s: float) -> None:
        """`ttl_s`: how late a grant may be that lets a worker begin."""
        self.limit = requests_per_minute
        self._lately_s = WINDOW_S + ttl_s
        self._seats = seats
        self._book = Book()
        self._begun: deque[float] = deque()
        self._ended: deque[float] = deque()

    def of(self, worker: str) -> float:
        return self._book.of(worker)

    def usable(self, now: float) -> float:
        """What all speeds together may come to now."""
        if self._seats == 1:
            return self.limit
        for times in (self._begun, self._ended):
            while times and times[0] <= now - self._lately_s:
                times.popleft()
        return self.limit - 2 * (len(self._book) + len(self._begun) + len(self._ended))

    def said(self, worker: str, requests_per_minute: float, now: float) -> None:
        """The worker may be sending no faster than this from now on."""
        held = self._book.of(worker)
        self._book.said(worker, requests_per_minute, now)
        if held > 0 and self._book.of(worker) == 0:
            self._ended.append(now)

    def withdraw(self, worker: str) -> None:
        """The worker asks for nothing."""
        self._book.withdraw(worker)

    def grant(self, worker: str, wanted: float, now: float) -> RateShare:
        """As much of `wanted` as may be; a share begins with half of it at least, as it costs the others some."""
        limit = self.usable(now)
        if self._book.of(worker) > 0:
            return RateShare(self._book.grant(worker, wanted, limit))
        if self._seats == 1:
            return self._handed_over(worker, wanted, now)
        if len(self._begun) > self.limit / 400:
            self._book.withdraw(worker)  # nothing is kept free for it meanwhile
            return RateShare(0.0)
        granted = self._book.grant(worker, wanted, limit - 4, least=wanted / 2)
        if granted > 0:
            self._begun.append(now)
        return RateShare(granted)

    def _handed_over(self, worker: str, wanted: float, now: float) -> RateShare:
        """All of a lane with one seat, or nothing."""
        if wanted <= 0 or len(self._book):
            return RateShare(0.0)
        last = self._ended[-1] if self._ended else -math.inf
        self._ended.clear()
        interval_s = WINDOW_S / self.limit * 1.003
        return RateShare(self._book.grant(worker, wanted, self.limit), max(0.0, last + interval_s - now))
