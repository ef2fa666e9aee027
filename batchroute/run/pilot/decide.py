"""Grades of a pilot's rows -> what is kept and promised, as report.json has it: pure functions over values.

The statistics are the room quality's; here they meet the job: its target, its prices, its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.promise import kept_by_share, quality_threshold
from batchroute.report.quality import CurvePoint, Quality, TestedShare
from batchroute.score.router import length_scores, random_scores
from batchroute.types import Questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.spec import Job
    from batchroute.quality.bound import Ints
    from batchroute.quality.promise import Choice, Tested
    from batchroute.quality.shares import JobScores
    from batchroute.run.pilot.judge import AnsweredRow, Graded
    from batchroute.types import Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """The graded rows of a pilot, [n] each: scores of the router in use, grades and costs (NaN: unknown) by side.

    `looks`: the number of the look that a row came with; `texts`: what a router reads of it.
    """

    scores: Floats
    strong: Floats
    weak: Floats
    strong_usd: Floats
    weak_usd: Floats
    looks: Ints
    texts: Sequence[str]

    @staticmethod
    def of(rows: Sequence[AnsweredRow], graded: Graded, looks: Ints) -> Measured:
        """Without the rows that are left out."""
        kept = np.flatnonzero(~np.isnan(graded.sides.strong))
        chosen = [rows[index] for index in kept.tolist()]
        return Measured(
            scores=np.array([row.sampled.score for row in chosen]),
            strong=graded.sides.strong[kept],
            weak=graded.sides.weak[kept],
            strong_usd=_usd([row.strong.cost_usd for row in chosen]),
            weak_usd=_usd([row.weak.cost_usd for row in chosen]),
            looks=looks[kept],
            texts=[row.sampled.text for row in chosen],
        )

    def __len__(self) -> int:
        return len(self.scores)

    def weak_cost_share(self) -> float | None:
        """What a weak answer costs against a strong one, on rows whose both costs are known; None: unknown."""
        known = ~np.isnan(self.strong_usd) & ~np.isnan(self.weak_usd)
        strong = float(self.strong_usd[known].sum())
        return float(self.weak_usd[known].sum()) / strong if strong > 0 else None


def _usd(costs: Sequence[float | None]) -> Floats:
    return np.array([np.nan if cost is None else cost for cost in costs])


def choose(job: Job, measured: Measured, shares: JobScores, most_looks: int) -> Choice | None:
    """The choice for the job's target; None where it has none, or nothing could be graded."""
    target = job.routing.quality
    if target is None or not len(measured):
        return None
    return quality_threshold(
        measured.scores,
        measured.strong,
        measured.weak,
        quality=target,
        confidence=job.routing.confidence,
        job_scores=shares,
        look=measured.looks,
        looks=most_looks,
    )


def describe(
    job: Job,
    measured: Measured,
    shares: JobScores,
    choice: Choice | None,
    *,
    graded: Graded,
    threshold: float | None,
) -> Quality:
    """All that a pilot found; without a `choice` what the job's own `threshold` keeps, by the nearest share."""
    assert job.pilot is not None, "only a job with a pilot has one"  # noqa: S101
    by_share = _by_share(job, measured, measured.scores, shares)
    at = choice if choice is not None else _nearest(by_share, threshold)
    weak_cost = measured.weak_cost_share()
    return Quality(
        target=job.routing.quality,
        confidence=job.routing.confidence,
        verdict=None if job.routing.quality is None else "all strong" if choice is None else choice.verdict,
        kept=None if at is None else at.kept,
        low=None if at is None else at.low,
        high=None if at is None else at.high,
        strong_share=None if at is None else at.strong_share,
        threshold=threshold if choice is None else choice.threshold,
        rows_needed=None if choice is None else choice.rows_needed,
        rows=len(measured),
        asked=len(graded.sides.strong),
        seed=job.pilot.seed,
        judge=job.pilot.judge,
        judge_model=None if job.pilot.endpoint is None else job.pilot.endpoint.model,
        order_agreement=graded.order_agreement,
        left_out=_left_out(graded),
        strong_model=job.endpoints.strong.model,
        weak_model=job.endpoints.weak.model,
        strong_grade=_mean(measured.strong),
        weak_grade=_mean(measured.weak),
        tested=[] if choice is None else [_tested(each) for each in choice.tested],
        curves=_curves(job, measured, by_share, weak_cost),
    )


def _by_share(job: Job, measured: Measured, scores: Floats, shares: JobScores | None) -> tuple[Tested, ...]:
    if not len(measured):
        return ()
    confidence = job.routing.confidence
    return kept_by_share(scores, measured.strong, measured.weak, confidence=confidence, job_scores=shares)


def _nearest(by_share: Sequence[Tested], threshold: float | None) -> Tested | None:
    if threshold is None:
        return None
    return min(by_share, key=lambda each: abs(each.threshold - threshold), default=None)


def _left_out(graded: Graded) -> dict[str, int]:
    sides = graded.sides
    found = {
        "no_answer": sides.no_answer,
        "no_reference": sides.no_reference,
        "judge_unreadable": sides.judge_unreadable,
    }
    return {reason: rows for reason, rows in found.items() if rows}


def _tested(each: Tested) -> TestedShare:
    return TestedShare(share=each.share, threshold=each.threshold, kept=each.kept, passes=each.passes)


def _curves(
    job: Job, measured: Measured, by_share: Sequence[Tested], weak_cost: float | None
) -> dict[str, list[CurvePoint]]:
    """Of the router in use, of prompt length and of chance."""
    curves = {"job": by_share}
    for name, scores in control_scores(measured.texts, job.router.seed).items():
        curves[name] = _by_share(job, measured, scores, None)
    return {name: [_point(each, weak_cost) for each in points] for name, points in curves.items()}


def control_scores(texts: Sequence[str], seed: int) -> dict[str, Floats]:
    """[n] what the routers say of n texts that a router is held against."""
    count = len(texts)
    questions = Questions(
        list(texts), [None] * count, [None] * count, np.zeros(count, np.bool_), np.zeros(count, np.int64)
    )
    return {"length": length_scores(questions), "random": random_scores(seed, questions)}


def _point(each: Tested, weak_cost: float | None) -> CurvePoint:
    share = each.strong_share
    cost_share = None if weak_cost is None else share + (1 - share) * weak_cost
    return CurvePoint(share=share, kept=each.kept, low=each.low, high=each.high, cost_share=cost_share)


def _mean(grades: Floats) -> float | None:
    return float(grades.mean()) if len(grades) else None
