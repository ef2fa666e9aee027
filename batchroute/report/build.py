"""The figures of a run, computed from its directory in bounded memory, whatever the number of rows.

Sums rows, tokens and money as they stand on disk, by endpoint name; only what all rows would have cost at one
endpoint is priced anew. Knows nothing of how a report is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypedDict

import polars as pl

from batchroute.job.prices import open_target
from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.figures import Latency, ModelBill, Report, State, read_report
from batchroute.report.groups import Groups, grouped
from batchroute.report.quantiles import counted_latencies, counted_scores, histogram, quantiles, score_bins
from batchroute.report.read import RunJob, read_job, scan_rows, scan_scores
from batchroute.store.layout import RunLayout
from batchroute.store.ledger import read_ledger, reconciled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchroute.report.read import Rows

_DECILES = {f"p{percent}": percent / 100 for percent in range(0, 101, 10)}


@dataclass(frozen=True, slots=True)
class _Sums:
    """What is read off the rows, aggregated to a bounded size; `begun` are those `settled` and the open ones."""

    settled: Groups
    begun: Groups
    unsealed: int
    errors: dict[str, int]
    latencies: Mapping[str, Latency]

    def is_complete(self, rows: int | None) -> bool:
        """Whether all rows of the input are done, and stand in the results."""
        failed = self.settled.ended("failed").count("rows")
        return rows == self.settled.count("rows") and not failed and not self.unsealed


@dataclass(frozen=True, slots=True)
class _EndpointSums:
    """One endpoint's part of the run; `all_usd` is what all answered rows would have cost there."""

    rows: int
    score_mass: float
    cost_usd: float | None
    all_usd: float | None


