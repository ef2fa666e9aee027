"""A run's bill as a FOCUS 1.2 dataset: https://focus.finops.org/focus-specification/v1-2/, Cost and Usage.

One row for each day (UTC), SKU and kind of token; a SKU is a model in a tier of service at an endpoint. The column
names and what they may hold are the specification's. What a client cannot know is null where that allows null, and
else says so: the account is the API's host unless it is named.

    BilledCost      what the results cost; the sum over all rows is `total_usd`. As nothing is prepaid and no
                    contract is known, EffectiveCost and ContractedCost are the same
    ListCost        the tokens by the bundled price table on that day, else by the job's own price

A row of unknown cost is in none, since BilledCost allows no null; nor is what is unconfirmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from batchroute.job.prices import find_pricing, provider_at, schedule_at
from batchroute.job.rates import rates_for
from batchroute.job.tiers import STANDARD
from batchroute.report.daily import Sku
from batchroute.report.token_sums import LONGEST_PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.job.rates import Rates, Schedule
    from batchroute.report.daily import DaySum
    from batchroute.report.read import RunEndpoint

# Worked example. 10,000 tokens in, 4,000 of them from a cache, and 1,000 out, at 2 USD per million in, 0.2 cached
# and 10 out, make 0.0120 + 0.0008 + 0.0100 = 0.0228 by the price; 0.0250 was billed, as 2 requests failed first.
#
#     Input      6,000    ListCost 0.0120    BilledCost 0.0250 * 120/228 = 0.013157894737
#     CacheRead  4,000             0.0008                          8/228 = 0.000877192982
#     Output     1,000             0.0100    the rest, so that the three are 0.0250 to the last digit

_DECIMAL, _TEXT, _TIME = pa.decimal128(38, 18), pa.string(), pa.timestamp("us", tz="UTC")
_STEP = Decimal("1e-12")
COLUMNS = pa.schema(
    [
        ("BilledCost", _DECIMAL),
        ("BillingAccountId", _TEXT),
        ("BillingAccountName", _TEXT),
        ("BillingCurrency", _TEXT),
        ("BillingPeriodEnd", _TIME),
        ("BillingPeriodStart", _TIME),
        ("ChargeCategory", _TEXT),
        ("ChargeClass", _TEXT),
        ("ChargeDescription", _TEXT),
        ("ChargeFrequency", _TEXT),
        ("ChargePeriodEnd", _TIME),
        ("ChargePeriodStart", _TIME),
        *((f"CommitmentDiscount{what}", _TEXT) for what in ("Category", "Id", "Name", "Status", "Type")),
        ("ConsumedQuantity", _DECIMAL),
        ("ConsumedUnit", _TEXT),
        ("ContractedCost", _DECIMAL),
        ("ContractedUnitPrice", _DECIMAL),
        ("EffectiveCost", _DECIMAL),
        ("InvoiceId", _TEXT),
        ("InvoiceIssuerName", _TEXT),
        ("ListCost", _DECIMAL),
        ("ListUnitPrice", _DECIMAL),
        ("PricingCategory", _TEXT),
        ("PricingQuantity", _DECIMAL),
        ("PricingUnit", _TEXT),
        ("ProviderName", _TEXT),
        ("PublisherName", _TEXT),
        ("RegionId", _TEXT),
        ("RegionName", _TEXT),
        ("ResourceId", _TEXT),
        ("ResourceName", _TEXT),
        ("ResourceType", _TEXT),
        ("ServiceCategory", _TEXT),
        ("ServiceName", _TEXT),
        ("ServiceSubcategory", _TEXT),
        ("SkuId", _TEXT),
        ("SkuMeter", _TEXT),
        ("SkuPriceDetails", _TEXT),
        ("SkuPriceId", _TEXT),
        ("SubAccountId", _TEXT),
        ("SubAccountName", _TEXT),
        ("Tags", _TEXT),
    ]
)
_EVERYWHERE = {
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
}
_TOKEN_METERS = {
    "Input": "Input Tokens",
    "CacheRead": "Cache Read Input Tokens",
    "CacheWrite": "Cache Write Input Tokens",
    "Output": "Output Tokens",
}


Row: TypeAlias = "dict[str, Any]"  # by the names of COLUMNS; a column that is not named is null


@dataclass(frozen=True, slots=True)
class Labels:
    """What all rows of a run are labelled with: `job` and `run` by name; `tag` is the key for `DaySum.tag`."""

    job: str
    run: str
    account: str | None = None
    tag: str | None = None

    def tags(self, route: str) -> dict[str, str]:
        """Those of every row, told apart from kept columns by their prefix."""
        return {
            f"batchroute:{key}": name for key, name in (("job", self.job), ("run", self.run), ("route", route))
        }


@dataclass(frozen=True, slots=True)
class _Charge:
    """What one meter of a SKU counted; `unit_usd` is its list price, of a million tokens."""

    meter: str
    quantity: int
    unit_usd: Decimal | None
    billed_usd: Decimal


def focus_rows(endpoints: Mapping[str, RunEndpoint], sums: Iterable[DaySum], labels: Labels) -> list[Row]:
    """The rows of a run's bill."""
    return [
        _row(endpoints[each.sku.route], each, charge, labels)
        for each in sums
        for charge in _charges(endpoints[each.sku.route], each)
    ]


@dataclass(frozen=True, slots=True)
class BilledBeside:
    """What an endpoint billed beside the rows, such as the router's embeddings: over all days, without tokens."""

    route: str
    meter: str
    endpoint: RunEndpoint
    cost_usd: Decimal


