"""How much of the strong side's quality a way of routing keeps: mean routed grade / mean strong grade.

A part q is kept where the mean of routed - q * strong is at least zero, which `bound` can show of a sample. So the
interval of what is kept reaches from the largest q that is shown to be kept to the smallest that is shown not to
be passed. Knows grades in [0, 1]; nothing of scores, shares or verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.bound import is_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.quality.bound import Bools, Ints, Rounds
    from batchroute.types import Floats

# Where the ends of an interval are looked for, in standard errors from the estimate; then between two of these.
REACH = np.array([0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 12])
BETWEEN = np.linspace(0, 1, 9)[1:]


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of the strong side's quality, and its interval; all NaN where the strong side's grades are all 0."""

    kept: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Routings:
    """Several ways to route the same sample: `routed` [ways, n] grades beside those of the strong side [n].

    `weak` [ways, H] is whether rows of a stratum may go to the weak side, `rounds` how the sample was drawn.
    """

    routed: Floats
    strong: Floats
    weak: Bools
    rounds: Rounds

    def only(self, ways: Sequence[int]) -> Routings:
        """Some of the ways, any of them several times."""
        return Routings(self.routed[ways], self.strong, self.weak[ways], self.rounds)

    def keep(self, quality: Floats, alpha: Floats) -> Bools:
        """[ways] shown to keep `quality` [ways] or more, wrongly with a probability of at most `alpha` [ways]."""
        values = self.routed - quality[:, None] * self.strong
        least = np.where(self.weak, -quality[:, None], np.minimum(1 - quality, 0)[:, None])
        return is_shown(values, least, alpha, self.rounds)

    def do_not_pass(self, quality: Floats, alpha: Floats) -> Bools:
        """[ways] shown to keep `quality` or less."""
        values = quality[:, None] * self.strong - self.routed
        least = np.where(self.weak, -1.0, np.minimum(quality - 1, 0)[:, None])
        return is_shown(values, least, alpha, self.rounds)

    def estimates(self) -> Floats:
        """[ways] the part kept, strata weighed as they are in the job."""
        strong = (self.strong * self.rounds.stands_for).sum()
        if strong == 0:
            return np.full(len(self.routed), math.nan)
        estimates: Floats = (self.routed * self.rounds.stands_for).sum(axis=1) / strong
        return estimates

    def intervals(self, confidence: float) -> list[Kept]:
        """Of each way, two-sided; the upper end is infinite where so few rows say nothing."""
        alpha = (1 - confidence) / 2
        estimates = self.estimates()
        low = self._ends(Routings.keep, estimates, -REACH, 0, alpha)
        high = self._ends(Routings.do_not_pass, estimates, REACH, math.inf, alpha)
        return [Kept(*ends) for ends in zip(estimates.tolist(), low.tolist(), high.tolist(), strict=True)]

    def _ends(
        self,
        shown: Callable[[Routings, Floats, Floats], Bools],
        estimates: Floats,
        reach: Floats,
        farthest: float,
        alpha: float,
    ) -> Floats:
        """[ways] the nearest points to the estimates that are shown; all NaN for an estimate that is."""
        if np.isnan(estimates).any():
            return estimates
        values = self.routed - estimates[:, None] * self.strong
        scale = math.sqrt(values.shape[1]) * float(self.strong.mean())
        error = np.maximum(values.std(axis=1) / scale, 1 / values.shape[1])
        points = np.maximum(estimates[:, None] + error[:, None] * np.concatenate(([0.0], reach)), 0)
        points = np.column_stack((points, np.full(len(points), farthest)))
        place = self._all_shown_from(shown, points[:, 1:-1], alpha)
        ways = np.arange(len(points))
        near, far = points[ways, place], points[ways, place + 1]
        between = near[:, None] + np.where(np.isfinite(far), far - near, 0)[:, None] * BETWEEN
        finer = self._all_shown_from(shown, between[:, :-1], alpha)
        return np.where(np.isfinite(far), between[ways, finer], far)

    def _all_shown_from(
        self, shown: Callable[[Routings, Floats, Floats], Bools], points: Floats, alpha: float
    ) -> Ints:
        """[ways] the place in its points [ways, p] from which all are shown, or p."""
        ways, count = points.shape
        each = self.only(np.repeat(np.arange(ways), count).tolist())
        found = shown(each, points.ravel(), np.full(points.size, alpha)).reshape(ways, count)
        places: Ints = count - np.logical_and.accumulate(found[:, ::-1], axis=1).sum(axis=1)
        return places
