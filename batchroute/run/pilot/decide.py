"""Grades of a pilot's rows -> what is kept and promised, as report.json has it: pure functions over values.

The statistics are the room quality's; here they meet the job: its target, its prices, its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from batchroute.learn.own.build import JOB
from batchroute.learn.own.choice import compare
from batchroute.learn.own.parts import PROMISED
from batchroute.quality.curves import random_scores as many_random_scores
from batchroute.quality.kept import known
from batchroute.quality.promise import kept_by_share, quality_threshold
from batchroute.quality.watch import watch
from batchroute.report.quality import CurvePoint, Quality, RouterRank, TestedShare
from batchroute.run.pilot.reuse import judge_digest
from batchroute.score.rater import bare_questions
from batchroute.score.router import length_scores, random_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from batchroute.job.pilot import PilotSpec
    from batchroute.job.spec import Job
    from batchroute.quality.bound import Ints
    from batchroute.quality.promise import Choice, Tested
    from batchroute.quality.shares import JobScores
    from batchroute.quality.watch import Watched
    from batchroute.run.pilot.judge import JudgedRows
    from batchroute.types import Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """The graded rows of a pilot, [n] each: scores of the router in use, grades and costs (NaN: unknown) by side.

    `job_scores` are the job's own router's; `parts` as in learn/own/parts; `looks`: the number of the look that a
    row came with; `texts`: what a router reads of it.
    """

    scores: Floats
    job_scores: Floats
    strong: Floats
    weak: Floats
    strong_usd: Floats
    weak_usd: Floats
    parts: NDArray[np.str_]
    looks: Ints
    texts: Sequence[str]

    @staticmethod
    def of(judged: JudgedRows, scores: Floats, parts: NDArray[np.str_], looks: Ints) -> Measured:
        """Without the rows that are left out; [n] `scores`, `parts` and `looks` are of all of them."""
        graded = judged.graded
        kept = np.flatnonzero(~np.isnan(graded.sides.strong))
        chosen = [judged.rows[index] for index in kept.tolist()]
        return Measured(
            scores=scores[kept],
            job_scores=np.array([row.sampled.score for row in chosen], np.float64),
            strong=graded.sides.strong[kept],
            weak=graded.sides.weak[kept],
            strong_usd=_usd([row.strong.cost_usd for row in chosen]),
            weak_usd=_usd([row.weak.cost_usd for row in chosen]),
            parts=parts[kept],
            looks=looks[kept],
            texts=[row.sampled.text for row in chosen],
        )

    @staticmethod
    def of_table(rows: pa.Table) -> Measured:
        """Of rows that an earlier run graded, as rows.parquet has them; their texts are not known."""
        names = ("score", "strong_grade", "weak_grade", "strong_cost_usd", "weak_cost_usd")
        scores, strong, weak, strong_usd, weak_usd = (_numbers(rows[name]) for name in names)
        count = len(scores)
        parts, looks = np.full(count, PROMISED), np.zeros(count, np.int64)
        return Measured(scores, scores, strong, weak, strong_usd, weak_usd, parts, looks, [])

    def of_part(self, part: str) -> Measured:
        """The rows of one part alone."""
        rows = np.flatnonzero(self.parts == part)
        texts = [self.texts[row] for row in rows.tolist()]
        numbers = {name: getattr(self, name)[rows] for name in self.__slots__ if name != "texts"}
        return Measured(**numbers, texts=texts)

    def __len__(self) -> int:
        return len(self.scores)

    def weak_cost_share(self) -> float | None:
        """What a weak answer costs against a strong one, on rows whose both costs are known; None: unknown."""
        known = ~np.isnan(self.strong_usd) & ~np.isnan(self.weak_usd)
        strong = float(self.strong_usd[known].sum())
        return float(self.weak_usd[known].sum()) / strong if strong > 0 else None


def _numbers(column: pa.ChunkedArray) -> Floats:
    numbers: Floats = column.to_numpy()  # null is NaN
    return numbers.astype(np.float64)


def _usd(costs: Sequence[float | None]) -> Floats:
    return np.array([np.nan if cost is None else cost for cost in costs])


@dataclass(frozen=True, slots=True)
class Sampled:
    """How many `rows` the pilot asked, how its judge did, and how many rows were left out, by the reason.

    `judge_usd`: what is known of the cost of all verdicts.
    """

    rows: int
    order_agreement: float | None
    left_out: dict[str, int]
    judge_usd: float = 0.0

    @staticmethod
    def of(judged: JudgedRows, judge_usd: float) -> Sampled:
        sides = judged.graded.sides
        left_out = {
            "no_answer": sides.no_answer,
            "no_reference": sides.no_reference,
            "judge_unreadable": sides.judge_unreadable,
        }
        return Sampled(len(judged.rows), judged.graded.order_agreement, left_out, judge_usd)


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
    pilot: PilotSpec,
    router: str,
    measured: Measured,
    shares: JobScores,
    choice: Choice | None,
    asked: Sampled,
    threshold: float | None,
    others: Mapping[str, Floats],
) -> Quality:
    """All that a pilot found; without a `choice` what the job's own `threshold` keeps.

    `measured` are the rows that the promise is made on, by the scores of `router`, which routes; `others` has what
    further routers say of them.
    """
    by_share = _by_share(job, measured, measured.scores, shares)
    kept, low, high = _interval(choice or _kept_at(measured, threshold, job.routing.confidence))
    controls = control_scores(measured.texts, job.router.seed)
    chosen = threshold if choice is None else choice.threshold
    goes_strong = measured.scores >= (np.inf if chosen is None else chosen)
    strong_share = choice.strong_share if choice is not None else _mean(goes_strong.astype(np.float64))
    pilot_usd = _pilot_usd(measured, goes_strong, asked)
    return replace(
        _asked_for(job, pilot),
        verdict=None if job.routing.quality is None else "all strong" if choice is None else choice.verdict,
        kept=kept,
        low=low,
        high=high,
        strong_share=strong_share,
        cost_share=_cost_share(measured, strong_share, pilot_usd, shares.rows),
        pilot_cost_usd=pilot_usd,
        threshold=chosen,
        rows_needed=None if choice is None else choice.rows_needed,
        router=router,
        rows=len(measured),
        asked=asked.rows,
        order_agreement=asked.order_agreement,
        left_out=asked.left_out,
        strong_grade=_mean(measured.strong),
        weak_grade=_mean(measured.weak),
        tested=[] if choice is None else [_tested(each) for each in choice.tested],
        curves=_curves(job, router, measured, by_share, controls),
        routers=_ranks(router, measured, controls, others, pilot.seed),
    )


def _asked_for(job: Job, pilot: PilotSpec) -> Quality:
    """What the job wants to know, and of which models."""
    return Quality(
        target=job.routing.quality,
        confidence=job.routing.confidence,
        seed=pilot.seed,
        judge=pilot.judge,
        judge_model=None if pilot.endpoint is None else pilot.endpoint.model,
        judge_digest=judge_digest(pilot),
        strong_model=job.endpoints.strong.model,
        weak_model=job.endpoints.weak.model,
    )


def _interval(at: Choice | Watched | None) -> tuple[float | None, float | None, float | None]:
    """What is kept, and the ends of its interval; None is what cannot be known."""
    return (None, None, None) if at is None else (_known(at.kept), _known(at.low), _known(at.high))


def _known(number: float | None) -> float | None:
    return None if number is None else known(number)


def _ranks(
    router: str, measured: Measured, controls: Mapping[str, Floats], others: Mapping[str, Floats], seed: int
) -> dict[str, RouterRank]:
    """APGR of the router in use, of the job's own, of others and of the controls, on the rows of the promise."""
    if not len(measured):
        return {}
    chance = many_random_scores(len(measured), seed)
    scores = {router: measured.scores, JOB: measured.job_scores, **others, **controls, "random": chance}
    ranked = compare(scores, measured.strong, measured.weak, seed)
    return {name: RouterRank(apgr=each.apgr, apgr_ci=each.apgr_ci) for name, each in ranked.items()}


