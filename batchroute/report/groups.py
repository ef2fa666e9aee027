"""The settled rows in a handful of groups, and the sums over groups that a report is made of.

A sum of which nothing is known is None; what rows are worth elsewhere is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from batchroute.report.figures import ModelBill

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchroute.types import Side

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Group:
    """The settled rows of one route, model and status; sums are None where no row has the figure."""

    route: Side | None
    model: str | None
    status: str
    rows: int
    attempts: int
    retries: int
    reused: int
    budget_rows: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cost_unknown: int
    score: float


def grouped(settled: pl.LazyFrame) -> list[Group]:
    """All settled rows by route, model and status."""
    cost, attempts = pl.col("cost_usd"), pl.col("attempts").cast(pl.Int64)
    # A refusal brings no usage and a reused answer no request: only what was billed can be of unknown cost.
    billed = (attempts > 0) & ((pl.col("status") == "ok") | pl.col("prompt_tokens").is_not_null())
    groups = (
        settled.group_by("route", "model", "status")
        .agg(
            pl.len().alias("rows"),
            attempts.sum(),
            (attempts - 1).clip(lower_bound=0).sum().alias("retries"),
            ((attempts == 0) & (pl.col("status") == "ok")).sum().alias("reused"),
            (pl.col("route_reason") == "budget").sum().alias("budget_rows"),
            *(_sum_or_null(pl.col(name)) for name in _TOKENS),
            _sum_or_null(cost),
            (billed & cost.is_null()).sum().alias("cost_unknown"),
            pl.col("score").sum(),
        )
        .sort("route", "model", "status")
    )
    return [Group(**row) for row in groups.collect().iter_rows(named=True)]


def _sum_or_null(column: pl.Expr) -> pl.Expr:
    return pl.when(column.is_not_null().any()).then(column.sum())


def rows_of(groups: Iterable[Group]) -> int:
    return sum(group.rows for group in groups)


def cost_of(groups: Iterable[Group]) -> float | None:
    """What is known of a cost; None where something was billed and nothing of it is known."""
    groups = list(groups)
    known = [group.cost_usd for group in groups if group.cost_usd is not None]
    if not known and any(group.cost_unknown for group in groups):
        return None
    return sum(known, 0.0)


def tokens_of(groups: Iterable[Group], name: str) -> int | None:
    """The sum of a token column; None where requests were sent and no answer counted these tokens."""
    groups = list(groups)
    known: list[int] = [count for group in groups if (count := getattr(group, name)) is not None]
    if not known and any(group.attempts for group in groups):
        return None
    return sum(known)


def score_of(groups: Iterable[Group]) -> float:
    """The score mass of rows that have a side; a row refused before routing could be won by none."""
    return sum(group.score for group in groups if group.route)


def model_bills(groups: Sequence[Group]) -> list[ModelBill]:
    keys = dict.fromkeys((group.route, group.model) for group in groups if group.route)
    return [
        _model_bill(route, model, [group for group in groups if (group.route, group.model) == (route, model)])
        for route, model in keys
        if route
    ]


def _model_bill(route: Side, model: str | None, groups: Sequence[Group]) -> ModelBill:
    return ModelBill(
        route=route,
        model=model,
        ok=rows_of(group for group in groups if group.status == "ok"),
        refused=rows_of(group for group in groups if group.status == "refused"),
        failed=rows_of(group for group in groups if group.status == "failed"),
        attempts=sum(group.attempts for group in groups),
        prompt_tokens=tokens_of(groups, "prompt_tokens"),
        cached_tokens=tokens_of(groups, "cached_tokens"),
        completion_tokens=tokens_of(groups, "completion_tokens"),
        cost_usd=cost_of(groups),
    )
