"""`export --focus`: the bill of a run as a FOCUS dataset in one file, Parquet or CSV."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from batchroute.errors import UsageFault
from batchroute.input.names import instead_of
from batchroute.report.beside import router_cost_of
from batchroute.report.daily import began_on, daily_sums
from batchroute.report.export.cells import csv_table
from batchroute.report.export.focus import COLUMNS, BilledBeside, Labels, beside_row, focus_rows
from batchroute.report.figures import read_report
from batchroute.report.kept_columns import KeptColumn, kept_schema, reading_kept
from batchroute.report.read import read_job, scan_rows
from batchroute.store.files import refuse_homeless, saving, whole_path
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import read_pilot_bill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchroute.report.daily import DaySum
    from batchroute.report.read import RunJob
    from batchroute.store.pilot import PilotBill


_LOG = logging.getLogger(__name__)
_MOST_TAGS = 10_000


def export_focus(
    run: Path, out: Path, *, tag: str | None = None, account: str | None = None, exact: bool = False
) -> int:
    """Writes the bill of the run in the directory `run`; returns the number of rows.

    `tag` is a kept column whose values become a tag of that name, `account` the BillingAccountId. What is missing
    in the file, rows of unknown cost and an unknown bill for embeddings, is said in a warning; so is money that is
    made up. UsageFault where this cannot be done.
    """
    if out.suffix not in {".parquet", ".csv"}:
        raise UsageFault(f"cannot write FOCUS rows to a file that ends in {out.suffix!r}; name .parquet or .csv")
    refuse_homeless(out)
    job = read_job(run)
    labels = Labels(job.name, run.resolve().name, account, tag)
    sums = daily_sums(run, None if tag is None else _tag_column(run, tag))
    rows = focus_rows(job.endpoints, sums, labels)
    router_usd, pilot = router_cost_of(job, read_report(run)), read_pilot_bill(RunLayout(run))
    days = [each.day for each in sums] or [began_on(run)]
    rows += [beside_row(each, min(days), max(days), labels) for each in _beside(job, router_usd, pilot)]
    _warn(job, sums, router_usd, is_pilot_known=pilot.complete)
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    with saving(out), whole_path(out) as unfinished:
        if out.suffix == ".parquet":
            pq.write_table(table, unfinished, compression="zstd")
        else:
            pa_csv.write_csv(csv_table(_plain(table), exact=exact), unfinished)
    return len(rows)


def _beside(job: RunJob, router_usd: float | None, pilot: PilotBill) -> Iterator[BilledBeside]:
    """What was billed beside the rows, as far as it is known."""
    if router_usd and job.embedder is not None:
        yield BilledBeside("router", "Embeddings", job.embedder, Decimal(repr(router_usd)))
    for name, usd in pilot.answers_usd.items():
        if usd:
            yield BilledBeside(name, "Pilot Answers", job.endpoints[name], usd)
    if pilot.judge_usd and job.judge is not None:
        yield BilledBeside("judge", "Verdicts", job.judge, pilot.judge_usd)


def _tag_column(run: Path, name: str) -> KeptColumn:
    schema = kept_schema(run)
    if name not in schema.names:
        raise UsageFault(f"{run}: no kept column {name!r} for --tag; {instead_of(name, schema.names)}")
    column = KeptColumn(name, schema)
    with reading_kept(name):
        values = scan_rows(run, column).settled.select(pl.col("kept").approx_n_unique()).collect().item()
    if values > _MOST_TAGS:
        raise UsageFault(f"{run}: {name!r} has some {values:,} values; a tag may have {_MOST_TAGS:,}")
    return column


def _warn(job: RunJob, sums: Sequence[DaySum], router_usd: float | None, *, is_pilot_known: bool) -> None:
    if made_up := [name for name, endpoint in job.endpoints.items() if endpoint.simulated]:
        _LOG.warning("SIMULATED: the money of %s is made up; its ProviderName says so", " and ".join(made_up))
    if unknown := sum(each.unknown for each in sums):
        _LOG.warning("rows of unknown cost, which are left out as BilledCost may not be null: %s", f"{unknown:,}")
    if router_usd is None:
        _LOG.warning("what the router's embeddings cost is unknown; the file has no row for them")
    if not is_pilot_known:
        _LOG.warning("what some answers of the pilot cost is unknown; the file has the others")


def _plain(table: pa.Table) -> pa.Table:
    """As text for CSV: numbers without exponents, times as ISO 8601 in UTC; FOCUS asks for both."""
    columns = [pa.array([_text(value) for value in column.to_pylist()], pa.string()) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _text(value: Decimal | datetime | str | None) -> str | None:
    if isinstance(value, Decimal):
        whole, _, digits = f"{value:f}".partition(".")
        return f"{whole}.{digits.rstrip('0') or '0'}"  # a whole number is a decimal there, too
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
