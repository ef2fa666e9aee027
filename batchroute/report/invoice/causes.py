"""Why a provider's bill for a day and model may differ from what the results cost: each cause with its USD.

An amount says by how much the provider's bill would be the higher (the lower, where negative) if the cause holds;
None where that cannot be said. Causes are named, not chosen between: several may hold, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from batchroute.job.prices import find_pricing, schedule_at
from batchroute.job.rates import rates_for
from batchroute.job.tiers import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.job.rates import Rates
    from batchroute.report.daily import DaySum
    from batchroute.report.invoice.table import Billed
    from batchroute.report.read import RunEndpoint

CauseKind: TypeAlias = Literal[
    "unknown_cost",
    "older_price",
    "cache_writes",
    "tier",
    "other_model",
    "more_usage",
    "less_usage",
    "twice",
    "cents",
    "day_edge",
    "rounding",
    "unconfirmed",
    "embeddings",
]
_LEAST_USD = Decimal("0.00005")  # less would be shown as 0.0000
_NEARLY = Decimal("0.05")  # of an amount: what rows of unknown cost may lack
_NOT_BILLED = "not billed yet, not exported, or on another account's bill"

# Worked example. Ours is 1.00 USD for 400,000 prompt tokens, 100,000 of them written to a cache; the provider has
# 1.30 for 500,000. What differs by +0.30 may be
#
#     older_price    +0.10   the same tokens cost 1.10 by today's list
#     more_usage     +0.20   100,000 tokens of others who use the same key, at 2 USD a million
#
# and is not that cache writes were billed as ordinary input, which would make the bill the lower.


class Cause(msgspec.Struct, frozen=True):
    """One thing that may make a difference."""

    kind: CauseKind
    usd: float | None
    words: str


@dataclass(frozen=True, slots=True)
class OwnSum:
    """What a run has of a day and SKU, and the endpoint that was asked."""

    sums: DaySum
    endpoint: RunEndpoint

    def listed_usd(
        self, model: str | None = None, tier: str | None = None, *, writes: bool = True, own: bool = True
    ) -> Decimal | None:
        """Its tokens by today's price list, else, with `own`, by the job's price; None where neither knows them.

        As another `model` or in another `tier`, or with what was `written` to a cache as ordinary input.
        """
        rates, each = self.rates(model, tier, own=own), self.sums
        written = each.written if writes else 0
        if rates is None:
            return None
        return rates.usd(each.prompt, each.cached, each.completion, each.rows, written=written)

    def rates(self, model: str | None = None, tier: str | None = None, *, own: bool = True) -> Rates | None:
        """The same as a price."""
        sku, endpoint = self.sums.sku, self.endpoint
        named, tier = model or sku.model, tier or sku.tier
        schedule = schedule_at(named, endpoint.base_url, tier, datetime.now(UTC))
        if schedule is None and own and endpoint.price is not None:
            pricing = find_pricing(named, endpoint.price, None, api=endpoint.api)
            schedule = None if pricing is None else pricing.schedule(tier)
        return None if schedule is None else rates_for(schedule, sku.longest_prompt)


def is_about(usd: Decimal, expected: Decimal) -> bool:
    """Whether an amount is so near another one that chance is unlikely."""
    return expected > 0 and abs(usd - expected) <= _NEARLY * expected


def nothing_of_the_day(difference: Decimal | None) -> Cause:
    """Where the invoice has no line of a day."""
    usd = None if difference is None else float(difference)
    return Cause("less_usage", usd, f"the invoice has nothing of this day: {_NOT_BILLED}")


def causes_of(difference: Decimal | None, theirs: Billed | None, ours: Sequence[OwnSum]) -> list[Cause]:
    """What may make the provider's bill differ by so much; without a `difference` all that tokens say."""
    found = list(_of_rows(ours))
    if theirs is None:
        found += [cause for each in ours for cause in _of_other_model(each)]
    elif theirs.usd is not None:
        found += [*_of_prices(ours), *_of_lines_twice(theirs, ours), *_of_rounding(difference, theirs)]
    found += _of_usage(difference, theirs, ours)
    return [each for each in found if each.usd is None or difference is None or (each.usd > 0) == (difference > 0)]


