"""What is kept of the strong side's quality on the graded rows of runs: those of a pilot, and watched ones.

Both sides answered them, and each answer has a grade; a row counts with the grade of the side it went to. Draws no
rows and grades none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from batchroute.quality.watch import watch
from batchroute.report.quality import read_quality
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_GRADES = ("strong_grade", "weak_grade")
_PLACE = ("file", "row")
GRADED = ("routed_grade", "strong_grade")  # the columns that rows get
_USUAL_CONFIDENCE = 0.9


class KeptOnRows(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many graded `rows`; bounds are one-sided, at the job's confidence, and known from 30 rows on."""

    rows: int
    kept: float | None
    low: float | None
    high: float | None


def with_grades(rows: pl.LazyFrame, run: Path) -> pl.LazyFrame:
    """`rows` (file, row, route ...) with GRADED, which are null where a row was not graded.

    A pilot that was taken over graded rows of an earlier run, whose places other rows may have now.
    """
    layout, found = RunLayout(run), read_quality(run)
    own = () if found is not None and found.reused else (layout.pilot_rows,)
    files = [path for path in (*own, layout.watched_rows) if path.exists()]
    if not files:
        return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in GRADED)
    graded = pl.concat([pl.read_parquet(path, columns=[*_PLACE, *_GRADES]) for path in files])
    graded = graded.drop_nulls(_GRADES).unique(_PLACE)
    routed = pl.when(pl.col("route") == "strong").then("strong_grade").when(pl.col("route") == "weak")
    joined = rows.join(graded.lazy(), on=_PLACE, how="left").with_columns(routed_grade=routed.then("weak_grade"))
    return joined.drop("weak_grade")


def confidence_of(runs: Sequence[Path]) -> float:
    """That of the first run with a pilot."""
    found = (quality.confidence for run in runs if (quality := read_quality(run)) is not None)
    return next(found, _USUAL_CONFIDENCE)


def kept_on(routed: Sequence[float], strong: Sequence[float], confidence: float) -> KeptOnRows | None:
    """From the grades [n] of graded rows; None where there are none."""
    if not routed:
        return None
    found = watch(np.array(routed), np.array(strong), confidence=confidence)
    return KeptOnRows(rows=found.rows, kept=found.kept, low=found.low, high=found.high)
