"""Quantiles and histograms over columns of any length, from counts of rounded values.

A bounded number of distinct values is all that is ever held, so ten rows and a hundred million cost the same.
Knows nothing of runs.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HISTOGRAM_BINS = 100  # a calibrated router's scores may all lie within a tenth
# Rounding is what bounds the counts. Scores lie in [0, 1], so there are at most 100,001 of 5 decimals, each off
# by at most 0.000005. A latency of 4 significant figures is off by at most 0.05 %; there are 9,000 from 1 to 10 s,
# as many from 0.1 to 1 s. Example: latencies of 0.31234, 0.31236 and 7.00051 s are counted as
# {0.3123: 1, 0.3124: 1, 7.001: 1}. The p50 of 3 rows is the value of rank ceil(0.50 * 3) = 2, which is 0.3124.
SCORE_DECIMALS = 5
LATENCY_FIGURES = 4


def quantiles(counts: Mapping[float, int], shares: Sequence[float]) -> list[float]:
    """For each share q the smallest value that at least q of the counted rows do not exceed.

    `counts` maps values to how often they occur, at least one in all.
    """
    values = sorted(counts)
    ranks = list(accumulate(counts[value] for value in values))
    # A product such as 0.07 * 100 is 7.000000000000001, which must not choose the eighth value.
    wanted = [round(share * ranks[-1], 6) for share in shares]
    return [values[bisect_left(ranks, rank)] for rank in wanted]


def counted_scores(scores: pl.LazyFrame) -> pl.LazyFrame:
    """(score, rows) pairs of the column `score`, to SCORE_DECIMALS."""
    return scores.group_by(pl.col("score").round(SCORE_DECIMALS)).len()


def score_bins(scores: pl.LazyFrame) -> pl.LazyFrame:
    """(bin, rows) pairs of the column `score`: equal bins over [0, 1], the last one closed."""
    number = pl.col("score").mul(HISTOGRAM_BINS).floor().clip(0, HISTOGRAM_BINS - 1).cast(pl.Int32)
    return scores.group_by(number).len()


def histogram(counted_bins: Iterable[tuple[int, int]]) -> list[int]:
    """All bins in order, those without rows too, from (bin, rows) pairs."""
    rows = dict(counted_bins)
    return [rows.get(number, 0) for number in range(HISTOGRAM_BINS)]


def counted_latencies(settled: pl.LazyFrame) -> pl.LazyFrame:
    """(route, latency_s, rows) of the ok rows, to LATENCY_FIGURES significant figures."""
    answered = settled.filter((pl.col("status") == "ok") & pl.col("latency_s").is_not_null())
    return answered.group_by("route", pl.col("latency_s").round_sig_figs(LATENCY_FIGURES)).len()
