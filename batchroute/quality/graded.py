"""A sample of a job's rows with the grades of both sides, and what they say of sending the job's shares strong.

The order in which rows are bet on is drawn by a generator that is seeded with the rows themselves: equal input
gives equal figures in whatever order it comes, and an order that means something does no harm.

Knows arrays of scores and grades; nothing of targets and verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.bound import deal
from batchroute.quality.kept import Routings
from batchroute.quality.shares import JobScores

if TYPE_CHECKING:
    from batchroute.types import Floats

LEAST_ROUNDS = 30  # more rounds are worth more than more strata: those with fewer sampled rows are joined


@dataclass(frozen=True, slots=True)
class Graded:
    """Scores and grades of n sampled rows, [n] each, in an order that does not depend on how they came."""

    scores: Floats
    strong: Floats
    weak: Floats

    @classmethod
    def checked(cls, scores: Floats, strong: Floats, weak: Floats) -> Graded:
        """ValueError: arrays of other lengths, NaN, grades outside [0, 1]."""
        columns = [np.asarray(column, np.float64) for column in (scores, strong, weak)]
        shapes = [column.shape for column in columns]
        if len(shapes[0]) != 1 or len(set(shapes)) > 1:
            raise ValueError(f"scores, strong and weak are arrays of one length, [n] each; these are {shapes}")
        for name, column in zip(("scores", "strong", "weak"), columns, strict=True):
            if not np.isfinite(column).all():
                raise ValueError(f"{name} has values that are no numbers; leave rows out that were not graded")
        for name, grades in zip(("strong", "weak"), columns[1:], strict=True):
            if grades.size and not (grades.min() >= 0 and grades.max() <= 1):
                raise ValueError(
                    f"{name} has grades outside [0, 1]: divide by the highest grade that can be given"
                )
        order = np.lexsort(columns[::-1])
        return cls(*(column[order] + 0.0 for column in columns))

    def routings(self, job: Floats | JobScores | None) -> tuple[JobScores, Routings]:
        """The shares of the job, and the ways to route by them, all strong first; needs at least one row.

        `job` has the scores of the whole job; None: nothing is known of how the sample was drawn, the shares are
        its own. A score that is sampled more often than it occurs says that rows were drawn with replacement.
        ValueError: rows of a job without scores.
        """
        shares = job if isinstance(job, JobScores) else JobScores.of(self.scores if job is None else job)
        if len(self.scores) and not shares.rows:
            raise ValueError("the job has no scores, so no rows of it can have been graded")
        least_rows = LEAST_ROUNDS if job is not None else len(self.scores)
        stratum, sizes, reached_by_all = shares.strata(least_rows, self.scores)
        endless = (
            job is None
            or not shares.is_sampled
            or bool((np.bincount(stratum, minlength=len(sizes)) > sizes).any())
        )
        if not isinstance(job, JobScores | None):
            endless = endless or not _is_within(self.scores, job)
        thresholds = shares.thresholds[:, None]
        return shares, Routings(
            routed=np.where(self.scores >= thresholds, self.strong, self.weak),
            strong=self.strong,
            weak=thresholds > reached_by_all,
            rounds=deal(stratum, sizes, self._generator(), endless=endless),
        )

    def _generator(self) -> np.random.Generator:
        """Seeded with the rows: the same for the same, and independent of all that their order may mean."""
        rows = np.concatenate((self.scores, self.strong, self.weak))
        return np.random.default_rng(int.from_bytes(blake2b(rows.tobytes(), digest_size=16).digest(), "little"))


def _is_within(scores: Floats, job: Floats) -> bool:
    """Whether each score occurs in the job as often as here, as it does when no row is drawn twice."""
    values, counts = np.unique(scores, return_counts=True)
    ordered = np.sort(np.asarray(job, np.float64))
    there = np.searchsorted(ordered, values, "right") - np.searchsorted(ordered, values, "left")
    return bool((there >= counts).all())
