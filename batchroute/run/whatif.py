"""A run at another threshold: which rows would change side, and what that would cost.

Reckons from the scores and tokens that the run left; sends nothing and scores nothing. A row that would change
side is taken to use the tokens there that it was seen to use here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from batchroute.errors import RunFault
from batchroute.job.prices import open_target
from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.read import read_job, scan_settled
from batchroute.route.sides import LONGEST_INPUT, input_limits, route_columns
from batchroute.route.threshold import threshold_for_share
from batchroute.send.tokens import CHARS_PER_TOKEN
from batchroute.store.layout import RunLayout
from batchroute.store.scores import Scores
from batchroute.types import SIDES

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.read import RunEndpoint, RunJob
    from batchroute.types import Side

_PLACE = ("file", "row")
# A row that demanded its side, or was too long for the other, stays whatever the threshold.
_MOVABLE = ("score", "budget")


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The run at `threshold`, over its settled rows; amounts that cannot be known are None.

    `cost_usd` is the whole run's there, `delta_usd` there minus here. `uncounted_rows` change side but brought no
    usage, so nothing is reckoned for them; `unsettled_rows` are not in any figure.
    """

    threshold: float
    rows: int
    strong_rows: int
    changed_rows: int
    cost_usd: float | None
    delta_usd: float | None
    uncounted_rows: int = 0
    unsettled_rows: int = 0


def what_if(run: Path, threshold: float) -> WhatIf:
    """The run in the directory `run` at another threshold; RunFault where there is none."""
    job = read_job(run)
    routed = _routed_anew(scan_settled(run), run, job, threshold)
    sums = _sums(routed)
    there = {side: _moved_usd(job.endpoints[side], routed, side, sums) for side in SIDES}
    moved_usd = None if None in there.values() else sum(usd for usd in there.values() if usd is not None)
    stays_known = sums.stay_usd is not None or not sums.stay_unknown
    cost_usd = (sums.stay_usd or 0.0) + moved_usd if moved_usd is not None and stays_known else None
    left_usd = None if sums.left_unknown else sums.left_usd or 0.0
    return WhatIf(
        threshold=threshold,
        rows=sums.rows,
        strong_rows=sums.strong,
        changed_rows=sums.changed,
        cost_usd=cost_usd,
        delta_usd=None if moved_usd is None or left_usd is None else moved_usd - left_usd,
        uncounted_rows=sums.uncounted,
        unsettled_rows=0 if job.rows is None else job.rows - sums.rows,
    )


def share_of_run(run: Path, share: float) -> float:
    """The threshold that sends this share of a run's input strong, by the scores it kept."""
    scores = Scores(RunLayout(run).scores)
    if not scores.exhausted and not scores.parts:
        raise RunFault(f"{run}: has no scores; name a threshold instead of a share")
    return threshold_for_share(scores.free(), share)[0]


def whatif_json(found: WhatIf) -> bytes:
    """SPEC's keys, and no others."""
    keys = ("threshold", "strong_rows", "changed_rows", "cost_usd", "delta_usd")
    return msgspec.json.format(msgspec.json.encode({key: getattr(found, key) for key in keys}), indent=2) + b"\n"


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
    scores = pl.scan_parquet(RunLayout(run).score_parts())
    long = scores.filter(pl.col("chars") > CHARS_PER_TOKEN * longest)
    chars = long.select(pl.col("file").cast(pl.String), "row", "chars")
    return settled.join(chars, on=list(_PLACE), how="left").with_columns(pl.col("chars").fill_null(0))


@dataclass(frozen=True, slots=True)
class _Sums:
    """Counts of settled rows; the known cost here of those that stay and those that leave, None where none is.

    `*_unknown` rows have usage, but no cost; those that change side and are `uncounted` have no usage at all.
    """

    rows: int
    strong: int
    changed: int
    uncounted: int
    to_strong: int
    to_weak: int
    stay_usd: float | None
    left_usd: float | None
    stay_unknown: int
    left_unknown: int


def _sums(routed: pl.LazyFrame) -> _Sums:
    changed, cost = pl.col("changed"), pl.col("cost_usd")
    counted = pl.col("prompt_tokens").is_not_null() & pl.col("completion_tokens").is_not_null()
    billed = (pl.col("attempts") > 0) & pl.col("prompt_tokens").is_not_null()
    found = (
        routed.select(
            pl.len().alias("rows"),
            (pl.col("there") == "strong").sum().alias("strong"),
            changed.sum().alias("changed"),
            (changed & ~(counted & (pl.col("status") == "ok"))).sum().alias("uncounted"),
            *((changed & (pl.col("there") == side)).sum().alias(f"to_{side}") for side in SIDES),
            *(_known(cost, rows).alias(name) for name, rows in (("stay_usd", ~changed), ("left_usd", changed))),
            (~changed & billed & cost.is_null()).sum().alias("stay_unknown"),
            (changed & billed & cost.is_null()).sum().alias("left_unknown"),
        )
        .collect()
        .row(0, named=True)
    )
    return _Sums(**found)


def _known(cost: pl.Expr, rows: pl.Expr) -> pl.Expr:
    of = cost.filter(rows)
    return pl.when(of.is_not_null().any()).then(of.sum())


def _moved_usd(endpoint: RunEndpoint, routed: pl.LazyFrame, side: Side, sums: _Sums) -> float | None:
    """What the rows that come over to a side cost there; None where it has no price."""
    if not (sums.to_strong if side == "strong" else sums.to_weak):
        return 0.0
    return all_on_one_side_usd(
        open_target(side, endpoint), routed.filter(pl.col("changed") & (pl.col("there") == side))
    )
