"""A job -> its plan: scores the input as a run would, keeps the scores for it, and reckons.

Knows nothing of how a plan is shown; sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.job.prices import open_targets
from batchroute.route.forecast.estimator import make_estimator
from batchroute.run.planfigures import FrontierPoint, LanePlan, Plan
from batchroute.run.prepare import scored_job
from batchroute.run.scoring import share_threshold, share_thresholds
from batchroute.send.open import refuse_unpriced

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.spec import Job
    from batchroute.route.forecast.estimator import Estimator
    from batchroute.route.forecast.lane import Lane
    from batchroute.route.forecast.totals import LaneTotals, Totals, Whole
    from batchroute.run.prepare import ScoredInput
    from batchroute.types import Side

FRONTIER = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # shares of strong rows


def plan_job(job: Job, limit: int | None = None, on_rows: Callable[[int], None] = lambda rows: None) -> Plan:
    """What `run` would do with this job; its scores are left in the run directory. Sends nothing; blocks.

    `on_rows` is told the rows scored so far. Raises UsageFault where a run would refuse to begin, and where no
    threshold keeps within `routing.budget_usd`; Stopped where another run is at work in the directory.
    """
    targets = open_targets(job.endpoints)
    refuse_unpriced(job, targets)
    with scored_job(job, limit, on_rows) as scored:
        estimator = make_estimator(job, targets, scored.source, scored.scores.parts)
        threshold = _threshold(job, scored, estimator)
        shares = share_thresholds(scored.scores, FRONTIER)
        (here, *there), whole = estimator.totals([threshold, *shares])
    frontier = [_point(share, totals, whole, estimator) for share, totals in zip(FRONTIER, there, strict=True)]
    return _plan(job.name, here, whole, estimator, frontier)


def _threshold(job: Job, scored: ScoredInput, estimator: Estimator) -> float:
    """The one a run settled on, or would."""
    routing = job.routing
    if routing.threshold is not None:
        return routing.threshold
    if scored.threshold is not None:
        return scored.threshold
    if routing.strong_fraction is not None:
        return share_threshold(scored.scores, routing.strong_fraction)
    assert routing.budget_usd is not None, "a job routes by one of three"  # noqa: S101 - `consistency` sees to it
    return estimator.budget_threshold(routing.budget_usd)


def _point(share: float, totals: Totals, whole: Whole, estimator: Estimator) -> FrontierPoint:
    return FrontierPoint(
        strong_fraction=share,
        threshold=totals.threshold,
        cost_usd=None if estimator.unpriced else totals.cost_usd.mid,
        time_s=estimator.time_s(totals),
        win_mass_kept=_kept(totals, whole),
    )


def _kept(totals: Totals, whole: Whole) -> float | None:
    return totals.win_mass / whole.win_mass if whole.win_mass else None


def _plan(name: str, totals: Totals, whole: Whole, estimator: Estimator, frontier: list[FrontierPoint]) -> Plan:
    lanes = estimator.lanes
    sides: dict[Side, LaneTotals] = {"strong": totals.strong, "weak": totals.weak}
    return Plan(
        name=name,
        threshold=totals.threshold,
        rows=whole.rows,
        refused=whole.refused,
        too_long=sum(side.rows - side.sent for side in sides.values()),
        lanes=[_lane(side, lanes[side], sides[side]) for side in lanes],
        cost_usd=None if estimator.unpriced else totals.cost_usd,
        all_strong_usd=None if lanes["strong"].pricing is None else whole.all_strong_usd,
        all_weak_usd=None if lanes["weak"].pricing is None else whole.all_weak_usd,
        time_s=estimator.time_s(totals),
        win_mass_kept=_kept(totals, whole),
        frontier=frontier,
    )


def _lane(side: Side, lane: Lane, totals: LaneTotals) -> LanePlan:
    return LanePlan(
        side=side,
        model=lane.spec.model,
        simulated=lane.spec.simulate is not None,
        price_known=lane.pricing is not None,
        rows=totals.rows,
        prompt_tokens=totals.chars * lane.tokens_per_char.mid,
        completion_tokens=totals.sent * lane.completion_tokens.mid,
        cost_usd=None if lane.pricing is None else totals.cost_usd,
        time_s=lane.time_s(totals.sent, totals.chars),
        assumed=lane.words,
    )
