"""A job -> its plan: scores the input as a run would, keeps the scores for it, and adds up what it will cost.

Knows nothing of how a plan is shown; sends nothing. Money in USD, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.job.prices import open_targets
from batchroute.quality.ranks import thresholds_for_shares
from batchroute.report.build import build_report
from batchroute.report.figures import CostBand, Predicted, json_text, write_plan
from batchroute.report.ties import tie_at
from batchroute.route.forecast.estimator import make_estimator, resolve_threshold
from batchroute.route.forecast.evidence import Band
from batchroute.run.open import refuse_unpriced
from batchroute.run.prepare import scored_job
from batchroute.run.whatif import what_if

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.job.spec import Job
    from batchroute.report.figures import Report
    from batchroute.report.ties import Tie
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.forecast.estimator import EndpointTotals, Estimator, Totals, Whole

FRONTIER = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # shares of strong rows; the last is all of them
_POINT_KEYS = ("strong_fraction", "threshold", "cost_usd", "time_s", "win_mass_kept")


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """One endpoint's part; `rows` are all that are routed there, too long ones too; tokens are estimates."""

    name: str
    model: str
    simulated: bool
    price_known: bool
    rows: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: Band | None
    time_s: float
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """The job at another share of strong rows, overrides not counted in it.

    `strong_fraction` is asked for, and `sent_fraction` goes strong, as equal scores go the same way.
    """

    strong_fraction: float
    sent_fraction: float | None
    threshold: float
    cost_usd: float | None
    time_s: float
    win_mass_kept: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the job will do at its threshold, and what it would at others; None stands for unknown, never 0.

    `rows` counts those too that will be `refused` because the input makes them unusable. `all_strong_usd` and
    `all_weak_usd` are for every usable row, wherever its length or an override would send it. `is_over`: every row
    of the run has ended, and the figures are what came of them. `builtin_router`: the model that ships scores.
    `tie`: the rows for which more go strong than were asked for.
    """

    name: str
    threshold: float
    rows: int
    refused: int
    too_long: int
    endpoints: Sequence[EndpointPlan]
    cost_usd: Band | None
    all_strong_usd: float | None
    all_weak_usd: float | None
    time_s: float
    win_mass_kept: float | None
    frontier: Sequence[FrontierPoint]
    is_over: bool = False
    builtin_router: bool = False
    tie: Tie | None = None

    @property
    def strong_rows(self) -> int:
        return sum(endpoint.rows for endpoint in self.endpoints if endpoint.name == "strong")

    @property
    def savings_usd(self) -> float | None:
        """Against all strong."""
        if self.all_strong_usd is None or self.cost_usd is None:
            return None
        return self.all_strong_usd - self.cost_usd.mid


def plan_job(job: Job, limit: int | None = None, on_rows: Callable[[int], None] = lambda rows: None) -> Plan:
    """What `run` would do with this job; its scores are left in the run directory. Sends nothing; blocks.

    What it foretells is kept there, too, unless the run has begun, to be shown beside what comes. Of a run whose
    rows have all ended it says what `report` and `what_if` say.

    `on_rows` is given the rows scored so far. Raises UsageFault where a run would refuse to begin, and where no
    threshold keeps within `routing.budget_usd`; Stopped where another run is at work in the directory.
    """
    targets = open_targets(job.asked)
    refuse_unpriced(job, targets)
    with scored_job(job, limit, on_rows) as scored:
        estimator = make_estimator(job, targets, scored.source, scored.scores.shards)
        threshold = None if job.routing.threshold is not None else scored.threshold
        if threshold is None:
            threshold = resolve_threshold(job.routing, scored.scores.free(), lambda: estimator)
        shares = thresholds_for_shares(scored.scores.free(), FRONTIER)
        (here, *there), whole = estimator.totals([threshold, *(of_share for of_share, _ in shares)])
        rows = shares[-1][1]
        points = zip(FRONTIER, (reached / rows if rows else None for _, reached in shares), there, strict=True)
        frontier = [_point(share, sent, totals, whole, estimator) for share, sent, totals in points]
        plan, run = _plan(job, here, whole, estimator, frontier), Path(job.output.path)
        plan = replace(plan, tie=tie_at(scored.scores.free(), threshold, job.routing.strong_fraction))
        if scored.ended:
            return _as_it_was(plan, run)
        if not scored.begun:
            write_plan(run, _predicted(plan))
    return plan


def _as_it_was(plan: Plan, run: Path) -> Plan:
    """The plan of a run that is over: nothing has to be assumed of its rows, and little of other thresholds."""
    report = build_report(run)

    def at(threshold: float) -> float | None:
        return what_if(run, threshold).cost_usd

    return replace(
        plan,
        endpoints=[_endpoint_as_it_was(endpoint, report) for endpoint in plan.endpoints],
        cost_usd=_exactly(at(plan.threshold)),
        all_strong_usd=report.all_strong_usd,
        all_weak_usd=report.all_weak_usd,
        time_s=plan.time_s if report.wall_s is None else report.wall_s,
        frontier=[replace(point, cost_usd=at(point.threshold)) for point in plan.frontier],
        is_over=True,
    )


def _endpoint_as_it_was(endpoint: EndpointPlan, report: Report) -> EndpointPlan:
    bills = [bill for bill in report.models if bill.route == endpoint.name]
    known = [bill.cost_usd for bill in bills if bill.cost_usd is not None]
    return replace(
        endpoint,
        prompt_tokens=sum(bill.prompt_tokens or 0 for bill in bills),
        completion_tokens=sum(bill.completion_tokens or 0 for bill in bills),
        cost_usd=_exactly(sum(known) if known or not bills else None),
        assumed=("as in the run, whose rows have all ended",),
    )


def _exactly(usd: float | None) -> Band | None:
    return None if usd is None else Band(usd, usd, usd)


def _predicted(plan: Plan) -> Predicted:
    """What of a plan is worth comparing with what came."""
    routed = sum(endpoint.rows for endpoint in plan.endpoints)
    return Predicted(
        rows=plan.rows,
        threshold=plan.threshold,
        strong_fraction=plan.strong_rows / routed if routed else None,
        cost_usd=None if plan.cost_usd is None else CostBand(*plan.cost_usd),
        time_s=plan.time_s,
    )


def plan_json(plan: Plan) -> bytes:
    """SPEC's keys, and no others; a threshold over no rows at all is infinite, which JSON writes as null."""
    unknown = dict.fromkeys(("low", "mid", "high"))
    shown = {
        "threshold": plan.threshold,
        "rows": plan.rows,
        "strong_rows": plan.strong_rows,
        "cost_usd": unknown if plan.cost_usd is None else plan.cost_usd._asdict(),
        "all_strong_usd": plan.all_strong_usd,
        "all_weak_usd": plan.all_weak_usd,
        "time_s": plan.time_s,
        "frontier": [{key: getattr(point, key) for key in _POINT_KEYS} for point in plan.frontier],
    }
    return json_text(shown)


