"""A run at another threshold: which rows would change side, and what that would cost.

Computes from the scores and tokens that the run left; sends nothing and scores nothing. What a row that would
change side costs there is said by `report/all_one_side`, as in the report, but in the tier of service that the job
asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from batchroute.errors import RunFault
from batchroute.job.prices import open_target
from batchroute.quality.ranks import threshold_for_share
from batchroute.report.all_one_side import usd_there
from batchroute.report.figures import json_text, read_report
from batchroute.report.read import read_job, scan_rows
from batchroute.report.token_sums import token_sums
from batchroute.report.tokens import mean_completions
from batchroute.route.sides import LONGEST_INPUT, input_limits, route_columns
from batchroute.run.pilot.found import kept_at, paid_beside
from batchroute.send.tokens import CHARS_PER_TOKEN
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import read_pilot_bill
from batchroute.store.scores import Scores
from batchroute.types import SIDES

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.quality.promise import Tested
    from batchroute.report.read import RunJob

_PLACE = ("file", "row")
# A row that demanded its side, or was too long for the other, stays whatever the threshold.
_MOVABLE = ("score", "budget")


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The run at `threshold`, over its settled rows; amounts that cannot be known are None.

    `cost_usd` is the whole run's there, `delta_usd` there minus here. `new_usd` is what it costs to make it so
    now, by a job that reuses the run: the rows that change side, and all scores once more where those are billed
    and not cached. `uncounted_rows` change side but brought no usage, so nothing is added for them;
    `unsettled_rows` are not in any figure.

    Of a run with a pilot its cost is in `cost_usd`, and `kept` is what the pilot's grades say of the threshold.
    """

    threshold: float
    rows: int
    strong_rows: int
    changed_rows: int
    cost_usd: float | None
    delta_usd: float | None
    new_usd: float | None
    uncounted_rows: int = 0
    unsettled_rows: int = 0
    kept: Tested | None = None


def what_if(run: Path, threshold: float) -> WhatIf:
    """The run in the directory `run` at another threshold; RunFault where there is none."""
    job = read_job(run)
    settled = scan_rows(run).settled
    routed = _routed_anew(settled, run, job, threshold)
    groups = _groups(routed)
    moved_usd = _moved_usd(job, settled, routed)
    router_usd = _router_again_usd(run, job)
    stay, leave = ([group for group in groups if group.changed == changed] for changed in (False, True))
    # The run's own cost is known where that of any row is, as in its report; a difference only where all are.
    stay_is_known = any(group.priced for group in stay) or not any(group.unpriced for group in stay)
    leave_is_known = not any(group.unpriced for group in leave)
    stay_usd, leave_usd = (sum(group.cost_usd for group in found) for found in (stay, leave))
    rows = sum(group.rows for group in groups)
    pilot = _pilot_usd(RunLayout(run), job.threshold, threshold)
    return WhatIf(
        threshold=threshold,
        rows=rows,
        strong_rows=sum(group.rows for group in groups if group.there == "strong"),
        changed_rows=sum(group.rows for group in leave),
        cost_usd=_sum(moved_usd, stay_usd if stay_is_known else None, pilot and pilot.there),
        delta_usd=_sum(moved_usd, -leave_usd if leave_is_known else None, pilot and pilot.there - pilot.here),
        new_usd=None if moved_usd is None or router_usd is None else moved_usd + router_usd,
        uncounted_rows=sum(group.uncounted for group in leave),
        unsettled_rows=0 if job.rows is None else job.rows - rows,
        kept=kept_at(RunLayout(run), threshold),
    )


def _sum(*parts: float | None) -> float | None:
    """None where one of them is unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


class _PilotUsd(NamedTuple):
    """What a pilot costs beside the rows at the run's own threshold, and at another."""

    here: float
    there: float


def _pilot_usd(run: RunLayout, here: float | None, there: float) -> _PilotUsd | None:
    """None: unknown. A row that would change side takes the other answer, and leaves its own beside."""
    bill = read_pilot_bill(run)
    if not bill.complete:
        return None
    usd = float(bill.usd)
    now, then = (None if at is None else paid_beside(run, at) for at in (here, there))
    return _PilotUsd(usd, usd if now is None or then is None else usd + (then.mid - now.mid))


def share_of_run(run: Path, share: float) -> float:
    """The threshold that sends this share of a run's input strong, by the scores it kept."""
    scores = Scores(RunLayout(run).scores)
    if not scores.exhausted and not scores.parts:
        raise RunFault(f"{run}: has no scores; name a threshold instead of a share")
    return threshold_for_share(scores.free(), share)[0]


