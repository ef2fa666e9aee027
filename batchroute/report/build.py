"""The figures of a run, computed from its directory in bounded memory, whatever the number of rows.

Sums rows, tokens and money as they stand on disk, by endpoint name; only what all rows would have cost at one
endpoint is priced anew. Knows nothing of how a report is shown.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from batchroute.job.prices import open_target
from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.answers import finishes, other_models, service_tiers
from batchroute.report.beside import BesideRows, beside_rows, router_cost_of, unconfirmed_usd_of
from batchroute.report.figures import (
    ModelBill,
    Report,
    State,
    known_float,
    ratio,
    read_plan,
    read_report,
    state_of_ended,
    sum_if_known,
)
from batchroute.report.quality import read_quality
from batchroute.report.read import read_job, scan_rows, scan_scores
from batchroute.report.savings import savings_by_cause
from batchroute.report.sums import Groups, grouped, latencies, score_histogram, score_quantiles
from batchroute.report.ties import tie_at
from batchroute.report.together import read_status
from batchroute.report.token_sums import token_sums
from batchroute.report.tokens import mean_completions
from batchroute.store.layout import RunLayout
from batchroute.store.lock import lock_state
from batchroute.store.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.figures import EngineFigures
    from batchroute.report.lanes import RunStatus
    from batchroute.report.quality import Quality
    from batchroute.report.read import Rows, RunJob
    from batchroute.report.ties import Tie


def build_report(
    run: Path,
    *,
    wall_s: float = 0.0,
    state: State | None = None,
    router_cost_usd: float | None = None,
    stopped: Sequence[str] | None = None,
    engine: EngineFigures | None = None,
) -> Report:
    """What the run in the directory `run` did so far.

    `wall_s` is the time since the report that stands there now was written, and is added to that one's; the
    router's cost is the total over all runs of the directory, and taken from that report where None, as is why the
    last run `stopped`, and the `engine`. Without `state` the lock, the rows and that report decide.
    Raises RunFault where `run` is no run directory.
    """
    job, earlier, status, rows = read_job(run), read_report(run), read_status(run), scan_rows(run)
    wall_s = _worked_s(wall_s, earlier, status)
    if router_cost_usd is None:
        router_cost_usd = router_cost_of(job, earlier)
    # One query after the other: run together, polars would keep the scan that they share in memory.
    settled = grouped(rows.settled)
    begun = Groups([*settled.each, *grouped(rows.open.lazy()).each])
    done = settled.count("rows")
    beside_usd = beside_rows(run, router_cost_usd)
    money = _money(job, rows, begun, beside_usd)
    return Report(
        name=job.name,
        run=run.resolve().name,
        state=state or _state(run, job, settled, rows.unsealed, earlier),
        stopped=list(stopped) if stopped is not None else [] if earlier is None else earlier.stopped,
        simulated=[name for name, endpoint in job.endpoints.items() if endpoint.simulated],
        unsealed=rows.unsealed,
        threshold=job.threshold,
        tie=_tie(run, job),
        unconfirmed_usd=unconfirmed_usd_of(run, (begun.cost_usd() or 0.0) + beside_usd.known, earlier),
        max_cost_usd=None if job.max_cost_usd is None else float(job.max_cost_usd),
        predicted=read_plan(run),
        engine=engine or (None if earlier is None else earlier.engine),
        builtin_router=job.builtin_router,
        quality=_quality(run, money, is_whole=job.rows is not None and done >= job.rows),
        lanes={} if status is None else status.lanes,
        reasoning_tokens=begun.tokens("reasoning_tokens"),
        retries=begun.count("retries"),
        reused=settled.count("reused"),
        budget_rows=settled.count("budget_rows"),
        finish_rows=settled.count("finish_rows"),
        wall_s=wall_s or None,
        rows_per_s=ratio(done, wall_s),
        models=[
            ModelBill(route=route, model=model, cost_usd=groups.cost_usd(), **_counts(groups))
            for (route, model), groups in begun.by_model().items()
        ],
        **_rows(job, done),
        **_counts(begun),
        **_shares(settled),
        **money,
        **_distributions(run, job, rows),
    )


def _worked_s(since_s: float, earlier: Report | None, status: RunStatus | None) -> float:
    """The time of all runs of the directory; one that was killed left none in a report."""
    reported_s = since_s if earlier is None else since_s + (earlier.wall_s or 0.0)
    return reported_s if status is None else max(reported_s, status.wall_s)


def _state(run: Path, job: RunJob, settled: Groups, unsealed: int, earlier: Report | None) -> State:
    """What lock and rows say; that something ended the last run early is known from its report.

    A run that was killed has left the report that it began with.
    """
    if lock_state(run).held:
        return "running"
    ended_early = earlier is not None and (earlier.state == "running" or bool(earlier.stopped))
    done = settled.count("rows")
    if ended_early or unsealed or job.rows is None or done < job.rows or settled.ended("failed").count("rows"):
        return "incomplete"
    return state_of_ended(settled.ended("refused").count("rows"), done, job.ok_if_refused)


def _quality(run: Path, money: dict[str, Any], *, is_whole: bool) -> Quality | None:
    """What the pilot found, and forecast of its cost; when all rows have their ends, what these came to."""
    found = read_quality(run)
    if found is None or not is_whole:
        return found
    cost_share = ratio(money["total_usd"], money["all_strong_usd"])
    return msgspec.structs.replace(found, pilot_cost_usd=money["pilot_cost_usd"], cost_share=cost_share)


def _tie(run: Path, job: RunJob) -> Tie | None:
    """By the scores that the run kept, which are only read where a share was asked for."""
    if job.threshold is None or job.strong_fraction is None:
        return None
    return tie_at(Scores(RunLayout(run).scores).free(), job.threshold, job.strong_fraction)


# The keys of report.json, by subject.


def _rows(job: RunJob, done: int) -> dict[str, Any]:
    """Where an earlier run did more than the last one was asked for, all that it did."""
    rows = None if job.rows is None else max(job.rows, done)
    return {"rows": rows, "remaining": None if rows is None else rows - done}


def _counts(groups: Groups) -> dict[str, Any]:
    return {
        **{status: groups.ended(status).count("rows") for status in ("ok", "refused", "failed")},
        "attempts": groups.count("attempts"),
        **{name: groups.tokens(name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    }


def _shares(settled: Groups) -> dict[str, Any]:
    strong, weak = settled.of("strong"), settled.of("weak")
    strong_rows, weak_rows = strong.count("rows"), weak.count("rows")
    return {
        "strong_rows": strong_rows,
        "weak_rows": weak_rows,
        "strong_fraction": ratio(strong_rows, strong_rows + weak_rows),
        "win_mass_kept": ratio(strong.score_mass(), strong.score_mass() + weak.score_mass()),
    }


def _money(job: RunJob, rows: Rows, begun: Groups, beside_usd: BesideRows) -> dict[str, Any]:
    """What the run cost, and would have cost elsewhere, in USD; None is unknown, never 0.

    `cost_usd` is what is known of the endpoints' bills. Where one is 0.25 and the other is unknown it is 0.25, and
    `cost_unknown_rows` says that this is not all; where nothing is known of any it is None.
    """
    bills = {name: begun.of(name).cost_usd() for name in job.endpoints}
    known = [bill for bill in bills.values() if bill is not None]
    cost_usd = None if begun.cost_usd() is None else sum(known)
    total_usd = sum_if_known((cost_usd, beside_usd.router, beside_usd.pilot))
    targets = {name: open_target(name, endpoint) for name, endpoint in job.endpoints.items()}
    sums = token_sums(rows.settled, targets.values())
    means = mean_completions(sums)
    all_usd = {name: all_on_one_side_usd(target, sums, means) for name, target in targets.items()}
    unknown_rows, all_strong_usd = begun.count("cost_unknown"), all_usd["strong"]
    uncounted_rows = begun.ended("ok").count("rows") - sum(each.rows for each in sums)
    # Where the bill, or what was used, is not known to the last row, neither is what was saved.
    saved_usd = None
    if total_usd is not None and all_strong_usd is not None and not unknown_rows and not uncounted_rows:
        saved_usd = all_strong_usd - Decimal(repr(total_usd))
    by_cause = savings_by_cause(saved_usd, targets, sums)
    return {
        "cost_usd": cost_usd,
        "strong_cost_usd": bills["strong"],
        "weak_cost_usd": bills["weak"],
        "failed_cost_usd": begun.ended("failed", "open").cost_usd(),
        "router_cost_usd": beside_usd.router,
        "pilot_cost_usd": beside_usd.pilot,
        "judge_cost_usd": beside_usd.judge,
        "total_usd": total_usd,
        "cost_unknown_rows": unknown_rows,
        "all_strong_usd": known_float(all_strong_usd),
        "all_weak_usd": known_float(all_usd["weak"]),
        "mean_output_tokens": {name: means.get(name) for name in targets},
        "savings_usd": known_float(saved_usd),
        "savings_fraction": ratio(known_float(saved_usd), known_float(all_strong_usd)),
        "saved_routing_usd": known_float(by_cause.routing),
        "saved_reuse_usd": known_float(by_cause.reuse),
        "saved_delivery_usd": known_float(by_cause.delivery),
        "saved_caching_usd": known_float(by_cause.caching),
    }


def _distributions(run: Path, job: RunJob, rows: Rows) -> dict[str, Any]:
    unanswered = rows.settled.filter(pl.col("status") != "ok")
    errors = unanswered.group_by("error_type").len().sort("len", "error_type", descending=[True, False]).collect()
    latency_s = latencies(rows.settled)
    scores = scan_scores(run, rows.settled)
    return {
        "errors": {error or "unknown": count for error, count in errors.iter_rows()},
        "finish": finishes(rows.settled, job.endpoints),
        "service_tiers": service_tiers(rows.settled),
        "other_models": other_models(rows.settled),
        "latency_s": {name: latency_s.get(name) for name in job.endpoints},
        "score_histogram": score_histogram(scores),
        "score_quantiles": score_quantiles(scores),
    }
