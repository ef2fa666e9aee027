"""What the answered rows would have cost had all of them gone to one endpoint.

Requests whose price is a straight line are priced by the sum of their tokens; long prompts that another tier's
price holds for are priced one by one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from batchroute.types import Usage

if TYPE_CHECKING:
    from batchroute.job.prices import Pricing, Target
    from batchroute.job.rates import Rates


def all_on_one_side_usd(target: Target, settled: pl.LazyFrame) -> float | None:
    """The seen tokens of the ok rows at one endpoint's price, one attempt each; None where it has no price."""
    pricing = target.list_price
    if pricing is None:
        return None
    prompt = pl.col("prompt_tokens")
    counted = prompt.is_not_null() & pl.col("completion_tokens").is_not_null()
    # More cached than prompt tokens, which some providers report, must not make the rest negative.
    cached = pl.min_horizontal(pl.col("cached_tokens").fill_null(0), prompt)
    seen = settled.filter((pl.col("status") == "ok") & counted).select(prompt, cached, "completion_tokens")
    if pricing.rates.up_to is None:
        return float(_on_the_line(pricing.rates, seen))
    is_short = prompt <= pricing.rates.up_to
    return float(_on_the_line(pricing.rates, seen.filter(is_short)) + _one_by_one(pricing, seen.filter(~is_short)))


def _on_the_line(rates: Rates, seen: pl.LazyFrame) -> Decimal:
    requests, prompt, cached, completion = seen.select(pl.len(), pl.all().sum()).collect().row(0)
    return rates.usd(prompt, cached, completion, requests)


def _one_by_one(pricing: Pricing, seen: pl.LazyFrame) -> Decimal:
    """Long prompts are few, and those with the same tokens cost the same."""
    by_tokens = seen.group_by(pl.all()).len().collect().iter_rows()
    return sum((rows * (pricing.cost(Usage(*tokens)) or 0) for *tokens, rows in by_tokens), Decimal(0))
