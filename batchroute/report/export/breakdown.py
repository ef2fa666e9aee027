"""A bill by the values of a column as a CSV file for spreadsheets: the sum of its `cost_usd` is the bill.

A total would be counted twice there, and what is unconfirmed is no part of the bill; neither is in it.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv

from batchroute.report.export.cells import csv_table
from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.by import Breakdown, BreakdownLine

_TEXTS = ("kind", "value")
_COUNTS = ("rows", "ok", "refused", "failed", "open", "prompt_tokens", "cached_tokens", "completion_tokens")
_FIGURES = ("row_share", "strong_share", "cost_usd", "cost_share")
_KEPT = ("kept", "kept_low", "kept_high")  # on the rows that were graded
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.int64()) for name in (*_COUNTS, "cost_unknown_rows")),
        *((name, pa.float64()) for name in _FIGURES),
        ("graded_rows", pa.int64()),
        *((name, pa.float64()) for name in _KEPT),
    ]
)


def write_breakdown(bill: Breakdown, out: Path) -> None:
    """One row a line, and one of the kind "router" and "pilot" each where these sent a bill."""
    refuse_homeless(out)
    rows = [_row(line) for line in bill.lines]
    if bill.router_cost_usd != 0:
        rows.append({"kind": "router", "cost_usd": bill.router_cost_usd})
    if bill.pilot_cost_usd != 0:
        rows.append({"kind": "pilot", "cost_usd": bill.pilot_cost_usd})
    text = BytesIO()
    pa_csv.write_csv(csv_table(pa.Table.from_pylist(rows, schema=_SCHEMA), exact=False), text)
    with saving(out):
        write_whole(out, text.getvalue(), mode=AS_UMASK_SAYS)


def _row(line: BreakdownLine) -> dict[str, Any]:
    row = msgspec.structs.asdict(line)
    if line.quality is None:
        return row
    kept = line.quality.kept, line.quality.low, line.quality.high
    return {**row, "graded_rows": line.quality.rows, **dict(zip(_KEPT, kept, strict=True))}
