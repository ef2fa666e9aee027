"""The rows of a run as one polars frame, in the order of its input; loads them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from batchroute.report.read import read_job
from batchroute.show.log import log
from batchroute.store.columns import COLUMNS, Use, names_with
from batchroute.store.layout import RunLayout
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Result

_PLACE = ["file", "row"]


def rows_of(run: Path) -> pl.DataFrame:
    """See `Run.df`. Rows that wait in a journal for the next run are missing, which is a warning."""
    layout = RunLayout(run)
    beside, scores = read_unsealed(layout), layout.score_parts()
    if beside.settled:
        log.warning(
            "%s: %s answers in its journal are not sealed yet and missing here; run again, which does that first",
            run,
            f"{len(beside.settled):,}",
        )
    found = _failed([]) if not beside.parts else pl.read_parquet(list(beside.parts))
    found = _joined(found, _failed(beside.failed))
    if scores:
        scored = pl.scan_parquet(scores, extra_columns="ignore")
        found = _joined(found, scored.select(pl.col("file").cast(pl.String), "row", "score").collect())
    ranks = {name: rank for rank, name in enumerate(read_job(run).files)}
    rank = pl.col("file").replace_strict(ranks, default=len(ranks), return_dtype=pl.Int64)
    return found.sort(rank, "row")


def _failed(results: Sequence[Result]) -> pl.DataFrame:
    """The columns of rows that failed, as a part has them."""
    names = {*names_with(Use.FAILED), "status"}
    fields = {column.name: column.field for column in COLUMNS if column.name in names}
    columns = {name: [getattr(result, name) for result in results] for name in fields}
    return pl.DataFrame(columns, schema=pl.DataFrame(pa.schema(fields.values()).empty_table()).schema)


def _joined(found: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """With those rows of `more` that are not there yet, and nulls in the columns that they have not."""
    new = more.join(found.select(_PLACE), on=_PLACE, how="anti")
    return pl.concat([found, new], how="diagonal_relaxed") if len(new) else found