def _of_rows(ours: Sequence[OwnSum]) -> Iterator[Cause]:
    if unknown := sum(each.sums.unknown for each in ours):
        yield Cause("unknown_cost", None, f"{_rows(unknown)} whose cost we do not know, in none of our sums")


def _of_prices(ours: Sequence[OwnSum]) -> Iterator[Cause]:
    billed = _billed_usd(ours)
    listed = _sum(each.listed_usd(own=False) for each in ours)
    if listed is not None:
        yield from _if_any("older_price", listed - billed, "the same tokens by today's price list")
    plain = _sum(each.listed_usd(writes=False) for each in ours)
    written = _sum(each.listed_usd() for each in ours)
    if plain is not None and written is not None:
        yield from _if_any("cache_writes", plain - written, "cache writes billed as ordinary input")
    for each in ours:
        yield from _of_tier(each)
        yield from _of_other_model(each)


def _of_tier(each: OwnSum) -> Iterator[Cause]:
    tier, usd, standard = each.sums.sku.tier, each.listed_usd(), each.listed_usd(tier=STANDARD)
    if tier != STANDARD and usd is not None and standard is not None:
        words = f"{_rows(each.sums.rows)} in the tier {tier} billed as standard"
        yield from _if_any("tier", standard - usd, words)


def _of_other_model(each: OwnSum) -> Iterator[Cause]:
    sku, usd, asked = each.sums.sku, each.listed_usd(), each.listed_usd(model=each.endpoint.model)
    if sku.is_other and usd is not None and asked is not None:
        words = f"{_rows(each.sums.rows)} that {sku.model} answered billed as the model asked for"
        yield from _if_any("other_model", asked - usd, words)


def _of_usage(difference: Decimal | None, theirs: Billed | None, ours: Sequence[OwnSum]) -> Iterator[Cause]:
    if theirs is None:
        usd = None if difference is None else float(difference)
        yield Cause("less_usage", usd, f"the invoice has no line of this model on this day: {_NOT_BILLED}")
        return
    if theirs.prompt is None or theirs.output is None:
        if difference is not None and difference > 0:
            yield Cause("more_usage", None, "other use of the same key; the file has no tokens to tell by")
        elif difference is not None:
            yield Cause("less_usage", None, "not all of it is billed yet, or it is on another account's bill")
        return
    prompt = theirs.prompt - sum(each.sums.prompt for each in ours)
    output = theirs.output - sum(each.sums.completion for each in ours)
    rates = ours[0].rates() if ours else None
    usd = None if rates is None else float(rates.usd(prompt, 0, output, 0))
    if prompt + output > 0:
        yield Cause("more_usage", usd, f"{prompt + output:,} tokens more than ours: other use of the same key")
    elif prompt + output < 0:
        words = f"{-prompt - output:,} tokens fewer than ours: not all is billed yet, or on another account's bill"
        yield Cause("less_usage", usd, words)


def _of_rounding(difference: Decimal | None, theirs: Billed | None) -> Iterator[Cause]:
    most = Decimal(0) if theirs is None else theirs.step_usd * theirs.lines / 2
    if theirs is not None and difference is not None and abs(difference) <= most:
        yield Cause("rounding", float(most.copy_sign(difference)), f"{theirs.lines:,} rounded amounts, at most")


def _of_lines_twice(theirs: Billed, ours: Sequence[OwnSum]) -> Iterator[Cause]:
    usd = _billed_usd(ours)
    if theirs.usd is not None and theirs.lines % 2 == 0 and is_about(theirs.usd, 2 * usd):
        yield Cause("twice", float(usd), "twice ours: its lines may stand in the file twice")


def _billed_usd(ours: Sequence[OwnSum]) -> Decimal:
    return sum((each.sums.cost_usd for each in ours), Decimal(0))


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"


def _if_any(kind: CauseKind, usd: Decimal, words: str) -> Iterator[Cause]:
    if abs(usd) >= _LEAST_USD:
        yield Cause(kind, float(usd), words)


def _sum(amounts: Iterator[Decimal | None]) -> Decimal | None:
    known = list(amounts)
    return None if not known or None in known else sum((usd for usd in known if usd is not None), Decimal(0))