def whatif_json(found: WhatIf) -> bytes:
    """SPEC's keys, and no others: those of what is kept where a pilot says it."""
    keys = ("threshold", "strong_rows", "changed_rows", "cost_usd", "delta_usd", "new_usd")
    shown = {key: getattr(found, key) for key in keys}
    if found.kept is not None:
        shown |= {key: getattr(found.kept, key) for key in ("kept", "low", "high")}
    return json_text(shown)


def _routed_anew(settled: pl.LazyFrame, run: Path, job: RunJob, threshold: float) -> pl.LazyFrame:
    """The settled rows with `there`, their side at the threshold, and whether they `changed`.

    One that fits on neither side would be refused there: it stays where it is, and costs what it cost.
    """
    limits = input_limits(job.endpoints[side] for side in SIDES)

    def sides_of(columns: pl.Series) -> pl.Series:
        score, chars = (columns.struct.field(name).to_numpy() for name in ("score", "chars"))
        routes = route_columns(score, np.full(len(score), None), chars, threshold, limits)
        codes = pl.Series(np.where(routes.too_long, len(SIDES), routes.to))
        return codes.replace_strict(range(len(SIDES)), SIDES, default=None, return_dtype=pl.String)

    columns = pl.struct(pl.col("score").fill_null(math.nan), "chars")
    there = columns.map_batches(sides_of, return_dtype=pl.String)
    movable = pl.col("route_reason").is_in(_MOVABLE) & pl.col("score").is_not_null()
    return (
        _with_chars(settled, run, int(limits.longest.min()))
        .with_columns(there=pl.when(movable).then(pl.coalesce(there, "route")).otherwise("route"))
        .with_columns(changed=movable & (pl.col("there") != pl.col("route")))
    )


def _with_chars(settled: pl.LazyFrame, run: Path, longest: int) -> pl.LazyFrame:
    """The settled rows with their characters, 0 for those within all limits: the long ones are few."""
    if longest == LONGEST_INPUT:
        return settled.with_columns(chars=pl.lit(0, pl.Int64))
    scores = pl.scan_parquet(RunLayout(run).score_parts(), extra_columns="ignore")
    long = scores.filter(pl.col("chars") > CHARS_PER_TOKEN * longest)
    chars = long.select(pl.col("file").cast(pl.String), "row", "chars")
    return settled.join(chars, on=list(_PLACE), how="left").with_columns(pl.col("chars").fill_null(0))


@dataclass(frozen=True, slots=True)
class _Group:
    """The settled rows that change side, or do not, and then are `there`; `cost_usd` is their known cost here.

    `unpriced` rows have usage and no cost; `uncounted` ones have no usage of an answer to price.
    """

    changed: bool
    there: str | None
    rows: int
    cost_usd: float
    priced: int
    unpriced: int
    uncounted: int


def _groups(routed: pl.LazyFrame) -> list[_Group]:
    cost, prompt = pl.col("cost_usd"), pl.col("prompt_tokens")
    is_billed = (pl.col("attempts") > 0) & prompt.is_not_null()
    is_counted = prompt.is_not_null() & pl.col("completion_tokens").is_not_null() & (pl.col("status") == "ok")
    grouped = routed.group_by("changed", "there").agg(
        pl.len().alias("rows"),
        cost.sum(),
        cost.count().alias("priced"),
        (is_billed & cost.is_null()).sum().alias("unpriced"),
        (~is_counted).sum().alias("uncounted"),
    )
    return [_Group(**row) for row in grouped.collect().iter_rows(named=True)]


def _moved_usd(job: RunJob, settled: pl.LazyFrame, routed: pl.LazyFrame) -> float | None:
    """What the rows that change side cost on the other; None where that has no price."""
    targets = {side: open_target(side, job.endpoints[side]) for side in SIDES}
    means = mean_completions(token_sums(settled, targets.values()))
    total = Decimal(0)
    for side, target in targets.items():
        moved = routed.filter(pl.col("changed") & (pl.col("there") == side))
        if not (sums := token_sums(moved, targets.values())):
            continue  # an endpoint without such rows needs no price
        schedule = None if target.pricing is None else target.pricing.schedule()
        if schedule is None:
            return None
        total += usd_there(side, schedule, sums, means.get(side))
    return float(total)


def _router_again_usd(run: Path, job: RunJob) -> float | None:
    """What scoring the input anew costs: a directory of its own has scores of its own."""
    if job.embedder is None or job.embedding_is_cached:
        return 0.0
    report = read_report(run)
    return None if report is None else report.router_cost_usd