def _point(share: float, sent: float | None, totals: Totals, whole: Whole, estimator: Estimator) -> FrontierPoint:
    return FrontierPoint(
        strong_fraction=share,
        sent_fraction=sent,
        threshold=totals.threshold,
        cost_usd=None if estimator.unpriced else totals.cost_usd.mid,
        time_s=estimator.time_s(totals),
        win_mass_kept=_kept(totals, whole),
    )


def _kept(totals: Totals, whole: Whole) -> float | None:
    return totals.win_mass / whole.win_mass if whole.win_mass else None


def _plan(job: Job, totals: Totals, whole: Whole, estimator: Estimator, frontier: list[FrontierPoint]) -> Plan:
    assumed = estimator.assumed
    return Plan(
        name=job.name,
        threshold=totals.threshold,
        rows=whole.rows,
        refused=whole.refused,
        too_long=sum(endpoint.rows - endpoint.sent for endpoint in totals.endpoints.values()),
        endpoints=[_endpoint(of, assumed[of], endpoint) for of, endpoint in totals.endpoints.items()],
        cost_usd=None if estimator.unpriced else totals.cost_usd,
        all_strong_usd=None if assumed["strong"].pricing is None else whole.all_usd["strong"],
        all_weak_usd=None if assumed["weak"].pricing is None else whole.all_usd["weak"],
        time_s=estimator.time_s(totals),
        win_mass_kept=_kept(totals, whole),
        frontier=frontier,
        builtin_router=job.router.is_builtin,
    )


def _endpoint(name: str, assumptions: Assumptions, totals: EndpointTotals) -> EndpointPlan:
    return EndpointPlan(
        name=name,
        model=assumptions.spec.model,
        simulated=assumptions.spec.simulate is not None,
        price_known=assumptions.pricing is not None,
        rows=totals.rows,
        prompt_tokens=totals.chars * assumptions.tokens_per_char.mid,
        completion_tokens=totals.sent * assumptions.completion_tokens.mid,
        cost_usd=None if assumptions.pricing is None else totals.cost_usd,
        time_s=assumptions.time_s(totals.sent, totals.chars),
        assumed=assumptions.words,
    )
