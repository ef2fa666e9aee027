"""What the 429s of one lane mean for all its workers: the pause they asked for, and the speed that was found.

Each worker rests and slows down by itself as soon as it is told to; here stands what the others are to do. All
times are seconds on the driver's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.lease.messages import LaneUse


@dataclass(slots=True)
class LearntSpeed:
    """The pause and the speed of a lane, by what its workers were told."""

    # Worked example: 4 workers send 500 a minute each to a server that takes 1,000. A is told 429, "retry after
    # 20 s", and found that 240 a minute were taken of its own. It says so at once; the lane rests. At their next
    # renewals B, C and D say the same of theirs: 250, 245, 255. The lane's speed is 990, 247 for each, whoever
    # holds a share of it then. It is held for `HOLD_S` after the pause, then grows as one worker's would: by
    # 0.5 %, 10 s later by 1 %, and so on; past twice what was found, there is no limit any more.
    period_s: float  # so late may a worker say that it was told
    requests_per_minute: float | None = None
    paused_until: float = 0.0
    _episode_until: float = 0.0
    _found: dict[str, float] = field(default_factory=dict)  # what the server takes of each worker, in this episode
    _sent: dict[str, float] = field(default_factory=dict)  # what each sent before it
    _counts: dict[str, int] = field(default_factory=dict)
    _fell_to: float = 0.0
    _steps: int = 0
    _grow_at: float = 0.0

    FALL = 0.97  # for those that have not been told off themselves
    HOLD_S = 60.0
    GROW_EVERY_S = 10.0
    GROWTH = 0.005

    def heard(self, worker: str, use: LaneUse, now: float) -> None:
        """A renewal's account of the worker's 429s."""
        is_new = use.rate_limited > self._counts.get(worker, 0)
        self._counts[worker] = use.rate_limited
        if is_new:
            if now >= self._episode_until:
                self._found.clear()
            self.paused_until = max(self.paused_until, now + use.rests_s)
            self._episode_until = self.paused_until + self.period_s
            if use.learnt is not None:
                self._found[worker] = use.learnt
                self._fall()
        elif now >= self._episode_until:
            self._sent[worker] = use.sent_per_minute
        self._grow(now)

    def left(self, worker: str) -> None:
        """The worker sends nothing any more. Its 429s are known, should it be heard again."""
        self._found.pop(worker, None)
        self._sent.pop(worker, None)

    def _fall(self) -> None:
        others = sum(self.FALL * sent for worker, sent in self._sent.items() if worker not in self._found)
        self.requests_per_minute = self._fell_to = max(1.0, sum(self._found.values()) + others)
        self._steps, self._grow_at = 0, self.paused_until + self.HOLD_S

    def _grow(self, now: float) -> None:
        if self.requests_per_minute is None or now < self._grow_at:
            return
        self._steps += 1
        self._grow_at = now + self.GROW_EVERY_S
        grown = self.requests_per_minute * (1 + self.GROWTH * self._steps)
        self.requests_per_minute = None if grown > 2 * self._fell_to else grown