def _by_share(job: Job, measured: Measured, scores: Floats, shares: JobScores | None) -> tuple[Tested, ...]:
    if not len(measured):
        return ()
    confidence = job.routing.confidence
    return kept_by_share(scores, measured.strong, measured.weak, confidence=confidence, job_scores=shares)


def _kept_at(measured: Measured, threshold: float | None, confidence: float) -> Watched | None:
    """What a threshold of the job's own keeps, each bound with half of the error."""
    if threshold is None or not len(measured):
        return None
    routed = np.where(measured.scores >= threshold, measured.strong, measured.weak)
    return watch(routed, measured.strong, confidence=(1 + confidence) / 2)


def _pilot_usd(measured: Measured, goes_strong: NDArray[np.bool_], asked: Sampled) -> float | None:
    """What the pilot costs beside its rows' results: the other side's answers, and the judge; None: unknown."""
    beside = np.where(goes_strong, measured.weak_usd, measured.strong_usd)
    known = beside[~np.isnan(beside)]
    if not asked.rows:
        return asked.judge_usd
    return float(known.mean()) * asked.rows + asked.judge_usd if len(known) else None


def _cost_share(measured: Measured, share: float | None, pilot_usd: float | None, rows: int) -> float | None:
    """Of all rows strong, by what answers cost in the pilot, which is included; None: unknown."""
    weak_cost, strong = measured.weak_cost_share(), measured.strong_usd[~np.isnan(measured.strong_usd)]
    if share is None or weak_cost is None or pilot_usd is None or not rows:
        return None
    return share + (1 - share) * weak_cost + pilot_usd / (float(strong.mean()) * rows)


def _tested(each: Tested) -> TestedShare:
    return TestedShare(share=each.share, threshold=each.threshold, kept=known(each.kept), passes=each.passes)


def _curves(
    job: Job, router: str, measured: Measured, by_share: Sequence[Tested], controls: Mapping[str, Floats]
) -> dict[str, list[CurvePoint]]:
    """Of the router in use, of prompt length and of chance."""
    weak_cost = measured.weak_cost_share()
    curves = {router: by_share}
    for name, scores in controls.items():
        if name != router:
            curves[name] = _by_share(job, measured, scores, None)
    return {name: [_point(each, weak_cost) for each in points] for name, points in curves.items()}


def control_scores(texts: Sequence[str], seed: int) -> dict[str, Floats]:
    """[n] by router: what those that others are held against say of n texts; none where texts are not known."""
    questions = bare_questions(texts)
    return {"length": length_scores(questions), "random": random_scores(seed, questions)} if len(texts) else {}


def _point(each: Tested, weak_cost: float | None) -> CurvePoint:
    share = each.strong_share
    cost_share = None if weak_cost is None else share + (1 - share) * weak_cost
    kept, low, high = (known(end) for end in (each.kept, each.low, each.high))
    return CurvePoint(share=share, kept=kept, low=low, high=high, cost_share=cost_share)


def _mean(grades: Floats) -> float | None:
    return float(grades.mean()) if len(grades) else None
