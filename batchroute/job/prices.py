"""Tokens -> US dollars.

Knows a model's price per million tokens: the job's own, else the bundled table's (genai-prices, offline). Knows no
requests: discounts for batch or flex service are not in it, a job that has one states its own price.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import genai_prices
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import StartDateConstraint, TieredPrices

from batchroute.job.spec import Price
from batchroute.types import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from batchroute.job.spec import EmbedderSpec, Endpoints, InputPrice


@dataclass(frozen=True, slots=True)
class Rates:
    """A price as a straight line: USD per million tokens, and `fee` USD per request.

    `output` None: the model has none, as an embedding. The line holds for prompts of up to `up_to` tokens, of any
    length where that is None. 30,000 prompt tokens, 10,000 of them cached, and 1,000 of output at 1.25, 0.125, 10:

        0 + (20,000 * 1.25 + 10,000 * 0.125 + 1,000 * 10) / 1,000,000 = $0.03625

    One more kind of token (cache writes) is one more rate and one more term; another tier of service or a batch
    discount is another `Rates`.
    """

    input: Decimal
    cached_input: Decimal
    output: Decimal | None
    fee: Decimal = Decimal(0)
    up_to: int | None = None

    def usd(self, prompt: int, cached: int, completion: int, requests: int = 1) -> Decimal:
        """The cost of so many requests that have these tokens in all."""
        tokens = (prompt - cached) * self.input + cached * self.cached_input + completion * (self.output or 0)
        return requests * self.fee + tokens.scaleb(-6)


@dataclass(frozen=True, slots=True)
class Pricing:
    """What one model costs, and who says so.

    `entry` is the table's own where `rates` do not hold for every request: it has tiers, or hours of the day.
    """

    rates: Rates
    source: str
    entry: tuple[Provider, ModelInfo] | None = None

    @property
    def varies(self) -> bool:
        """Whether long requests, or those of another hour, cost otherwise than `rates` say."""
        return self.entry is not None

    def cost(self, usage: Usage) -> Decimal | None:
        """USD for one request's usage; None where the tokens or their price are unknown, which is not 0."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if completion is None and self.rates.output is None:
            completion = 0
        if prompt is None or completion is None or prompt < 0 or completion < 0:
            return None
        if completion and self.rates.output is None:
            return None
        # A provider that counts cached tokens beside the prompt must not make the rest negative.
        cached = max(0, min(usage.cached_tokens or 0, prompt))
        if self.entry is None:
            return self.rates.usd(prompt, cached, completion)
        return _table_usd(self.entry, prompt, cached, completion)

    def most_usd(self, input_bytes: int, output_tokens: int = 0) -> Decimal:
        """The most that one attempt can cost: what a budget reserves before it is sent.

        No tokenizer makes more tokens of a text than it has bytes, but for the few that frame a message, and a
        request's body has more bytes than those around its text. No token counts as cached.
        """
        return self.cost(Usage(prompt_tokens=input_bytes, completion_tokens=output_tokens)) or Decimal(0)


def _table_usd(entry: tuple[Provider, ModelInfo], prompt: int, cached: int, completion: int) -> Decimal:
    provider, model = entry
    usage = genai_prices.Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
    return model.calc_price(usage, provider).total_price


def find_pricing(model: str, price: Price | InputPrice | None, base_url_host: str | None) -> Pricing | None:
    """The price of `model`: the job's own, else the table's; None when neither knows it.

    The table is asked for the provider that `base_url_host` belongs to. Behind any other host (a gateway, a
    simulated provider) the model's name decides, a prefix as in `openai/gpt-4o` naming its provider.
    """
    if price is not None:
        return Pricing(_stated(price), "job file")
    entry = _entry(model, base_url_host)
    return None if entry is None else _from_table(entry)


def _stated(price: Price | InputPrice) -> Rates:
    """The job's own price; an embedder's names the input alone."""
    if not isinstance(price, Price):
        return Rates(price.input, price.input, None)
    return Rates(price.input, price.input if price.cached_input is None else price.cached_input, price.output)


