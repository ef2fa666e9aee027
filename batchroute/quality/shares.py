"""A job's scores as the promise sees them: the thresholds that send 100, 95, ... 0 % of the rows strong.

Knows scores alone, and nothing of grades: what is chosen from was fixed before any answer was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.ranks import thresholds_for_shares

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.quality.bound import Ints
    from batchroute.types import Floats

SHARES = tuple(percent / 100 for percent in range(100, -1, -5))  # of the rows, sent strong
EVERYTHING_STRONG = 0.0
STRATUM_PLACES = slice(2, 19, 2)  # of 90, 80, ... 10 % in SHARES


@dataclass(frozen=True, slots=True)
class JobScores:
    """The thresholds [21] that send SHARES of `rows` scores strong, and how many scores reach each of them [21].

    Tied scores go strong together, so that more of them than its share may reach a threshold. `is_sampled` is
    whether graded rows were drawn from these; rows of another job leave as many of this one unknown as it has.
    """

    thresholds: Floats
    reached: Ints
    rows: int
    is_sampled: bool = True

    @property
    def strong_shares(self) -> Floats:
        """[21] of the rows that go strong at each threshold."""
        strong_shares: Floats = self.reached / self.rows if self.rows else np.ones(len(SHARES))
        return strong_shares

    @classmethod
    def of(cls, scores: Floats) -> JobScores:
        """Of all scores, in memory, in any range; NaN is a row without a score and is left out.

        ValueError: not one score a row.
        """
        scores = np.asarray(scores, np.float64)
        if scores.ndim != 1:
            raise ValueError(f"a job's scores are one array, [N]; these are {scores.shape}")
        ordered = np.sort(scores[~np.isnan(scores)] + 0.0)  # -0.0 is an ordinary zero
        rows = len(ordered)
        if not rows:
            nothing = np.full(len(SHARES), math.inf)
            nothing[0] = EVERYTHING_STRONG
            return cls(nothing, np.zeros(len(SHARES), np.int64), 0)
        above = np.append(ordered, math.nextafter(ordered[-1], math.inf))
        ranks = np.floor(np.array(SHARES) * rows + 0.5).astype(np.int64)
        thresholds = above[rows - ranks]
        reached = rows - np.searchsorted(ordered, thresholds)
        thresholds[0] = min(EVERYTHING_STRONG, ordered[0])
        return cls(thresholds, reached, rows)

    @classmethod
    def read(cls, parts: Iterable[Floats]) -> JobScores:
        """Of scores in [0, 1] in any number, in bounded memory; `parts` is iterated five times."""
        thresholds, reached = zip(*thresholds_for_shares(parts, SHARES), strict=True)
        return cls(np.array([EVERYTHING_STRONG, *thresholds[1:]]), np.array(reached), reached[0])

    def strata(self, least_rows: int, scores: Floats) -> tuple[Ints, Floats, Floats]:
        """Ten quantiles of the score, cut between scores that differ, so that ties stand in one.

        Neighbours are joined until each has `least_rows` of the sampled `scores` [n], or one is left. Returned are
        the stratum of each of these, and of each stratum the job's rows and a score that all of its own reach.
        """
        cuts, first = np.unique(self.thresholds[STRATUM_PLACES], return_index=True)
        below = self.rows - self.reached[STRATUM_PLACES][first]
        kept = _cuts_between(
            np.bincount(np.searchsorted(cuts, scores, "right"), minlength=len(cuts) + 1), least_rows
        )
        sizes = np.diff(below[kept], prepend=0, append=self.rows).astype(np.float64)
        return np.searchsorted(cuts[kept], scores, "right"), sizes, np.append(-math.inf, cuts[kept])


def _cuts_between(counts: Ints, least: int) -> list[int]:
    """Which of the cuts between groups of these sizes are kept, when the smallest joins its smaller neighbour."""
    groups = counts.tolist()
    kept = list(range(len(groups) - 1))
    while kept and min(groups) < least:
        smallest = groups.index(min(groups))
        joins_next = smallest == 0 or (smallest < len(kept) and groups[smallest + 1] < groups[smallest - 1])
        cut = smallest if joins_next else smallest - 1
        groups[cut : cut + 2] = [groups[cut] + groups[cut + 1]]
        del kept[cut]
    return kept
