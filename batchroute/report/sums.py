"""Sums over the rows of a run in bounded memory: of a handful of groups, and of values rounded and counted.

A sum is None, which stands for unknown, where nothing of it is known. A bounded number of distinct values is all
that is ever held, so ten rows and a hundred million cost the same. Knows no prices.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from batchroute.report.figures import Latency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
HISTOGRAM_BINS = 100  # a calibrated router's scores may all lie within a tenth
# Rounding is what bounds the counts. Scores lie in [0, 1], so there are at most 100,001 of 5 decimals, each off
# by at most 0.000005. A latency of 4 significant figures is off by at most 0.05 %; there are 9,000 from 1 to 10 s,
# as many from 0.1 to 1 s. Example: latencies of 0.31234, 0.31236 and 7.00051 s are counted as
# {0.3123: 1, 0.3124: 1, 7.001: 1}. The p50 of 3 rows is the value of rank ceil(0.50 * 3) = 2, which is 0.3124.
SCORE_DECIMALS = 5
LATENCY_FIGURES = 4
Counted: TypeAlias = Literal["rows", "attempts", "retries", "reused", "budget_rows", "finish_rows", "cost_unknown"]


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
    finish_rows: int
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
    attempts = pl.col("attempts").cast(pl.Int64)
    groups = (
        rows.group_by("route", "model", "status")
        .agg(
            pl.len().alias("rows"),
            attempts.sum(),
            (attempts - 1).clip(lower_bound=0).sum().alias("retries"),
            ((attempts == 0) & (pl.col("status") == "ok")).sum().alias("reused"),
            (pl.col("route_reason") == "budget").sum().alias("budget_rows"),
            (pl.col("route_reason") == "finish").sum().alias("finish_rows"),
            *(sum_or_null(name) for name in TOKENS),
            sum_or_null("cost_usd"),
            has_unknown_cost().sum().alias("cost_unknown"),
            pl.col("score").sum(),
        )
        .sort("route", "model", "status")
    )
    return Groups([Group(**row) for row in groups.collect().iter_rows(named=True)])


def has_unknown_cost() -> pl.Expr:
    """Of a row: whether it was billed, and nobody knows how much.

    A refusal brings no usage and a reused answer no request: only what was billed can be of unknown cost.
    """
    billed = (pl.col("attempts") > 0) & ((pl.col("status") == "ok") | pl.col("prompt_tokens").is_not_null())
    return billed & pl.col("cost_usd").is_null()


def sum_or_null(column: str) -> pl.Expr:
    """The sum of what is known of a column, null where nothing is: polars would make 0 of that, which is free."""
    return pl.when(pl.col(column).is_not_null().any()).then(pl.col(column).sum()).alias(column)


def quantiles(counts: Mapping[float, int], shares: Sequence[float]) -> list[float]:
    """For each share q the smallest value that at least q of the counted rows do not exceed.

    `counts` maps values to how often they occur, at least one in all.
    """
    values = sorted(counts)
    ranks = list(accumulate(counts[value] for value in values))
    # A product such as 0.07 * 100 is 7.000000000000001, which must not choose the eighth value.
    wanted = [round(share * ranks[-1], 6) for share in shares]
    return [values[bisect_left(ranks, rank)] for rank in wanted]


def score_quantiles(scores: pl.LazyFrame) -> dict[str, float]:
    """The deciles of the column `score`, to SCORE_DECIMALS: "p0", "p10" ... "p100"; none without rows."""
    counts = dict(scores.group_by(pl.col("score").round(SCORE_DECIMALS)).len().collect().iter_rows())
    deciles = {f"p{percent}": percent / 100 for percent in range(0, 101, 10)}
    return dict(zip(deciles, quantiles(counts, [*deciles.values()]), strict=True)) if counts else {}


def score_histogram(scores: pl.LazyFrame) -> list[int]:
    """Rows per bin of the column `score`: HISTOGRAM_BINS equal bins over [0, 1], the last one closed."""
    number = pl.col("score").mul(HISTOGRAM_BINS).floor().clip(0, HISTOGRAM_BINS - 1).cast(pl.Int32)
    rows = dict(scores.group_by(number).len().collect().iter_rows())
    return [rows.get(number, 0) for number in range(HISTOGRAM_BINS)]


def latencies(settled: pl.LazyFrame) -> dict[str, Latency]:
    """Of the ok rows, by endpoint name, to LATENCY_FIGURES significant figures."""
    answered = settled.filter((pl.col("status") == "ok") & pl.col("latency_s").is_not_null())
    counted = answered.group_by("route", pl.col("latency_s").round_sig_figs(LATENCY_FIGURES)).len().collect()
    by_route = counted.partition_by("route", as_dict=True, include_key=False)
    return {
        str(route): Latency(*quantiles(dict(counts.iter_rows()), (0.50, 0.95, 0.99)))
        for (route,), counts in by_route.items()
    }
