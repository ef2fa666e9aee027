"""The bill of one run or many by the values of a column: what each of them cost, so that all of them are the bill.

In bounded memory whatever the number of rows and of values: only the values that cost most keep a line of their
own, all others are summed into one. Knows columns and sums; prices nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import polars as pl

from batchroute.errors import UsageFault
from batchroute.input.names import instead_of
from batchroute.report.beside import beside_rows, router_cost_of, unconfirmed_usd_of
from batchroute.report.figures import ratio, read_report, sum_if_known
from batchroute.report.graded import GRADED, KeptOnRows, confidence_of, kept_on, with_grades
from batchroute.report.kept_columns import KeptColumn, kept_schema, reading_kept
from batchroute.report.read import read_job, scan_rows
from batchroute.report.sums import has_unknown_cost, sum_or_null
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

Kind: TypeAlias = Literal["value", "others", "not_on_file", "total"]

TOP, TOP_ON_PAGE = 40, 15  # where nothing else is asked for
_MOST_DAYS = 1_000
_DAY = pl.when(pl.col("finished_at").dt.epoch("us") > 0).then(pl.col("finished_at").dt.date()).cast(pl.String)
# What a bill can be divided by, beside kept columns.
_OWN = {
    **{name: pl.col(name) for name in ("route", "model")},
    **dict.fromkeys(("day", "finished_at"), _DAY),
    **{name: pl.col(name) for name in ("status", "route_reason", "served_model", "finish_reason", "error_type")},
    **{name: pl.col(name) for name in ("service_tier", "delivery", "file", "id")},
}
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")
_STATUSES = ("ok", "refused", "failed", "open")
_VALUES_AT_ONCE = 250_000  # a hundred bytes each while they are summed


class BreakdownLine(msgspec.Struct, frozen=True, kw_only=True):
    """What some rows cost. The `value` they share is None where the column is null, and where `kind` is no value.

    `open` rows were begun and have no answer yet. Shares are of all rows, of those with a route, and of what is
    known of the total. Sums are None where nothing is known of them; `cost_unknown_rows` are missing in the cost.
    `quality`: what is kept on those of the rows that were graded, None where none was.
    """

    kind: Kind
    value: str | None
    rows: int
    row_share: float | None
    ok: int
    refused: int
    failed: int
    open: int
    strong_share: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    cost_share: float | None
    cost_unknown_rows: int
    quality: KeptOnRows | None = None


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """A bill by `column`: the `lines`, the router's and the pilot's cost, together `total_usd`, as in the reports.

    Lines stand by what they cost, days in their order; last, where there are any, rows whose value is null, the
    `other_values` that have no line of their own, and rows of which the column is not on file: failed rows keep
    nothing of their input, nor do the runs `not_kept_by`. `is_kept`: it is a column of the input. `simulated`:
    some of the money is made up.
    """

    column: str
    is_kept: bool
    runs: list[str]
    lines: list[BreakdownLine]
    other_values: int
    not_kept_by: list[str]
    all_rows: BreakdownLine
    router_cost_usd: float | None
    pilot_cost_usd: float | None = 0.0
    total_usd: float | None
    unconfirmed_usd: float | None
    simulated: bool = False


def spending_by(runs: Sequence[Path], column: str, *, top: int | None = None) -> Breakdown:
    """The bill of the runs by `column`: a kept one, or one of our own; `day` is the UTC day a row was settled on.

    A kept column comes before one of ours; `finished_at` is the day, too. Of more than `top` values the others are
    summed; by default of more than TOP, or than some years of days. A run that is named twice counts once.
    UsageFault where no run has the column, RunFault for a directory that is no run's.
    """
    runs = list({run.resolve(): run for run in runs}.values())
    schemas = {run: kept_schema(run) for run in runs}
    is_kept = any(column in schema.names for schema in schemas.values())
    if not is_kept and column not in _OWN:
        raise UsageFault(_unknown(column, schemas))
    rows = {run: _valued(run, column, schema if is_kept else None) for run, schema in schemas.items()}
    is_day = not is_kept and _OWN[column] is _DAY
    with reading_kept(column):
        most = top or (_MOST_DAYS if is_day else TOP)
        lines, other_values = _lines(pl.concat(rows.values()), most, in_order=is_day)
    sums = lines.select(pl.col(*_COUNTS).sum(), *map(sum_or_null, _AMOUNTS)).row(0, named=True)
    router_usd, pilot_usd, unconfirmed_usd = map(
        sum_if_known, zip(*map(_beside, rows, rows.values()), strict=True)
    )
    sums |= {name: lines[name].explode().drop_nulls().to_list() for name in GRADED}
    confidence = confidence_of(runs)
    all_rows = _spending("total", None, sums, sums, confidence)
    return Breakdown(
        column=column,
        is_kept=is_kept,
        runs=[run.resolve().name for run in runs],
        lines=[
            _spending(line["kind"], line["value"], line, sums, confidence) for line in lines.iter_rows(named=True)
        ],
        other_values=other_values,
        not_kept_by=[run.name for run, schema in schemas.items() if is_kept and column not in schema.names],
        all_rows=all_rows,
        router_cost_usd=router_usd,
        pilot_cost_usd=pilot_usd,
        total_usd=sum_if_known((all_rows.cost_usd, router_usd, pilot_usd)),
        unconfirmed_usd=unconfirmed_usd,
        simulated=any(endpoint.simulated for run in runs for endpoint in read_job(run).endpoints.values()),
    )


def _unknown(column: str, schemas: Mapping[Path, pa.Schema]) -> str:
    """That no run has the column, what there is, and of which runs that is not known yet."""
    kept = dict.fromkeys(name for schema in schemas.values() for name in schema.names)
    named = str(next(iter(schemas))) if len(schemas) == 1 else f"{len(schemas)} runs"
    unsealed = [str(run) for run in schemas if not RunLayout(run).parts()]
    waiting = f"; what {', '.join(unsealed)} keeps is known once results are sealed" if unsealed else ""
    return f"{named}: no column {column!r} to report by; {instead_of(column, [*kept, *_OWN])}{waiting}"


def _valued(run: Path, column: str, schema: pa.Schema | None) -> pl.LazyFrame:
    """All rows that were begun, with a `value` and whether it is on file; `schema` has the kept columns."""
    rows = scan_rows(run, None if schema is None else KeptColumn(column, schema))
    value, on_file = (_OWN[column], pl.lit(value=True)) if schema is None else (pl.col("kept"), pl.col("has_kept"))
    every_row = with_grades(pl.concat([rows.settled, rows.open.lazy()]), run)
    return every_row.select(
        *GRADED,
        *("status", "route", "cost_usd", *_TOKENS),
        pl.col("attempts").cast(pl.Int64),
        cost_unknown=has_unknown_cost(),
        value=value,
        on_file=on_file,
    )


def _lines(rows: pl.LazyFrame, top: int, *, in_order: bool) -> tuple[pl.DataFrame, int]:
    """The lines of a bill, by cost or `in_order` of their values, and how many values the line "others" sums."""
    value = pl.col("value")
    shown, values = _most_expensive(rows, top)
    keeps_line = value.is_null() | value.is_in(shown)
    kind = pl.when(~pl.col("on_file")).then(pl.lit("not_on_file")).when(keeps_line).then(pl.lit("value"))
    lined = rows.with_columns(value=pl.when(keeps_line).then(value), kind=kind.otherwise(pl.lit("others")))
    lines = lined.group_by("value", "kind").agg(*map(sum_or_null, _AMOUNTS), *_grades(), **_COUNTS).collect()
    last = pl.col("kind").replace_strict({"value": 0, "others": 1, "not_on_file": 2})
    by_cost = [] if in_order else [-pl.col("cost_usd"), -pl.col("rows").cast(pl.Int64)]
    return lines.sort(last, value.is_null(), *by_cost, value, nulls_last=True), values - len(shown)


def _most_expensive(rows: pl.LazyFrame, top: int) -> tuple[list[str], int]:
    """The values that cost most, and how many there are in all.

    They are dealt out to passes by their hash, so that a bounded number of them is summed at a time: of 1,000,000
    each of 5 passes sums some 200,000.
    """
    named = rows.select("value", "cost_usd").filter(pl.col("value").is_not_null())
    passes = named.select(pl.col("value").approx_n_unique()).collect().item() // _VALUES_AT_ONCE + 1
    most, values = pl.DataFrame(), 0
    for number in range(passes):
        dealt = named.filter(pl.col("value").hash() % passes == number)
        groups = dealt.group_by("value").agg(pl.len().alias("rows"), pl.col("cost_usd").sum()).collect()
        values += len(groups)
        ranked = pl.concat([most, groups]).sort("cost_usd", "rows", "value", descending=[True, True, False])
        most = ranked.head(top)
    return most["value"].to_list(), values


_COUNTS: Mapping[str, pl.Expr] = {
    "rows": pl.len(),
    **{status: (pl.col("status") == status).sum() for status in _STATUSES},
    "strong": (pl.col("route") == "strong").sum(),
    "routed": pl.col("route").is_not_null().sum(),
    "attempts": pl.col("attempts").sum(),
    "cost_unknown": pl.col("cost_unknown").sum(),
}
_AMOUNTS = (*_TOKENS, "cost_usd")


def _grades() -> list[pl.Expr]:
    """Those of graded rows, of which there are thousands, not millions."""
    return [pl.col(name).filter(pl.col("routed_grade").is_not_null()) for name in GRADED]


def _spending(
    kind: Kind, value: str | None, sums: Mapping[str, Any], total: Mapping[str, Any], confidence: float
) -> BreakdownLine:
    cost_usd = 0.0 if sums["cost_usd"] is None and not sums["cost_unknown"] else sums["cost_usd"]
    # No request was sent: no token was counted, and none was used.
    tokens = {name: 0 if sums[name] is None and not sums["attempts"] else sums[name] for name in _TOKENS}
    return BreakdownLine(
        kind=kind,
        value=value,
        **{name: sums[name] for name in ("rows", *_STATUSES)},
        **tokens,
        row_share=ratio(sums["rows"], total["rows"]),
        strong_share=ratio(sums["strong"], sums["routed"]),
        cost_usd=cost_usd,
        cost_share=ratio(cost_usd, total["cost_usd"]),
        cost_unknown_rows=sums["cost_unknown"],
        quality=kept_on(sums["routed_grade"], sums["strong_grade"], confidence),
    )


def _beside(run: Path, rows: pl.LazyFrame) -> tuple[float | None, float | None, float | None]:
    """What stands beside the rows of a run: the router's cost, the pilot's, and what is unconfirmed."""
    earlier = read_report(run)
    beside = beside_rows(run, router_cost_of(read_job(run), earlier))
    rows_usd = rows.select(pl.col("cost_usd").sum()).collect().item()
    return beside.router, beside.pilot, unconfirmed_usd_of(run, rows_usd + beside.known, earlier)