def _entry(model: str, host: str | None) -> tuple[Provider, ModelInfo] | None:
    prefix, _, name = model.partition("/")
    lookups: list[tuple[str, str | None, str | None]]  # name, provider, address, in turn
    if host is not None and _is_provider(url := f"https://{host}"):
        # Another provider's price for the same name would be a wrong price, so nothing else is asked.
        lookups = [(model, None, url)]
    else:
        # `openai/gpt-4o` names its provider; a bare name is looked for among those of all providers.
        lookups = [*([(name, prefix, None)] if name else []), (model, None, None)]
    for lookup, provider_id, address in lookups:
        with suppress(LookupError):
            return get_snapshot().find_provider_model(lookup, None, provider_id, address)
    return None


def _is_provider(url: str) -> bool:
    try:
        get_snapshot().find_provider(None, None, url)
    except LookupError:
        return False
    return True


def _from_table(entry: tuple[Provider, ModelInfo]) -> Pricing | None:
    provider, model = entry
    price = model.get_prices(datetime.now(UTC))
    full = _base(price.input_mtok)
    if full is None:
        return None
    cached = _base(price.cache_read_mtok)
    rates = Rates(
        input=full,
        cached_input=full if cached is None else cached,
        output=_base(price.output_mtok),
        fee=(_base(price.requests_kcount) or Decimal(0)) / 1000,
        up_to=_lowest_tier(price),
    )
    table = f"genai-prices {genai_prices.__version__} of {table_date(datetime.now(UTC).date())}"
    source = f"{table}: {provider.id}/{model.id}{_since(model, price)}"
    return Pricing(rates, source, entry if rates.up_to is not None or _has_hours(model) else None)


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price


def _lowest_tier(price: ModelPrice) -> int | None:
    """The longest prompt that the base rates hold for: from the next token on, all of it costs another tier's."""
    rates = (price.input_mtok, price.cache_read_mtok, price.output_mtok)
    return min(
        (tier.start for rate in rates if isinstance(rate, TieredPrices) for tier in rate.tiers), default=None
    )


def _has_hours(model: ModelInfo) -> bool:
    """Whether the price depends on the hour; what starts on a date holds for a whole run that starts after it."""
    cases = model.prices if isinstance(model.prices, list) else []
    return any(not isinstance(case.constraint, StartDateConstraint | None) for case in cases)


def _since(model: ModelInfo, price: ModelPrice) -> str:
    cases = model.prices if isinstance(model.prices, list) else []
    starts = (case.constraint for case in cases if case.prices is price)
    return next((f", since {start.start_date}" for start in starts if isinstance(start, StartDateConstraint)), "")


def table_date(today: date) -> date:
    """When the table was last maintained: the latest day up to `today` that a price or a comment in it names."""
    days = _days_named()
    return days[bisect_right(days, today) - 1]


@cache
def _days_named() -> tuple[date, ...]:
    """In order; once in a process, as this reads every comment of some thousand models."""
    models = [model for provider in providers for model in provider.models]
    comments = (re.findall(r"\b20\d\d-\d\d-\d\d\b", model.price_comments or "") for model in models)
    cases = (case for model in models if isinstance(model.prices, list) for case in model.prices)
    starts = [case.constraint.start_date for case in cases if isinstance(case.constraint, StartDateConstraint)]
    return tuple(sorted({*starts, *(date.fromisoformat(day) for days in comments for day in days)}))


class Priced(Protocol):
    """An endpoint as far as its price goes: a job's, or a finished run's."""

    @property
    def model(self) -> str: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def price(self) -> Price | None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and at which price: an endpoint's name in the job, its model; `pricing` None: unknown."""

    name: str
    model: str
    pricing: Pricing | None


def open_target(name: str, spec: Priced) -> Target:
    """The endpoint `name`, with its price looked up: once for a command, then passed on."""
    pricing = find_pricing(spec.model, spec.price, _host(spec.base_url))
    if pricing is not None and pricing.rates.output is None:
        pricing = None  # the price of something that gives no answers, an embedding
    return Target(name, spec.model, pricing)


def open_targets(endpoints: Endpoints) -> dict[str, Target]:
    """Every endpoint of a job, by name."""
    return {name: open_target(name, spec) for name, spec in endpoints.items()}


def open_embedder_target(spec: EmbedderSpec) -> Target:
    """The embeddings API of a router; behind an unknown host a model of an OpenAI name costs what OpenAI takes."""
    model, host = spec.model or "", _host(spec.base_url)
    pricing = find_pricing(model, spec.price, host) or find_pricing(f"openai/{model}", None, host)
    return Target("embedder", model, pricing)


def _host(base_url: str | None) -> str | None:
    return urlsplit(base_url).hostname if base_url else None
