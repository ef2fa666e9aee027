"""What a page shows beyond the figures: its timeline, an example of each error, the dearest rows, samples.

Rows stay rows here, but never many: at most SLICES points of time, MOST_EXPENSIVE rows, an example for each of the
MOST_KINDS of errors, and the samples asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from batchroute.report.read import read_job, scan_rows
from batchroute.store.columns import reserved_names
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

SLICES = 60
SHORTEST_S = 0.1  # of what has a timeline
MOST_EXPENSIVE = 10
MOST_KINDS = 20


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows and dollars per endpoint and slice of time; slice i begins i · `slice_s` after `began`."""

    began: datetime
    slice_s: float
    rows: Mapping[str, Sequence[int]]
    cost_usd: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class ExpensiveRow:
    """A row with what it takes to ask its provider about the bill."""

    file: str
    row: int
    id: str | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float
    request_id: str | None
    service_tier: str | None


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """A row that was refused or failed for `error_type`; `text`, which may quote the row, only on demand."""

    error_type: str
    file: str
    row: int
    id: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered row; `kept` are its kept columns as text."""

    file: str
    row: int
    id: str | None
    score: float
    route: str
    response: str | None
    kept: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Details:
    """`has_texts`: what rows and providers wrote may be shown."""

    has_texts: bool
    timeline: Timeline | None
    errors: Sequence[ErrorExample]
    most_expensive: Sequence[ExpensiveRow]
    samples: Sequence[Sample]


def read_details(run: Path, *, samples: int = 0) -> Details:
    """The details of the run in the directory `run`; text of rows only where `samples` asks for it."""
    settled = scan_rows(run).settled
    job = read_job(run)
    threshold = job.threshold
    near = _samples(RunLayout(run).parts(), threshold, samples) if samples and threshold is not None else []
    return Details(
        has_texts=samples > 0,
        timeline=_timeline(settled, list(job.endpoints)),
        errors=_errors(settled, with_text=samples > 0),
        most_expensive=_most_expensive(settled),
        samples=near,
    )


def _timeline(settled: pl.LazyFrame, endpoints: Sequence[str]) -> Timeline | None:
    at = pl.col("finished_at")
    # A failure without a time has the epoch's.
    routed = settled.filter(pl.col("route").is_not_null() & (at.dt.epoch("us") > 0))
    began, ended = routed.select(at.min().alias("began"), at.max().alias("ended")).collect().row(0)
    if began is None or (ended - began).total_seconds() < SHORTEST_S:
        return None
    slice_us = max(1, -(-int((ended - began).total_seconds() * 1e6 + 1) // SLICES))
    number = ((at - began).dt.total_microseconds() // slice_us).alias("slice")
    sums = routed.group_by("route", number).agg(pl.len().alias("rows"), pl.col("cost_usd").sum()).collect()
    rows = {name: [0] * SLICES for name in endpoints}
    cost_usd = {name: [0.0] * SLICES for name in endpoints}
    for name, position, slice_rows, slice_usd in sums.iter_rows():
        rows[name][position], cost_usd[name][position] = slice_rows, slice_usd
    return Timeline(began, slice_us / 1e6, rows, cost_usd)


def _errors(settled: pl.LazyFrame, *, with_text: bool) -> list[ErrorExample]:
    """Of each kind of error one row, the most frequent kinds first."""
    text = pl.col("error") if with_text else pl.lit(None, pl.String)
    unanswered = settled.filter(pl.col("status") != "ok").with_columns(pl.col("error_type").fill_null("unknown"))
    # A struct, so that all of an example comes from one row.
    example = pl.struct("file", "row", "id", text.alias("text")).first()
    kinds = unanswered.group_by("error_type").agg(pl.len(), example.alias("example"))
    most = kinds.sort("len", "error_type", descending=[True, False]).head(MOST_KINDS).collect()
    return [ErrorExample(error_type=kind, **row) for kind, _, row in most.iter_rows()]


def _most_expensive(settled: pl.LazyFrame) -> list[ExpensiveRow]:
    priced = settled.filter(pl.col("cost_usd") > 0).select(*ExpensiveRow.__slots__)
    rows = priced.sort("cost_usd", "file", "row", descending=[True, False, False]).head(MOST_EXPENSIVE).collect()
    return [ExpensiveRow(**row) for row in rows.iter_rows(named=True)]


def _samples(parts: Sequence[Path], threshold: float, count: int) -> list[Sample]:
    """The answered rows whose scores are nearest to the threshold, in the order of their scores."""
    answered = pl.scan_parquet(list(parts), include_file_paths="part").filter(
        (pl.col("status") == "ok") & pl.col("score").is_not_null()
    )
    distance = (pl.col("score") - threshold).abs()
    places = answered.select("file", "row", "part", distance.alias("distance"))
    nearest = places.sort("distance", "file", "row").head(count).drop("distance").collect()
    # Only the parts they lie in are read for their text.
    holding = pl.scan_parquet(nearest["part"].unique().to_list()) if len(nearest) else answered
    rows = holding.join(nearest.lazy(), on=["file", "row"], how="semi").sort("score", "file", "row").collect()
    return [_sample(row) for row in rows.iter_rows(named=True)]


def _sample(row: Mapping[str, object]) -> Sample:
    own = {name: row[name] for name in ("file", "row", "id", "score", "route", "response")}
    ours = reserved_names()
    kept = {name: str(value) for name, value in row.items() if name not in ours and value is not None}
    return Sample(**own, kept=kept)  # type: ignore[arg-type]  # the columns' types are the part's schema
