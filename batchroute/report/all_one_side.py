"""What the answered rows would have cost had all of them gone to one side.

Where a price is the same for every request, the sum of the tokens is priced. Where it varies with the length of
the prompt, short rows share the lowest tier's rates, which are linear too, and long ones are priced one by one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from batchroute.job.prices import LOWEST_TIER_TOKENS
from batchroute.types import Usage

if TYPE_CHECKING:
    from batchroute.job.prices import Pricing, Target

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


def all_on_one_side_usd(target: Target, settled: pl.LazyFrame) -> float | None:
    """The seen tokens of the ok rows at one side's price, one attempt each; None where it has no price."""
    pricing = target.pricing
    if pricing is None:
        return None
    counted = pl.col("prompt_tokens").is_not_null() & pl.col("completion_tokens").is_not_null()
    seen = settled.filter((pl.col("status") == "ok") & counted).select(
        "prompt_tokens", pl.col("cached_tokens").fill_null(0), "completion_tokens"
    )
    if not pricing.varies:
        return _usd(pricing.cost(Usage(*_sums(seen)[1:])))
    is_short = pl.col("prompt_tokens") <= LOWEST_TIER_TOKENS
    short, long = (
        _lowest_tier(pricing, *_sums(seen.filter(is_short))),
        _one_by_one(pricing, seen.filter(~is_short)),
    )
    return None if short is None or long is None else float(short + long)


def _usd(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _sums(seen: pl.LazyFrame) -> tuple[int, int, int, int]:
    """Rows, and prompt, cached and completion tokens."""
    rows, prompt, cached, completion = (
        seen.select(pl.len().alias("rows"), *(pl.col(name).sum() for name in _TOKENS)).collect().row(0)
    )
    return rows, prompt, cached, completion


def _lowest_tier(pricing: Pricing, rows: int, prompt: int, cached: int, completion: int) -> Decimal | None:
    """The cost of `rows` short requests from their summed tokens: a fee per request, and rates per token."""
    probe = LOWEST_TIER_TOKENS
    fee, by_prompt, by_cached, by_completion = (
        pricing.cost(Usage(*tokens)) for tokens in ((0, 0, 0), (probe, 0, 0), (probe, probe, 0), (0, 0, probe))
    )
    if fee is None or by_prompt is None or by_cached is None or by_completion is None:
        return None
    by_tokens = (
        (by_prompt - fee) * (prompt - cached) + (by_cached - fee) * cached + (by_completion - fee) * completion
    )
    return fee * rows + by_tokens / probe


def _one_by_one(pricing: Pricing, seen: pl.LazyFrame) -> Decimal | None:
    """Long prompts are few, and those with the same tokens cost the same."""
    total = Decimal(0)
    for *tokens, rows in seen.group_by(_TOKENS).len().collect().iter_rows():
        cost = pricing.cost(Usage(*tokens))
        if cost is None:
            return None
        total += rows * cost
    return total
