"""asyncio-throttle's rule without a loop: when a greedy client would send."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from batchroute.send.rate import cadence


@dataclass
class Throttle:
    """asyncio-throttle's rule: fewer than `count` requests left within `period_s`."""

    left: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def free_at(self, requests_per_minute: float) -> float:
        pattern = cadence(requests_per_minute)
        if len(self.left) < pattern.count:
            return -math.inf
        return self.left[-pattern.count] + pattern.period_s
