"""Tokens -> US dollars.

Knows a model's price per million tokens: the job's own, else the bundled table's (genai-prices, offline). Knows no
requests: discounts for batch or flex service are not in it, a job that has one states its own price.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import genai_prices
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import StartDateConstraint, TieredPrices

from batchroute.job.spec import Price

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from batchroute.job.spec import EmbedderSpec, Endpoints, InputPrice
    from batchroute.types import Usage

# No published price has a tier that begins below this many prompt tokens.
LOWEST_TIER_TOKENS = 32_000


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens; `output` None for a model that has no output, an embedding's."""

    input: Decimal
    cached_input: Decimal
    output: Decimal | None


@dataclass(frozen=True, slots=True)
class Pricing:
    """What one model costs, and who says so.

    Where the table's price is more than tokens times rates, `entry` is the table's own, which is asked request by
    request; `rates` are then what a short request costs now.
    """

    rates: Rates
    source: str
    entry: tuple[Provider, ModelInfo] | None = None

    @property
    def varies(self) -> bool:
        """Whether long requests, or another hour, cost otherwise than `rates` say."""
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
        if self.entry is not None:
            return _asked(self.entry, prompt, cached, completion)
        return _linear(self.rates, prompt, cached, completion)


def _linear(rates: Rates, prompt: int, cached: int, completion: int) -> Decimal:
    dollars = (prompt - cached) * rates.input + cached * rates.cached_input + completion * (rates.output or 0)
    return dollars.scaleb(-6)


def _asked(entry: tuple[Provider, ModelInfo], prompt: int, cached: int, completion: int) -> Decimal:
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
    for name, provider_id, url in _lookups(model, host):
        try:
            return get_snapshot().find_provider_model(name, None, provider_id, url)
        except LookupError:
            continue
    return None


def _lookups(model: str, host: str | None) -> Iterator[tuple[str, str | None, str | None]]:
    """(name, provider, address) to ask for in turn."""
    if host is not None and _is_provider(url := f"https://{host}"):
        # Another provider's price for the same name would be a wrong price, so nothing else is asked.
        yield model, None, url
        return
    prefix, slash, name = model.partition("/")
    if slash:
        yield name, prefix, None
    yield model, None, None


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
    rates = Rates(full, full if cached is None else cached, _base(price.output_mtok))
    table = f"genai-prices {genai_prices.__version__} of {table_date(datetime.now(UTC).date())}"
    source = f"{table}: {provider.id}/{model.id}{_since(model, price)}"
    return Pricing(rates, source, entry if _varies(model, price) else None)


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price


def _varies(model: ModelInfo, price: ModelPrice) -> bool:
    """Whether a request's price is more than tokens times rates: tiers, a fee per request, hours of the day.

    A price that starts on a date does not vary: what holds when the run starts holds for the run.
    """
    by_hour = isinstance(model.prices, list) and any(
        not isinstance(case.constraint, StartDateConstraint | None) for case in model.prices
    )
    rates = (price.input_mtok, price.cache_read_mtok, price.output_mtok)
    has_tiers = any(isinstance(rate, TieredPrices) for rate in rates)
    return by_hour or has_tiers or price.requests_kcount is not None


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
    return Target(name, spec.model, find_pricing(spec.model, spec.price, _host(spec.base_url)))


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
