"""Is a service tier full, for one request or for all of them? Decisions on a clock that the caller reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchroute.send.retry import growing_s


@dataclass(slots=True)
class FullTier:
    """When a lane rests because its tier takes nothing, and for how long that has been so.

    A request that is told so waits by itself, and others go on. But where `TO_REST` of them have been told so with
    no other answer between, the lane rests as long as the server asks, else 1 s, then 2, 4 ... 60 s.
    """

    # Worked example, 64 requests at a time, and a flex tier that closes at 0 s. All 64 are told so at 0.1 s: the
    # fifth has the lane rest until 1.1 s, and the other 59 belong to that rest. At 1.1 s 64 leave again, are told
    # so again, and it rests until 3.3 s; in the end 64 leave in a minute. One is answered: the tier has room, and
    # the next to be told so waits by itself again.

    resume_at: float = 0.0
    _since: float = math.inf  # when the first was sent that was told so, with no other answer since
    _told: int = 0
    _rests: int = 0

    TO_REST = 5

    def busy(self, sent_at: float, now: float, retry_after_s: float | None) -> None:
        """A request that left at `sent_at` was told that the tier is full."""
        self._since = min(self._since, sent_at)
        self._told += 1
        if self._told >= self.TO_REST and sent_at >= self.resume_at:
            self._rests += 1
            self.resume_at = now + (retry_after_s or growing_s(self._rests))

    def answered(self) -> None:
        """A request was answered in another way."""
        self._since, self._told, self._rests = math.inf, 0, 0

    def full_s(self, now: float) -> float:
        """For how long it has taken nothing."""
        return max(0.0, now - self._since)
