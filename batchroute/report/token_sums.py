"""Tokens of answered rows, added up so that each sum can be priced: by endpoint, tier, length of prompt.

A price is a straight line for prompts within a band of lengths, so the rows of a band cost what their sum costs. A
handful of sums is all that is held, whatever the number of rows. Knows bands; prices nothing.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import polars as pl

from batchroute.report.tokens import TokenSum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchroute.job.prices import Pricing, Target

LONGEST_PROMPT = 2**62  # longer than any
# The rows that one endpoint answered first, and the other once more because of that answer.
_ASKED_TWICE = ("check", "finish")


def token_sums(settled: pl.LazyFrame, targets: Iterable[Target]) -> list[TokenSum]:
    """Of the ok rows whose tokens are known; a sum has prompts of one band of each price of the `targets`."""
    ends = band_ends(target.pricing for target in targets)
    is_twice = pl.col("route_reason").is_in(_ASKED_TWICE).fill_null(value=False)
    times = pl.when(is_twice).then(2).otherwise(1)
    prompt = pl.col("prompt_tokens") // times
    # A provider that counts what a cache had beside the prompt must not make the rest negative.
    written = pl.min_horizontal(pl.col("cache_write_tokens").fill_null(0), "prompt_tokens")
    cached = pl.min_horizontal(pl.col("cached_tokens").fill_null(0), pl.col("prompt_tokens") - written)
    is_counted = pl.col("prompt_tokens").is_not_null() & pl.col("completion_tokens").is_not_null()
    rows = settled.filter((pl.col("status") == "ok") & is_counted).select(
        "route",
        "service_tier",
        is_reused=pl.col("attempts") == 0,
        is_twice=is_twice,
        band=band_of(prompt, ends),
        prompt=prompt,
        cached=cached,
        written=written,
        completion=pl.col("completion_tokens"),
    )
    keys = ("route", "service_tier", "is_reused", "is_twice", "band")
    sums = rows.group_by(keys).agg(
        pl.len().alias("rows"), pl.col("prompt", "cached", "written", "completion").sum()
    )
    return [TokenSum(longest_prompt=ends[row.pop("band")], **row) for row in sums.collect().iter_rows(named=True)]


def band_ends(pricings: Iterable[Pricing | None]) -> list[int]:
    """Where the price of a prompt changes with its length, for any of them, in any tier; and beyond all that."""
    known = [pricing for pricing in pricings if pricing is not None]
    lines = chain.from_iterable(schedule for pricing in known for schedule in pricing.tiers.values())
    return [*sorted({rates.up_to for rates in lines if rates.up_to is not None}), LONGEST_PROMPT]


def band_of(prompt: pl.Expr, ends: Sequence[int]) -> pl.Expr:
    """The number of the band that a prompt of so many tokens is in."""
    return pl.sum_horizontal(pl.lit(0), *(prompt > end for end in ends[:-1]))
