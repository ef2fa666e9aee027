"""Scores -> the threshold that sends an exact share of them strong, in bounded memory.

Knows nothing of rows, routers or files; the scores are read five times over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from batchroute.types import Floats

# A score's 64 bits are looked at in four digits; non-negative doubles sort as their bit patterns do.
DIGIT_BITS = 16
SHIFTS = (48, 32, 16, 0)


def threshold_for_share(parts: Iterable[Floats], share: float) -> tuple[float, int]:
    """The k-th highest of N scores with k = floor(share * N + 0.5), and how many scores reach it.

    `parts` is iterated five times and must yield the same scores in [0, 1] each time; NaN (a row without a
    score) is left out of N. For k = 0 the threshold is the next float above the maximum; ties all reach it.
    For no scores at all it is infinity. Memory: a histogram beside one part.
    """
    total, highest = _count(parts)
    wanted = math.floor(share * total + 0.5)
    if total == 0:
        return math.inf, 0
    if wanted == 0:
        return math.nextafter(highest, math.inf), 0
    prefix, above, rank = 0, 0, wanted
    for shift in SHIFTS:
        counts = _histogram(parts, prefix, shift)
        from_top = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_top, rank))
        digit = len(counts) - 1 - place
        passed = int(from_top[place] - counts[digit])
        above, rank = above + passed, rank - passed
        prefix = (prefix << DIGIT_BITS) | digit
        tied = int(counts[digit])
    return float(np.uint64(prefix).view(np.float64)), above + tied


def _count(parts: Iterable[Floats]) -> tuple[int, float]:
    total, highest = 0, 0.0
    for part in parts:
        scores = part[~np.isnan(part)]
        total += len(scores)
        highest = max(highest, float(scores.max(initial=0.0)))
    return total, highest


def _histogram(parts: Iterable[Floats], prefix: int, shift: int) -> NDArray[np.int64]:
    """Counts of the digit at `shift` among the scores whose higher bits are `prefix`."""
    counts = np.zeros(1 << DIGIT_BITS, np.int64)
    for part in parts:
        keys = (part[~np.isnan(part)] + 0.0).view(np.uint64)  # + 0.0 makes -0.0 an ordinary zero
        if shift != SHIFTS[0]:
            keys = keys[keys >> np.uint64(shift + DIGIT_BITS) == np.uint64(prefix)]
        digits = (keys >> np.uint64(shift)) & np.uint64((1 << DIGIT_BITS) - 1)
        counts += np.bincount(digits.astype(np.int64), minlength=1 << DIGIT_BITS)
    return counts
