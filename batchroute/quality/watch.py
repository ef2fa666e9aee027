"""Whether a promise still holds: what was kept on a random share of a run's rows, asked of both sides.

Knows the grades of these rows; nothing of scores, routes or nights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.graded import Graded
from batchroute.quality.kept import known

if TYPE_CHECKING:
    from batchroute.types import Floats

LEAST_WATCHED = 30  # rows, below which nothing is said


@dataclass(frozen=True, slots=True)
class Watched:
    """The part of the strong side's quality that was kept on `rows` rows, with one-sided bounds.

    Both bounds are None below LEAST_WATCHED rows, and `kept` where no strong answer was worth anything.
    """

    rows: int
    kept: float | None
    low: float | None
    high: float | None


def watch(routed: Floats, strong: Floats, *, confidence: float) -> Watched:
    """From the grades of the routed and of the strong side's answers to the same random rows, [n] each.

    Each bound holds with `confidence`. ValueError: grades outside [0, 1], NaN, other lengths.
    """
    rows = Graded.checked(np.zeros(len(strong)), strong, routed)  # all of them routed as they were
    [kept] = rows.routings(None)[1].only([-1]).intervals(1 - confidence)
    if len(strong) < LEAST_WATCHED:
        return Watched(len(strong), known(kept.kept), None, None)
    return Watched(len(strong), known(kept.kept), known(kept.low), known(kept.high))
