"""The figures of a run, computed from its directory in bounded memory, whatever the number of rows.

Sums rows, tokens and money as they stand on disk; only what all-strong and all-weak would have cost is priced
anew. Knows nothing of how a report is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from batchroute.job.prices import open_target
from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.figures import Latency, Report, State, read_report
from batchroute.report.groups import Group, cost_of, grouped, model_bills, rows_of, score_of, tokens_of
from batchroute.report.quantiles import counted_latencies, counted_scores, histogram, quantiles, score_bins
from batchroute.report.read import RunJob, read_job, scan_rows, scan_scores
from batchroute.store.layout import RunLayout
from batchroute.store.ledger import read_ledger, reconciled
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.read import Rows

_DECILES = {f"p{percent}": percent / 100 for percent in range(0, 101, 10)}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Everything that is read off the rows, aggregated to a bounded size; `open` rows are not settled."""

    groups: Sequence[Group]
    open: Sequence[Group]
    unsealed: int
    errors: dict[str, int]
    latencies: dict[Side, dict[float, int]]
    histogram: list[int]
    scores: dict[float, int]


def build_report(
    run: Path,
    *,
    wall_s: float = 0.0,
    state: State | None = None,
    router_cost_usd: float | None = None,
    unconfirmed_usd: float | None = None,
) -> Report:
    """What the run in the directory `run` did so far.

    `wall_s` is the time since the report that stands there now was written, and is added to that one's; the two
    amounts are totals over all runs of the directory, and taken from that report where None; what a ledger says to
    be unconfirmed goes before, since a run that was killed wrote no report. Without `state` the
    rows decide. Raises RunFault where `run` is no run directory.
    """
    job, earlier = read_job(run), read_report(run)
    rows = scan_rows(run)
    columns = _aggregate(rows, scan_scores(run, rows.settled))
    if earlier is not None:
        wall_s += earlier.wall_s or 0.0
        router_cost_usd = earlier.router_cost_usd if router_cost_usd is None else router_cost_usd
        unconfirmed_usd = earlier.unconfirmed_usd if unconfirmed_usd is None else unconfirmed_usd
    if router_cost_usd is None and not job.embedding_is_billed:
        router_cost_usd = 0.0
    if (ledger := RunLayout(run).ledger).exists():
        spent = (cost_of([*columns.groups, *columns.open]) or 0.0) + (router_cost_usd or 0.0)
        unconfirmed_usd = float(reconciled(read_ledger(ledger), Decimal(spent)).unconfirmed)
    all_usd = {side: all_on_one_side_usd(open_target(side, job.endpoints[side]), rows.settled) for side in SIDES}
    return _report(
        run.resolve().name,
        job,
        columns,
        all_usd,
        wall_s=wall_s,
        state=state,
        router_usd=router_cost_usd,
        unconfirmed=unconfirmed_usd,
    )


def _report(
    run: str,
    job: RunJob,
    columns: _Columns,
    all_usd: dict[Side, float | None],
    *,
    wall_s: float,
    state: State | None,
    router_usd: float | None,
    unconfirmed: float | None,
) -> Report:
    groups, begun = columns.groups, [*columns.groups, *columns.open]
    by_side = {side: [group for group in groups if group.route == side] for side in SIDES}
    billed = {side: [group for group in begun if group.route == side] for side in SIDES}
    by_status = {
        status: rows_of(g for g in groups if g.status == status) for status in ("ok", "refused", "failed")
    }
    strong_rows, weak_rows = rows_of(by_side["strong"]), rows_of(by_side["weak"])
    done = rows_of(groups)
    remaining = None if job.rows is None else job.rows - done
    strong_usd, weak_usd = cost_of(billed["strong"]), cost_of(billed["weak"])
    cost_usd = _known_sum(strong_usd, weak_usd)
    total_usd = None if cost_usd is None or router_usd is None else cost_usd + router_usd
    unknown = sum(group.cost_unknown for group in begun)
    unfinished = by_status["failed"] or columns.unsealed
    savings_usd = None if unknown else _difference(all_usd["strong"], total_usd)
    return Report(
        name=job.name,
        run=run,
        state=state or ("complete" if remaining == 0 and not unfinished else "incomplete"),
        simulated=[side for side in SIDES if job.endpoints[side].simulated],
        rows=job.rows,
        **by_status,
        unsealed=columns.unsealed,
        remaining=remaining,
        strong_rows=strong_rows,
        weak_rows=weak_rows,
        strong_fraction=_ratio(strong_rows, strong_rows + weak_rows),
        threshold=job.threshold,
        cost_usd=cost_usd,
        strong_cost_usd=strong_usd,
        weak_cost_usd=weak_usd,
        failed_cost_usd=cost_of(group for group in begun if group.status in {"failed", "open"}),
        router_cost_usd=router_usd,
        total_usd=total_usd,
        unconfirmed_usd=unconfirmed,
        cost_unknown_rows=unknown,
        all_strong_usd=all_usd["strong"],
        all_weak_usd=all_usd["weak"],
        savings_usd=savings_usd,
        savings_fraction=_ratio(savings_usd, all_usd["strong"]),
        prompt_tokens=tokens_of(begun, "prompt_tokens"),
        cached_tokens=tokens_of(begun, "cached_tokens"),
        completion_tokens=tokens_of(begun, "completion_tokens"),
        reasoning_tokens=tokens_of(begun, "reasoning_tokens"),
        attempts=sum(group.attempts for group in begun),
        retries=sum(group.retries for group in begun),
        reused=sum(group.reused for group in groups),
        budget_rows=sum(group.budget_rows for group in groups),
        errors=columns.errors,
        latency_s={side: _latency(columns.latencies[side]) for side in SIDES},
        wall_s=wall_s or None,
        rows_per_s=_ratio(done, wall_s),
        score_histogram=columns.histogram,
        score_quantiles=_score_quantiles(columns.scores),
        win_mass_kept=_ratio(score_of(by_side["strong"]), score_of(groups)),
        models=model_bills(begun),
    )


def _aggregate(rows: Rows, scores: pl.LazyFrame) -> _Columns:
    settled = rows.settled
    # One query after the other: run together, polars would keep the scan that they share in memory.
    unanswered = settled.filter(pl.col("status") != "ok")
    errors = unanswered.group_by("error_type").len().sort("len", "error_type", descending=[True, False]).collect()
    latencies = counted_latencies(settled).collect()
    return _Columns(
        groups=grouped(settled),
        open=grouped(rows.open.lazy()),
        unsealed=rows.unsealed,
        errors={error or "unknown": rows for error, rows in errors.iter_rows()},
        latencies={
            side: dict(latencies.filter(route=side).select("latency_s", "len").iter_rows()) for side in SIDES
        },
        histogram=histogram(score_bins(scores).collect().iter_rows()),
        scores=dict(counted_scores(scores).collect().iter_rows()),
    )


def _known_sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _latency(counts: dict[float, int]) -> Latency | None:
    return Latency(*quantiles(counts, (0.50, 0.95, 0.99))) if counts else None


def _score_quantiles(counts: dict[float, int]) -> dict[str, float]:
    return dict(zip(_DECILES, quantiles(counts, list(_DECILES.values())), strict=True)) if counts else {}
