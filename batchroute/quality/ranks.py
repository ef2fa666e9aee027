"""The k-th highest of any number of scores, in bounded memory.

Knows scores in [0, 1]; nothing of rows, prices, routers or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from batchroute.types import Floats


# The k-th highest score is found digit by digit, the highest digit first: a sort would need all scores in memory.
# Non-negative doubles sort as their 64 bits do, so a score is a number of four digits of 16 bits, and one pass
# over the scores counts one digit in a histogram of 65,536 entries.
#
# With two decimal digits instead, scores 71 75 38 75 12 70 and k = 3: the first digits are counted 1:1 3:1 7:4.
# From the top, 4 scores begin with 7, so the third highest does. Among 71 75 75 70 the second digits are counted
# 0:1 1:1 5:2. From the top, 5 has two scores, and 1 has the third: the threshold is 71, and three scores reach it.
DIGIT_BITS = 16
DIGITS = 1 << DIGIT_BITS
SHIFTS = (48, 32, 16, 0)


def threshold_for_share(parts: Iterable[Floats], share: float) -> tuple[float, int]:
    """The k-th highest of N scores with k = floor(share * N + 0.5), and how many scores reach it.

    `parts` is iterated five times and must yield the same scores in [0, 1] each time; NaN (a row without a
    score) is left out of N. For k = 0 the threshold is the next float above the maximum; ties all reach it.
    For no scores at all it is infinity. Memory: a histogram beside one part.
    """
    [found] = thresholds_for_shares(parts, [share])
    return found


def thresholds_for_shares(parts: Iterable[Floats], shares: Sequence[float]) -> list[tuple[float, int]]:
    """The same for several shares side by side: the parts are read no more often."""
    total, highest = _count(parts)
    if total == 0:
        return [(math.inf, 0) for _ in shares]
    places = {rank: _Place(rank) for share in shares if (rank := math.floor(share * total + 0.5))}
    for shift in SHIFTS if places else ():
        histograms = _histograms(parts, {place.prefix for place in places.values()}, shift)
        places = {rank: place.narrowed(histograms[place.prefix]) for rank, place in places.items()}
    found = {rank: (place.score, place.above + place.tied) for rank, place in places.items()}
    found[0] = (math.nextafter(highest, math.inf), 0)
    return [found[math.floor(share * total + 0.5)] for share in shares]


@dataclass(frozen=True, slots=True)
class _Place:
    """How much is known of the score searched for: its higher bits, and its rank among those that share them.

    `rank` is its place from the top among these, `above` how many scores lie above all of them, `tied` how many
    they are.
    """

    rank: int
    prefix: int = 0
    above: int = 0
    tied: int = 0

    def narrowed(self, counts: NDArray[np.int64]) -> _Place:
        """By one digit, whose counts among the scores with this prefix are given."""
        from_top = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_top, self.rank))
        digit = len(counts) - 1 - place
        passed = int(from_top[place] - counts[digit])
        prefix = (self.prefix << DIGIT_BITS) | digit
        return _Place(self.rank - passed, prefix, self.above + passed, int(counts[digit]))

    @property
    def score(self) -> float:
        """Once all digits are known."""
        return float(np.uint64(self.prefix).view(np.float64))


def _count(parts: Iterable[Floats]) -> tuple[int, float]:
    total, highest = 0, 0.0
    for part in parts:
        scores = part[~np.isnan(part)]
        total += len(scores)
        highest = max(highest, float(scores.max(initial=0.0)))
    return total, highest


def _histograms(parts: Iterable[Floats], prefixes: set[int], shift: int) -> dict[int, NDArray[np.int64]]:
    """By prefix the counts of the digit at `shift` among the scores that have these higher bits."""
    counts = {prefix: np.zeros(DIGITS, np.int64) for prefix in prefixes}
    for part in parts:
        keys = sort_keys(part[~np.isnan(part)])
        for prefix in prefixes:
            _, digits = digits_below(keys, prefix, shift)
            counts[prefix] += np.bincount(digits, minlength=DIGITS)
    return counts


def sort_keys(scores: Floats) -> NDArray[np.uint64]:
    return (scores + 0.0).view(np.uint64)  # + 0.0 makes -0.0 an ordinary zero


def digits_below(
    keys: NDArray[np.uint64], prefix: int, shift: int
) -> tuple[NDArray[np.bool_] | slice, NDArray[np.int64]]:
    """Which scores, as their bits, have these higher bits, and of those the digit at `shift`."""
    here = slice(None) if shift == SHIFTS[0] else keys >> np.uint64(shift + DIGIT_BITS) == np.uint64(prefix)
    return here, ((keys[here] >> np.uint64(shift)) & np.uint64(DIGITS - 1)).astype(np.int64)
