"""The lease that a worker holds: which grants it takes, and what it may use now.

On the worker's own clock (CLOCK_BOOTTIME: it goes on while the machine is suspended), which the caller reads.
Knows no requests; what is in flight when a lease is over is awaited and recorded.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.lease.messages import LaneGrant

if TYPE_CHECKING:
    from batchroute.lease.messages import Grant

NOTHING = LaneGrant()


class HeldLease:
    """What one worker was granted last, and until when.

    Only the answer to the last renewal is taken: the driver then knows that a worker uses either what its last
    renewal says, or what that was granted, and nothing else. A grant of a lower epoch is another driver's, which
    has been replaced.
    """

    # Worked example, a period of 2 s, ttl 6 s: renewal 7 leaves at 100.0 s and says 500 a minute. Its grant of 400
    # arrives at 100.2 s and lasts until 106.0 s. Renewal 8 leaves at 102.0 s and says 400; its grant is late.
    # Renewal 9 leaves at 104.0 s. At 104.1 s the grant of renewal 8 comes, 900 a minute: it is not taken, as by
    # what renewal 9 says the driver holds it for lost, and may have given the 900 to another.

    def __init__(self) -> None:
        self.epoch = 0
        self.ends_at = -math.inf
        self._number = -1
        self._sent_at = -math.inf
        self._grant: Grant | None = None

    def renews(self, now: float) -> int:
        """A renewal leaves now; returns its number."""
        self._number += 1
        self._sent_at = now
        return self._number

    def take(self, grant: Grant) -> bool:
        """Whether the grant counts. Its length begins with the renewal that it answers."""
        if grant.number != self._number or grant.epoch < self.epoch:
            return False
        self.epoch, self._grant = grant.epoch, grant
        self.ends_at = self._sent_at + grant.ttl_s
        return True

    def lane(self, name: str, now: float) -> LaneGrant:
        """What may be used of a lane now; nothing where the lease is over."""
        if self._grant is None or now >= self.ends_at:
            return NOTHING
        return self._grant.lanes.get(name, NOTHING)

    def ceiling_usd(self, now: float) -> Decimal | None:
        """How far the money taken may go; None: without limit. Where the lease is over it may not rise at all."""
        if self._grant is None or now >= self.ends_at:
            return Decimal(0)
        return self._grant.ceiling_usd