def beside_row(billed: BilledBeside, began: date, ended: date, labels: Labels) -> Row:
    """Of a run that was billed from the one day to the other."""
    name = billed.endpoint.model or billed.route
    return {
        **_of_seller(billed.endpoint, labels),
        **_of_period(began, ended),
        **_of_quantity(_Charge("Run", 1, None, billed.cost_usd.quantize(_STEP))),
        **_of_sku(Sku(billed.route, name, False, STANDARD, LONGEST_PROMPT), "Run", billed.meter),
        "Tags": _json(labels.tags(billed.route)),
    }


def _charges(endpoint: RunEndpoint, each: DaySum) -> list[_Charge]:
    """The cost of a sum dealt out to its meters as their price is, to the last digit."""
    listed, paid = _rates(endpoint, each)
    whole_usd = each.cost_usd.quantize(_STEP)
    tokens = {
        "Input": each.prompt - each.cached - each.written,
        "CacheRead": each.cached,
        "CacheWrite": each.written,
        "Output": each.completion,
    }
    counted = {meter: number for meter, number in tokens.items() if number}
    if not counted:
        return [_Charge("Request", each.attempts, None, whole_usd)] if whole_usd else []
    weights = {meter: number * (_unit_usd(paid, meter) or 0) for meter, number in counted.items()}
    whole = sum(weights.values()) or sum(counted.values())
    shares = weights if any(weights.values()) else counted
    billed = [(whole_usd * shares[meter] / whole).quantize(_STEP, ROUND_DOWN) for meter in counted]
    billed[-1] = whole_usd - sum(billed[:-1])
    units = [_unit_usd(listed, meter) for meter in counted]
    return [_Charge(*charge) for charge in zip(counted, counted.values(), units, billed, strict=True)]


def _rates(endpoint: RunEndpoint, each: DaySum) -> tuple[Rates | None, Rates | None]:
    """The list price on that day, and the one that was paid: the job's own where it names one."""
    sku, noon = each.sku, datetime.combine(each.day, time(12), UTC)
    table = schedule_at(sku.model, endpoint.base_url, sku.tier, noon)
    own = None if endpoint.price is None else find_pricing(sku.model, endpoint.price, None, api=endpoint.api)
    paid = table if own is None else own.schedule(sku.tier)
    listed, paid = table or paid, paid or table
    return _line(listed, sku), _line(paid, sku)


def _line(schedule: Schedule | None, sku: Sku) -> Rates | None:
    return None if schedule is None else rates_for(schedule, sku.longest_prompt)


def _unit_usd(rates: Rates | None, meter: str) -> Decimal | None:
    if rates is None:
        return None
    prices = (rates.input, rates.cached_input, rates.cache_write, rates.output)
    return dict(zip(_TOKEN_METERS, prices, strict=True))[meter]


def _row(endpoint: RunEndpoint, each: DaySum, charge: _Charge, labels: Labels) -> Row:
    tag = {} if labels.tag is None or each.tag is None else {labels.tag: each.tag}
    return {
        **_of_seller(endpoint, labels),
        **_of_period(each.day, each.day),
        **_of_quantity(charge),
        **_of_sku(each.sku, charge.meter, _TOKEN_METERS.get(charge.meter, "Requests")),
        "Tags": _json({**tag, **labels.tags(each.sku.route)}),
    }


def _of_seller(endpoint: RunEndpoint, labels: Labels) -> Row:
    provider = "SIMULATED" if endpoint.simulated else provider_at(endpoint.base_url) or "unknown"
    account = labels.account or (endpoint.base_url and urlsplit(endpoint.base_url).hostname) or provider
    names = dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), provider)
    return {**_EVERYWHERE, **names, "BillingAccountId": account, "ServiceName": f"{provider} API"}


def _of_period(began: date, ended: date) -> Row:
    month = began.replace(day=1)
    next_month = (month + timedelta(days=31)).replace(day=1)
    periods = ("ChargePeriod", began, ended + timedelta(days=1)), ("BillingPeriod", month, next_month)
    return {
        f"{name}{end}": datetime.combine(day, time(), UTC)
        for name, start, stop in periods
        for end, day in (("Start", start), ("End", stop))
    }


def _of_quantity(charge: _Charge) -> Row:
    is_tokens = charge.meter in _TOKEN_METERS
    unit = "Tokens" if is_tokens else f"{charge.meter}s"
    priced = Decimal(charge.quantity) / (1_000_000 if is_tokens else 1)
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost"), charge.billed_usd),
        "ListCost": charge.billed_usd if charge.unit_usd is None else charge.unit_usd * priced,
        "ListUnitPrice": charge.unit_usd,
        "ConsumedQuantity": Decimal(charge.quantity),
        "ConsumedUnit": unit,
        "PricingQuantity": priced,
        "PricingUnit": f"1000000 {unit}" if is_tokens else unit,
    }


def _of_sku(sku: Sku, meter: str, meter_name: str) -> Row:
    sku_id = f"{sku.model}/{sku.tier}/{meter}"
    details = {"x_Model": sku.model, "x_ServiceTier": sku.tier, "x_TokenType": meter}
    is_banded = sku.longest_prompt < LONGEST_PROMPT
    return {
        "ChargeDescription": f"{meter_name} of {sku.model}, {sku.tier} tier",
        **dict.fromkeys(("ResourceId", "ResourceName"), sku.model),
        "ResourceType": "Model",
        "SkuId": sku_id,
        "SkuMeter": meter_name,
        "SkuPriceDetails": _json({**details, "x_LongestPrompt": sku.longest_prompt} if is_banded else details),
        "SkuPriceId": f"{sku_id}/{sku.longest_prompt}" if is_banded else sku_id,
    }


def _json(values: Mapping[str, object]) -> str:
    return msgspec.json.encode(values, order="sorted").decode()
