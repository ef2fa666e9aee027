"""A budget -> the lowest threshold whose predicted cost fits, in bounded memory.

Knows scores and what each row's going strong adds to the cost; knows no prices and no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.route.threshold import DIGIT_BITS, SHIFTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from batchroute.types import Floats


@dataclass(frozen=True, slots=True)
class _Digits:
    """What the rows with the same higher bits hold, by their next digit; [65536] each."""

    count: NDArray[np.int64]
    gain: Floats
    savings: Floats  # the negative gains alone: the most that a threshold amid the digit's rows may save


def lowest_fitting(parts: Iterable[tuple[Floats, Floats]], base: float, budget: float) -> float | None:
    """The lowest threshold T with base + sum of gains of the scores >= T <= budget; None where none fits.

    `parts` yields (scores in [0, 1], gains) and is iterated up to a few times per digit of a score. Gains may be
    negative; whole numbers add up exactly. T is one of the scores, or the next float above the highest, or
    infinity where there is none.
    """
    found = _search(parts, 0, 0, base, budget)
    if found is not None or base > budget:
        return found
    highest = max((float(scores.max(initial=-math.inf)) for scores, _ in parts), default=-math.inf)
    return math.inf if highest == -math.inf else math.nextafter(highest, math.inf)


# Branch and bound over the digits of a score (see `threshold`), the lowest digit first. A threshold at a digit's
# lowest score sends all rows of that digit and above strong. Costs need not rise as it falls: a row that gains -5
# is cheaper strong. So a digit is only ruled out where even the best threshold within it is too expensive: what
# the rows above cost, and of its own rows the negative gains alone.
#
# With decimal digits, base 100, budget 110 and scores (gains) 71 (+4) 75 (+2) 38 (-3) 12 (+20):
#     digit 1: above it 100 + 4 + 2 - 3 = 103, at best 103: within the budget, look closer: 12 costs 123, too much
#     digit 3: above it 106, at best 106 - 3 = 103: look closer: 38 costs 103 <= 110, the lowest that fits is 38
def _search(
    parts: Iterable[tuple[Floats, Floats]], prefix: int, level: int, cost_above: float, budget: float
) -> float | None:
    """The lowest fitting score of those whose higher bits are `prefix`; `cost_above`: of all scores above them."""
    digits = _by_digit(parts, prefix, SHIFTS[level])
    from_top = digits.gain[::-1].cumsum()[::-1]
    costs = cost_above + from_top  # of a threshold at the lowest score of each digit
    above = costs - digits.gain
    last = level == len(SHIFTS) - 1
    fits = costs <= budget if last else above + digits.savings <= budget
    for digit in np.flatnonzero(fits & (digits.count > 0)).tolist():
        place = (prefix << DIGIT_BITS) | digit
        if last:
            return float(np.uint64(place).view(np.float64))
        found = _search(parts, place, level + 1, float(above[digit]), budget)
        if found is not None:
            return found
    return None


def _by_digit(parts: Iterable[tuple[Floats, Floats]], prefix: int, shift: int) -> _Digits:
    size = 1 << DIGIT_BITS
    count, gain, savings = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    for scores, gains in parts:
        keys = (scores + 0.0).view(np.uint64)  # + 0.0 makes -0.0 an ordinary zero
        mine = gains
        if shift != SHIFTS[0]:
            here = keys >> np.uint64(shift + DIGIT_BITS) == np.uint64(prefix)
            keys, mine = keys[here], gains[here]
        digit = ((keys >> np.uint64(shift)) & np.uint64(size - 1)).astype(np.int64)
        count += np.bincount(digit, minlength=size)
        gain += np.bincount(digit, weights=mine, minlength=size)
        savings += np.bincount(digit, weights=np.minimum(mine, 0), minlength=size)
    return _Digits(count, gain, savings)
