"""A figure that is not known but lies about somewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """low <= mid <= high; `mid` is the best guess."""

    low: float
    mid: float
    high: float

    @staticmethod
    def around(mid: float, error: float) -> Band:
        """`mid` give or take a share of it."""
        return Band(mid * (1 - error), mid, mid * (1 + error))

    def at_most(self, bound: float) -> Band:
        return Band(min(self.low, bound), min(self.mid, bound), min(self.high, bound))