@dataclass(frozen=True, slots=True)
class _Bill:
    """What the run cost, in USD; None is unknown, never 0.

    `completions` is what is known of the endpoints' bills. Where one is 0.25 and the other is unknown it is 0.25,
    and `unknown_rows` says that this is not all; where neither is known it is None.
    """

    completions: float | None
    router: float | None
    unconfirmed: float | None
    unknown_rows: int

    @property
    def total(self) -> float | None:
        return None if self.completions is None or self.router is None else self.completions + self.router

    def saved_against(self, other_usd: float | None) -> float | None:
        """How much less than `other_usd` it was; not known where the bill is not known to the last row."""
        total = self.total
        return None if self.unknown_rows or other_usd is None or total is None else other_usd - total


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
    amounts are totals over all runs of the directory, and taken from that report where None. What a ledger says is
    unconfirmed takes precedence, since a run that was killed wrote no report. Without `state` the rows decide.
    Raises RunFault where `run` is no run directory.
    """
    job, earlier, rows = read_job(run), read_report(run), scan_rows(run)
    if earlier is not None:
        wall_s += earlier.wall_s or 0.0
        router_cost_usd = earlier.router_cost_usd if router_cost_usd is None else router_cost_usd
        unconfirmed_usd = earlier.unconfirmed_usd if unconfirmed_usd is None else unconfirmed_usd
    if router_cost_usd is None and not job.embedding_is_billed:
        router_cost_usd = 0.0
    sums = _sums(rows)
    if (ledger := RunLayout(run).ledger).exists():
        spent = (sums.begun.cost_usd() or 0.0) + (router_cost_usd or 0.0)
        unconfirmed_usd = float(reconciled(read_ledger(ledger), Decimal(spent)).unconfirmed)
    endpoints = {
        name: _EndpointSums(
            rows=sums.settled.of(name).count("rows"),
            score_mass=sums.settled.of(name).score_mass(),
            cost_usd=sums.begun.of(name).cost_usd(),
            all_usd=all_on_one_side_usd(open_target(name, endpoint), rows.settled),
        )
        for name, endpoint in job.endpoints.items()
    }
    known = [endpoint.cost_usd for endpoint in endpoints.values() if endpoint.cost_usd is not None]
    completions_usd = sum(known) if known else None
    bill = _Bill(completions_usd, router_cost_usd, unconfirmed_usd, sums.begun.count("cost_unknown"))
    scores = scan_scores(run, rows.settled)
    state = state or ("complete" if sums.is_complete(job.rows) else "incomplete")
    return _report(job, sums, endpoints, bill, scores, run=run.resolve().name, state=state, wall_s=wall_s)


def _report(
    job: RunJob,
    sums: _Sums,
    endpoints: Mapping[str, _EndpointSums],
    bill: _Bill,
    scores: pl.LazyFrame,
    *,
    run: str,
    state: State,
    wall_s: float,
) -> Report:
    settled, begun = sums.settled, sums.begun
    done = settled.count("rows")
    return Report(
        name=job.name,
        run=run,
        state=state,
        simulated=[name for name, endpoint in job.endpoints.items() if endpoint.simulated],
        rows=job.rows,
        ok=settled.ended("ok").count("rows"),
        refused=settled.ended("refused").count("rows"),
        failed=settled.ended("failed").count("rows"),
        unsealed=sums.unsealed,
        remaining=None if job.rows is None else job.rows - done,
        threshold=job.threshold,
        cost_usd=bill.completions,
        failed_cost_usd=begun.ended("failed", "open").cost_usd(),
        router_cost_usd=bill.router,
        total_usd=bill.total,
        unconfirmed_usd=bill.unconfirmed,
        cost_unknown_rows=bill.unknown_rows,
        prompt_tokens=begun.tokens("prompt_tokens"),
        cached_tokens=begun.tokens("cached_tokens"),
        completion_tokens=begun.tokens("completion_tokens"),
        reasoning_tokens=begun.tokens("reasoning_tokens"),
        attempts=begun.count("attempts"),
        retries=begun.count("retries"),
        reused=settled.count("reused"),
        budget_rows=settled.count("budget_rows"),
        errors=sums.errors,
        latency_s={name: sums.latencies.get(name) for name in job.endpoints},
        wall_s=wall_s or None,
        rows_per_s=_ratio(done, wall_s),
        score_histogram=histogram(score_bins(scores).collect().iter_rows()),
        score_quantiles=_score_quantiles(dict(counted_scores(scores).collect().iter_rows())),
        models=[_model_bill(route, model, groups) for (route, model), groups in begun.by_model().items()],
        **_keys_of_sides(endpoints, bill),
    )


class _KeysOfSides(TypedDict):
    strong_rows: int
    weak_rows: int
    strong_fraction: float | None
    strong_cost_usd: float | None
    weak_cost_usd: float | None
    all_strong_usd: float | None
    all_weak_usd: float | None
    savings_usd: float | None
    savings_fraction: float | None
    win_mass_kept: float | None


def _keys_of_sides(endpoints: Mapping[str, _EndpointSums], bill: _Bill) -> _KeysOfSides:
    """The keys of report.json that name one of two endpoints; nothing before this knows that there are two."""
    strong, weak = endpoints["strong"], endpoints["weak"]
    saved = bill.saved_against(strong.all_usd)
    return {
        "strong_rows": strong.rows,
        "weak_rows": weak.rows,
        "strong_fraction": _ratio(strong.rows, strong.rows + weak.rows),
        "strong_cost_usd": strong.cost_usd,
        "weak_cost_usd": weak.cost_usd,
        "all_strong_usd": strong.all_usd,
        "all_weak_usd": weak.all_usd,
        "savings_usd": saved,
        "savings_fraction": _ratio(saved, strong.all_usd),
        "win_mass_kept": _ratio(strong.score_mass, strong.score_mass + weak.score_mass),
    }


def _model_bill(route: str, model: str | None, groups: Groups) -> ModelBill:
    return ModelBill(
        route=route,
        model=model,
        ok=groups.ended("ok").count("rows"),
        refused=groups.ended("refused").count("rows"),
        failed=groups.ended("failed").count("rows"),
        attempts=groups.count("attempts"),
        prompt_tokens=groups.tokens("prompt_tokens"),
        cached_tokens=groups.tokens("cached_tokens"),
        completion_tokens=groups.tokens("completion_tokens"),
        cost_usd=groups.cost_usd(),
    )


def _sums(rows: Rows) -> _Sums:
    # One query after the other: run together, polars would keep the scan that they share in memory.
    settled = grouped(rows.settled)
    unanswered = rows.settled.filter(pl.col("status") != "ok")
    errors = unanswered.group_by("error_type").len().sort("len", "error_type", descending=[True, False]).collect()
    by_route = counted_latencies(rows.settled).collect().partition_by("route", as_dict=True)
    counts = {str(route): dict(rows.select("latency_s", "len").iter_rows()) for (route,), rows in by_route.items()}
    return _Sums(
        settled=settled,
        begun=Groups([*settled.each, *grouped(rows.open.lazy()).each]),
        unsealed=rows.unsealed,
        errors={error or "unknown": count for error, count in errors.iter_rows()},
        latencies={name: Latency(*quantiles(found, (0.50, 0.95, 0.99))) for name, found in counts.items()},
    )


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _score_quantiles(counts: Mapping[float, int]) -> dict[str, float]:
    return dict(zip(_DECILES, quantiles(counts, list(_DECILES.values())), strict=True)) if counts else {}
