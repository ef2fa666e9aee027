"""The rows of a run in a handful of groups, and the sums over groups that a report is made of.

A sum is None, which stands for unknown, where nothing of it is known. What rows would cost elsewhere is not known
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")

Counted: TypeAlias = Literal["rows", "attempts", "retries", "reused", "budget_rows", "cost_unknown"]


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one route (an endpoint's name), model and status; sums are None where no row has the figure."""

    route: str | None
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


@dataclass(frozen=True, slots=True)
class Groups:
    """Some of the groups, and their sums.

    Unknown is never 0. Of three groups, 9 rows with cost_usd 0.003, 1 row answered at a price that is not known
    (cost_usd None, cost_unknown 1) and 2 refusals that cost nothing (None, 0):

        all three       0.003   what is known; cost_unknown = 1 says that the bill is higher
        the one row     None    there is a bill, and nothing of it is known
        the refusals    0.0     there is no bill
    """

    each: Sequence[Group]

    def of(self, route: str) -> Groups:
        """The rows that went to one endpoint."""
        return Groups([group for group in self.each if group.route == route])

    def ended(self, *statuses: str) -> Groups:
        return Groups([group for group in self.each if group.status in statuses])

    def by_model(self) -> dict[tuple[str, str | None], Groups]:
        """By (route, model); a row refused before routing is in none."""
        keys = dict.fromkeys((group.route, group.model) for group in self.each if group.route)
        return {
            (route, model): Groups([group for group in self.of(route).each if group.model == model])
            for route, model in keys
            if route
        }

    def count(self, what: Counted) -> int:
        return sum(getattr(group, what) for group in self.each)

    def tokens(self, column: str) -> int | None:
        """The sum of a token column; None where requests were sent and no answer counted these tokens."""
        known = [count for group in self.each if (count := getattr(group, column)) is not None]
        return sum(known) if known or not self.count("attempts") else None

    def cost_usd(self) -> float | None:
        """What is known of the bill; None where there is one and nothing of it is known."""
        known = [group.cost_usd for group in self.each if group.cost_usd is not None]
        return sum(known, 0.0) if known or not self.count("cost_unknown") else None

    def score_mass(self) -> float:
        """The sum of the scores, which is how many rows the strong side is expected to win."""
        return sum(group.score for group in self.each)


def grouped(rows: pl.LazyFrame) -> Groups:
    """All rows by route, model and status."""
    cost, attempts = pl.col("cost_usd"), pl.col("attempts").cast(pl.Int64)
    # A refusal brings no usage and a reused answer no request: only what was billed can be of unknown cost.
    billed = (attempts > 0) & ((pl.col("status") == "ok") | pl.col("prompt_tokens").is_not_null())
    groups = (
        rows.group_by("route", "model", "status")
        .agg(
            pl.len().alias("rows"),
            attempts.sum(),
            (attempts - 1).clip(lower_bound=0).sum().alias("retries"),
            ((attempts == 0) & (pl.col("status") == "ok")).sum().alias("reused"),
            (pl.col("route_reason") == "budget").sum().alias("budget_rows"),
            *(_sum_or_null(pl.col(name)) for name in TOKENS),
            _sum_or_null(cost),
            (billed & cost.is_null()).sum().alias("cost_unknown"),
            pl.col("score").sum(),
        )
        .sort("route", "model", "status")
    )
    return Groups([Group(**row) for row in groups.collect().iter_rows(named=True)])


def _sum_or_null(column: pl.Expr) -> pl.Expr:
    # polars sums a column without values to 0, which would turn unknown into free.
    return pl.when(column.is_not_null().any()).then(column.sum())
