"""How the answers of a run ended, and who gave them: counts by endpoint, in bounded memory.

Knows columns; knows no prices, and not what is done about an answer that was cut or refused.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from batchroute.job.served import is_asked_model
from batchroute.report.figures import FinishCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_NAMES = 20  # of what providers call a tier or a model, which could be something else in every answer


def finishes(settled: pl.LazyFrame, endpoints: Iterable[str]) -> dict[str, FinishCounts]:
    """By endpoint how its answers ended; all zeros where it answered no row."""
    reason = pl.col("finish_reason")
    counts = (
        answered(settled)
        .group_by("route")
        .agg(
            pl.len().alias("answered"),
            (reason == "length").sum().alias("length"),
            (reason == "content_filter").sum().alias("content_filter"),
            (_has_text("refusal") | (reason == "refusal").fill_null(value=False)).sum().alias("refusal"),
            (~_has_text("response") & ~_has_text("tool_calls")).sum().alias("empty"),
        )
    )
    found = {row.pop("route"): FinishCounts(**row) for row in counts.collect().iter_rows(named=True)}
    return {name: found.get(name, FinishCounts()) for name in endpoints}


def service_tiers(settled: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """By endpoint the answers of each tier of service, as the provider calls it; nothing where none was named."""
    return _by_name(answered(settled), pl.col("service_tier"))


def other_models(settled: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """By endpoint the answers of each model that is not the one asked for."""
    names = answered(settled).select("route", "model", "served_model").drop_nulls()
    counted = names.filter(pl.col("model") != pl.col("served_model")).group_by(pl.all()).len()
    found: dict[str, Counter[str]] = {}
    for route, asked, served, rows in counted.sort("route", "served_model").collect().iter_rows():
        if not is_asked_model(asked, served):
            found.setdefault(route, Counter())[served] += rows
    return {route: dict(models.most_common(_MOST_NAMES)) for route, models in found.items()}


def _has_text(column: str) -> pl.Expr:
    return (pl.col(column).str.len_bytes() > 0).fill_null(value=False)


def answered(settled: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that have an answer."""
    return settled.filter(pl.col("status") == "ok")


def _by_name(rows: pl.LazyFrame, name: pl.Expr) -> dict[str, dict[str, int]]:
    counted = rows.select("route", name=name).drop_nulls().group_by("route", "name").len()
    ranked = counted.sort("route", "len", "name", descending=[False, True, False])
    most = ranked.group_by("route", maintain_order=True).head(_MOST_NAMES)
    found: dict[str, dict[str, int]] = {}
    for route, text, rows_of in most.collect().iter_rows():
        found.setdefault(route, {})[text] = rows_of
    return found
