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

    from batchroute.quality.bound import Bools, Rounds
    from batchroute.types import Floats

# Where the ends of an interval are looked for, in standard errors from the estimate: 2**k - 1 points.
REACH = np.array([*np.arange(0.25, 4, 0.125), 6])


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of the strong side's quality, and its interval; all NaN where the strong side's grades are all 0."""

    kept: float
    low: float
    high: float


def known(number: float) -> float | None:
    """None where there is no such number: a part of nothing, or an end that too few rows leave open."""
    return number if math.isfinite(number) else None


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
        quality = quality[:, None]
        least = np.where(self.weak, -quality, np.minimum(1 - quality, 0))
        return is_shown(self.routed - quality * self.strong, least, alpha, self.rounds)

    def do_not_pass(self, quality: Floats, alpha: Floats) -> Bools:
        """[ways] shown to keep `quality` or less."""
        quality = quality[:, None]
        least = np.where(self.weak, -1.0, np.minimum(quality - 1, 0))
        return is_shown(quality * self.strong - self.routed, least, alpha, self.rounds)

    def intervals(self, alpha: float) -> list[Kept]:
        """Of each way, each end wrong with a probability of `alpha`; `high` is infinite where rows are too few."""
        strong = (self.strong * self.rounds.stands_for).sum()
        if strong == 0:
            return [Kept(math.nan, math.nan, math.nan)] * len(self.routed)
        kept = (self.routed * self.rounds.stands_for).sum(axis=1) / strong
        reach = self._errors(kept)[:, None] / strong * REACH
        alphas = np.full(len(kept), alpha)
        low = _nearest(lambda quality: self.keep(quality, alphas), np.maximum(kept[:, None] - reach, 0), 0)
        high = _nearest(lambda quality: self.do_not_pass(quality, alphas), kept[:, None] + reach, math.inf)
        return [Kept(*ends) for ends in zip(kept.tolist(), low.tolist(), high.tolist(), strict=True)]

    def _errors(self, kept: Floats) -> Floats:
        """[ways] of mean(routed - kept * strong), about; no less than what one row may change."""
        rows = len(self.strong)
        part_left = 1.0 if self.rounds.endless else 1 - rows / self.rounds.left[0].sum()
        deviations = (self.routed - kept[:, None] * self.strong).std(axis=1)
        errors: Floats = np.maximum(deviations / math.sqrt(rows) * math.sqrt(part_left), part_left / rows)
        return errors


def _nearest(shown: Callable[[Floats], Bools], points: Floats, end: float) -> Floats:
    """[ways] the nearest of the points [ways, 2**k - 1] that is shown, or `end`."""
    points = np.pad(points, ((0, 0), (0, 1)), constant_values=end)
    ways = np.arange(len(points))
    place = np.zeros(len(points), np.int64)
    step = points.shape[1]
    while step := step // 2:
        place += np.where(shown(points[ways, place + step - 1]), 0, step)
    return points[ways, place]
