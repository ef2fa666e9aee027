"""How much of one limit each worker is to have: fair targets, whatever it has now.

Knows what workers need, not what they hold.
"""

from __future__ import annotations

import math


class FairShares:
    """Who needs less than an equal share gets what it needs; the others share the rest equally.

    `whole`: shares are whole numbers, at least 1 where there are enough.
    """

    # Worked example, 900 a minute: A, B and C each take all they can get, so each is to have 300. B's rows come
    # more slowly, it needs 100: then A and C are to have 400. C's shard ends, it needs nothing: A is to have 800.
    #
    # What each needs is looked at when it renews, against what the others needed when they last did. So a share is
    # computed in no time with a thousand workers, and after a change all are right once each has renewed.
    #
    # Whole numbers, 10 slots for 4 workers: two are to have 3, two 2; who has 3 keeps it while the sums allow.

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._content: dict[str, float] = {}
        self._content_sum = 0.0
        self._hungry: set[str] = set()
        self._larger: set[str] = set()  # those of the hungry whose whole share is rounded up

    def __len__(self) -> int:
        """How many workers have a claim."""
        return len(self._content) + len(self._hungry)

    def target(self, worker: str, need: float, limit: float) -> float:
        """What the worker is to have where it needs so much; infinity: all that it can get."""
        self.leave(worker, for_good=False)
        level = max(0.0, limit - self._content_sum) / (len(self._hungry) + 1)
        if need >= level:
            self._hungry.add(worker)
            return self._rounded(worker, level) if self._whole and math.isfinite(level) else level
        self.reserved(worker, need)
        if self._hungry:
            return need
        spare = (limit - self._content_sum) / len(self._content)
        return need + (math.floor(spare) if self._whole and math.isfinite(spare) else spare)

    def reserved(self, worker: str, amount: float) -> float:
        """The worker is to have this, however little it leaves for the others."""
        self.leave(worker)
        self._content[worker] = amount
        self._content_sum += amount
        return amount

    def leave(self, worker: str, *, for_good: bool = True) -> None:
        """The worker has no claim."""
        self._hungry.discard(worker)
        self._content_sum -= self._content.pop(worker, 0.0)
        if not self._content:
            self._content_sum = 0.0
        if for_good:
            self._larger.discard(worker)

    def _rounded(self, worker: str, level: float) -> float:
        share = math.floor(level)
        larger = round((level - share) * len(self._hungry))
        if len(self._larger) > larger:
            self._larger.discard(worker)
        elif len(self._larger) < larger:
            self._larger.add(worker)
        return share + (worker in self._larger)
