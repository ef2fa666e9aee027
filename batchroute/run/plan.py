"""A job -> its plan: scores the input as a run would, keeps the scores for it, and adds up what it will cost.

Knows nothing of how a plan is shown; sends nothing. Money in USD, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchroute.job.prices import open_targets
from batchroute.quality.ranks import thresholds_for_shares
from batchroute.report.build import build_report
from batchroute.report.figures import CostBand, Predicted, json_text, write_plan
from batchroute.report.ties import tie_at
from batchroute.route.forecast.estimator import make_estimator, resolve_threshold
from batchroute.route.forecast.evidence import Band
from batchroute.run.open import refuse_unpriced
from batchroute.run.pilot.found import found_by_pilot, planned_threshold
from batchroute.run.pilot.plan import plan_pilot
from batchroute.run.prepare import scored_job
from batchroute.run.whatif import what_if

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.job.spec import Job
    from batchroute.report.figures import Report
    from batchroute.report.ties import Tie
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.forecast.estimator import EndpointTotals, Estimator, Totals, Whole
    from batchroute.run.pilot.plan import PilotPlan
    from batchroute.run.prepare import ScoredInput

FRONTIER = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # shares of strong rows; the last is all of them
HALF = 0.5  # of the rows strong: what is shown where the pilot is yet to decide
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

    `threshold` None: the `pilot` is yet to choose it, and `cost_usd` runs from all rows weak to all strong; its
    middle, and the endpoints, are shown for HALF of the rows. The pilot's cost is within `cost_usd` and `time_s`.
    """

    name: str
    threshold: float | None
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
    pilot: PilotPlan | None = None

    @property
    def strong_rows(self) -> int | None:
        """None: the pilot is yet to decide."""
        if self.threshold is None:
            return None
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
        estimator = make_estimator(job, targets, scored.source, scored.scores.parts)
        threshold = _threshold(job, scored, estimator)
        (half, _), *shares = thresholds_for_shares(scored.scores.free(), (HALF, *FRONTIER))
        at = half if threshold is None else threshold
        (here, *there), whole = estimator.totals([at, *(of_share for of_share, _ in shares)])
        rows = shares[-1][1]
        points = zip(FRONTIER, (reached / rows if rows else None for _, reached in shares), there, strict=True)
        frontier = [_point(share, sent, totals, whole, estimator) for share, sent, totals in points]
        plan, run = _plan(job, here, whole, estimator, frontier), Path(job.output.path)
        plan = replace(plan, tie=tie_at(scored.scores.free(), threshold, job.routing.strong_fraction))
        if threshold is None:
            plan = _undecided(plan, there[0], there[-1])
        pilot = plan_pilot(job, targets, scored, threshold, limit)
        if scored.ended:
            return _as_it_was(plan, pilot, run)
        if pilot is not None:
            plan = _with_pilot(plan, pilot)
        if not scored.begun:
            write_plan(run, _predicted(plan))
    return plan


def _threshold(job: Job, scored: ScoredInput, estimator: Estimator) -> float | None:
    """What the job names, a run here settled on, or its pilot chose; None where that is yet to be asked."""
    routing = job.routing
    if routing.threshold is None and scored.threshold is not None:
        return scored.threshold
    if routing.quality is None:
        return resolve_threshold(routing, scored.scores.free(), lambda: estimator)
    found = found_by_pilot(job)
    return None if found is None else planned_threshold(found, scored.scores.free())


def _undecided(plan: Plan, all_weak: Totals, all_strong: Totals) -> Plan:
    """The plan of a half, as that of a job whose pilot may choose anything from all weak to all strong."""
    half, ends = plan.cost_usd, (all_weak.cost_usd, all_strong.cost_usd)
    whole = half and Band(min(end.low for end in ends), half.mid, max(end.high for end in ends))
    return replace(plan, threshold=None, cost_usd=whole, win_mass_kept=None)


def _with_pilot(plan: Plan, pilot: PilotPlan) -> Plan:
    """Its cost is a part of every total: the job's, and that at each other share."""
    rows, beside = plan.cost_usd, pilot.total_usd
    points = [
        replace(point, cost_usd=None if point.cost_usd is None or beside is None else point.cost_usd + beside.mid)
        for point in plan.frontier
    ]
    return replace(
        plan,
        cost_usd=None if rows is None or beside is None else rows.plus(beside),
        time_s=plan.time_s + pilot.time_s,
        frontier=points,
        pilot=pilot,
    )


def _as_it_was(plan: Plan, pilot: PilotPlan | None, run: Path) -> Plan:
    """The plan of a run that is over: nothing has to be assumed of its rows, and little of other thresholds."""
    report = build_report(run)

    def at(threshold: float | None) -> float | None:
        return None if threshold is None else what_if(run, threshold).cost_usd

    return replace(
        plan,
        endpoints=[_endpoint_as_it_was(endpoint, report) for endpoint in plan.endpoints],
        cost_usd=_exactly(at(plan.threshold)),
        all_strong_usd=report.all_strong_usd,
        all_weak_usd=report.all_weak_usd,
        time_s=plan.time_s if report.wall_s is None else report.wall_s,
        frontier=[replace(point, cost_usd=at(point.threshold)) for point in plan.frontier],
        is_over=True,
        pilot=pilot and pilot.as_it_was(report.pilot_cost_usd),
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
        strong_fraction=plan.strong_rows / routed if routed and plan.strong_rows is not None else None,
        cost_usd=None if plan.cost_usd is None else CostBand(*plan.cost_usd),
        time_s=plan.time_s,
    )


def plan_json(plan: Plan) -> bytes:
    """SPEC's keys, and no others; a threshold over no rows at all is infinite, which JSON writes as null."""
    pilot = plan.pilot
    shown: dict[str, Any] = {
        "threshold": plan.threshold,
        "rows": plan.rows,
        "strong_rows": plan.strong_rows,
        "cost_usd": _band_json(plan.cost_usd),
        "all_strong_usd": plan.all_strong_usd,
        "all_weak_usd": plan.all_weak_usd,
        "time_s": plan.time_s,
        "frontier": [{key: getattr(point, key) for key in _POINT_KEYS} for point in plan.frontier],
    }
    if pilot is not None:
        cost_usd = _band_json(pilot.cost_usd)
        shown["pilot"] = {"rows": pilot.rows, "cost_usd": cost_usd, "most_usd": pilot.most_usd}
    return json_text(shown)


def _band_json(band: Band | None) -> dict[str, float | None]:
    return dict.fromkeys(Band._fields) if band is None else band._asdict()


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
