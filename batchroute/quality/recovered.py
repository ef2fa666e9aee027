"""What of the gap between two sides a router recovers, with its interval; None is what cannot be known.

The figures of `curves` as every report of them has it: `evaluate`, the card of a trained model, a pilot's routers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batchroute.quality.curves import apgr, interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.types import Floats

    Figure: TypeAlias = Callable[[Floats, Floats, Floats], float]  # of scores, strong, weak [n]

Interval: TypeAlias = tuple[float, float]

LEAST_GAP = 1e-12  # between two mean qualities; below it is rounding


@dataclass(frozen=True, slots=True)
class Recovered:
    """APGR of one router on `rows` prompts, and the middle 95 % of what other such prompts would give.

    None where the strong side is no better, the interval also where it is not in more than a few draws.
    """

    rows: int
    apgr: float | None
    apgr_ci: Interval | None


def has_gap(strong: Floats, weak: Floats) -> bool:
    """Whether all-strong is better than all-weak; where it is not, there is nothing to recover."""
    return float(strong.mean() - weak.mean()) > LEAST_GAP


def known_apgr(scores: Floats, strong: Floats, weak: Floats, figure: Figure = apgr) -> float | None:
    """Of a router's scores [n], or the mean over several of its scores, [k, n]; None without a gap.

    Without the last digits, in which sums differ: chance is 0.5 and nothing near it.
    """
    if not has_gap(strong, weak):
        return None
    return round(float(np.mean([figure(each, strong, weak) for each in np.atleast_2d(scores)])), 9)


def recovered(scores: Floats, strong: Floats, weak: Floats, drawn_apgr: Floats) -> Recovered:
    """The figures of scores [n] or [k, n] whose APGR in the draws of `curves.draw_figures` is `drawn_apgr`."""
    known = known_apgr(scores, strong, weak)
    return Recovered(len(strong), known, None if known is None else interval(drawn_apgr))
