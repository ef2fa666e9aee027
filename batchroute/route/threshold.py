"""The lowest threshold whose cost keeps within a budget.

The search is over the digits of a score, in bounded memory, and reads the scores a few times. Knows nothing of
rows, prices, routers or files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batchroute.quality.ranks import DIGIT_BITS, DIGITS, SHIFTS, digits_below, sort_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchroute.quality.bound import Ints
    from batchroute.types import Floats

    ReadGains: TypeAlias = Callable[[], Iterable[tuple[Floats, Floats]]]


def lowest_fitting(read: ReadGains, base: float, budget: float) -> float | None:
    """The lowest threshold T with base + sum of gains of the scores >= T <= budget; None where none fits.

    `read` yields (scores in [0, 1], gains) and is called up to a few times per digit of a score. Gains may be
    negative; whole numbers add up exactly. T is one of the scores, or the next float above the highest, or
    infinity where there is none.
    """
    found = _search(read, 0, 0, base, budget)
    if found is not None or base > budget:
        return found
    highest = max((float(scores.max(initial=-math.inf)) for scores, _ in read()), default=-math.inf)
    return math.inf if highest == -math.inf else math.nextafter(highest, math.inf)


# Branch and bound over the digits of a score (see above), the lowest digit first. A threshold at a digit's
# lowest score sends all rows of that digit and above strong. Costs need not rise as it falls: a row that gains -5
# is cheaper strong. So a digit is only ruled out where even the best threshold within it is too expensive: what
# the rows above cost, and of its own rows the negative gains alone.
#
# With decimal digits, base 100, budget 110 and scores (gains) 71 (+4) 75 (+2) 38 (-3) 12 (+20):
#     digit 1: above it 100 + 4 + 2 - 3 = 103, at best 103: within the budget, look closer: 12 costs 123, too much
#     digit 3: above it 106, at best 106 - 3 = 103: look closer: 38 costs 103 <= 110, the lowest that fits is 38
def _search(read: ReadGains, prefix: int, level: int, cost_above: float, budget: float) -> float | None:
    """The lowest fitting score of those whose higher bits are `prefix`; `cost_above`: of all scores above them."""
    count, gain, savings = _by_digit(read, prefix, SHIFTS[level])
    costs = cost_above + gain[::-1].cumsum()[::-1]  # of a threshold at the lowest score of each digit
    above = costs - gain
    last = level == len(SHIFTS) - 1
    fits = costs <= budget if last else above + savings <= budget
    for digit in np.flatnonzero(fits & (count > 0)).tolist():
        place = (prefix << DIGIT_BITS) | digit
        if last:
            return float(np.uint64(place).view(np.float64))
        found = _search(read, place, level + 1, float(above[digit]), budget)
        if found is not None:
            return found
    return None


def _by_digit(read: ReadGains, prefix: int, shift: int) -> tuple[Ints, Floats, Floats]:
    """[65536] each, of the rows with these higher bits by their next digit: how many, their gains, their savings.

    The savings are the negative gains alone: the most that a threshold amid the digit's rows may save.
    """
    count, gain, savings = np.zeros(DIGITS, np.int64), np.zeros(DIGITS), np.zeros(DIGITS)
    for scores, gains in read():
        here, digits = digits_below(sort_keys(scores), prefix, shift)
        mine = gains[here]
        count += np.bincount(digits, minlength=DIGITS)
        gain += np.bincount(digits, weights=mine, minlength=DIGITS)
        savings += np.bincount(digits, weights=np.minimum(mine, 0), minlength=DIGITS)
    return count, gain, savings
