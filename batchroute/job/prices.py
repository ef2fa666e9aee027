"""An endpoint's price: the job's own, else the bundled table's; what an answer cost by it, and what it can cost.

Knows no requests and no files.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from batchroute.errors import UsageFault
from batchroute.job.endpoint import Price, all_addresses
from batchroute.job.price_table import find_entry, moments, provider_name, schedules, source_of
from batchroute.job.rates import Rates, cache_tokens, highest, rates_for
from batchroute.job.tiers import AUTO, STANDARD, may_answer, tier_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.job.endpoint import EndpointSpec, InputPrice, TierPrice
    from batchroute.job.price_table import Entry
    from batchroute.job.rates import Schedule
    from batchroute.job.spec import EmbedderSpec, Endpoints
    from batchroute.types import Usage

_NAMES_KEPT = 64  # of tiers that answers name: a provider may invent any number
# What a cache's writes cost, in shares of the input price, where only the API is known: kept for minutes, an hour.
_WRITE_FACTORS = {"anthropic": (Decimal("1.25"), Decimal(2))}


@dataclass(frozen=True, slots=True)
class Pricing:
    """What one model costs, and who says so.

    `tiers` has the standard tier of service and what others are known, `asked` is the one that requests ask for.
    `stated`: the job's own price, which holds for every tier that it does not name. `entry` is the table's own
    where its price changes with the hour, or on a date to come; `host` is where the model is served.
    """

    model: str
    source: str
    tiers: Mapping[str, Schedule]
    asked: str = AUTO
    stated: bool = False
    entry: Entry | None = None
    host: str | None = None
    _most: dict[str, Schedule] = field(default_factory=dict, repr=False, compare=False)
    _named: dict[str | None, Schedule | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rates(self) -> Rates:
        """Of short prompts in the tier asked for; in the standard one where that has no known price."""
        return (self.schedule() or self.tiers[STANDARD])[0]

    @property
    def varies(self) -> bool:
        """Whether long requests, or those of another hour, cost otherwise than `rates` say."""
        return self.entry is not None or self.rates.up_to is not None

    def schedule(self, tier: str | None = None) -> Schedule | None:
        """The lines of a tier, by default of the one asked for; None where its price is unknown."""
        named = self.asked if tier is None else tier
        tiers = self.tiers if self.entry is None else schedules(self.entry, self.asked, datetime.now(UTC))
        return tiers.get(STANDARD if named == AUTO else named, self.tiers[STANDARD] if self.stated else None)

    def cost(self, usage: Usage) -> Decimal | None:
        """USD for the tokens of one request; None where they or their price are unknown, which is not 0.

        The tier that the answer names decides, else the one asked for. A model that answered in the place of the
        one asked for is priced as itself where the table has it as the more expensive.
        """
        usd = self._usd(usage)
        if usd is None or usage.served_model is None or usage.served_model == self.model:
            return usd
        served = _served_pricing(self.model, usage.served_model, self.host, self.asked)
        return usd if served is None else max(usd, served.cost(usage) or usd)

    def _usd(self, usage: Usage) -> Decimal | None:
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        schedule = self._schedule_named(usage.service_tier)
        if prompt is None or prompt < 0 or schedule is None:
            return None
        rates = schedule[0] if len(schedule) == 1 else rates_for(schedule, prompt)
        if completion is None or rates.output is None:
            if completion or rates.output is not None:
                return None
            completion = 0
        if completion < 0:
            return None
        if not (usage.cached_tokens or usage.cache_write_tokens or usage.audio_tokens):
            return rates.usd(prompt, 0, completion)
        cached, written, written_1h = cache_tokens(usage, prompt)
        audio = min(usage.audio_tokens or 0, prompt - cached - written)
        return rates.usd(prompt, cached, completion, written=written, written_1h=written_1h, audio=audio)

    def _schedule_named(self, tier: str | None) -> Schedule | None:
        """The lines of the tier that an answer names, in its words; of the one asked for where it names none."""
        if tier in self._named:
            return self._named[tier]
        named = tier_of(tier)
        found = self.schedule(None if named == AUTO else named)
        if self.entry is None and len(self._named) < _NAMES_KEPT:
            self._named[tier] = found
        return found

    def most_usd(
        self, input_bytes: int, output_tokens: int = 0, *, media_tokens: int = 0, asked: str | None = None
    ) -> Decimal:
        """The most that one attempt can cost: what a budget reserves before it is sent.

        No tokenizer makes more tokens of a text than it has bytes, but for the few that frame a message, and a
        request's body has more bytes than those around its text. All of it may be written to a cache, and be
        answered in the most expensive tier that may answer what is `asked`, by default what the endpoint asks.
        """
        schedule = self._most_in(self.asked if asked is None else asked)
        rates = rates_for(schedule, input_bytes + media_tokens)
        usd = rates.usd(input_bytes, 0, output_tokens)
        return usd + (media_tokens * rates.media_input).scaleb(-6) if media_tokens else usd

    def _most_in(self, asked: str) -> Schedule:
        if asked not in self._most:
            times = [self.tiers]
            if self.entry is not None:
                times = [
                    schedules(self.entry, self.asked, moment) for moment in moments(self.entry, datetime.now(UTC))
                ]
            named = may_answer(asked)
            every = (tier for tiers in times for tier in tiers.items())
            self._most[asked] = highest(schedule for name, schedule in every if named is None or name in named)
        return self._most[asked]


def attempt_usd(usage: Usage, pricing: Pricing | None) -> Decimal | None:
    """What one attempt was billed: the provider's own word where it has one, else its tokens at their price.

    A bill of 0 beside tokens is none: a gateway says so that was given a provider's key. None: unknown.
    """
    reported = usage.reported_usd
    if reported is not None and reported > 0:
        return Decimal(repr(reported))
    return None if pricing is None else pricing.cost(usage)


def price_words(pricing: Pricing | None) -> str:
    """In words: what requests cost in the tier they ask for, and who says so."""
    if pricing is None:
        return "price unknown: costs will be null; set its `price` to know them"
    schedule, tier = pricing.schedule(), pricing.asked
    if schedule is None:
        return f"price of the tier {tier} unknown: its costs will be null; set `price` or `price.tiers.{tier}`"
    rates = schedule[0]
    output = "no output" if rates.output is None else f"{rates.output} output"
    written = f", {rates.cache_write} written to a cache" if rates.cache_write != rates.input else ""
    fee = f", and {rates.fee} a request" if rates.fee else ""
    varies = ", higher for some requests" if pricing.varies else ""
    asked = "" if tier == AUTO else f" in the tier {tier}"
    others = [] if tier != AUTO else [name for name in pricing.tiers if name != STANDARD]
    if others:
        asked = f" in the standard tier ({', '.join(others)}: their own price)"
    words = f"{rates.input} input, {rates.cached_input} cached{written}, {output}{fee}{varies}"
    return f"USD per million tokens{asked}: {words} ({pricing.source})"


def find_pricing(
    model: str, price: Price | InputPrice | None, host: str | None, *, api: str = "chat", asked: str = AUTO
) -> Pricing | None:
    """The price of `model`: the job's own, else the table's; None when neither knows it.

    `host` is where it is served. A server on loopback takes no price from the table: its model has a name of its
    owner's choice, and runs on a machine that is paid for.
    """
    if price is not None:
        return _stated(model, price, host, api, asked)
    return None if is_loopback(host) else _of_table(model, host, asked)


def is_loopback(host: str | None) -> bool:
    """Whether a server of that name runs on this machine."""
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _of_table(model: str, host: str | None, asked: str) -> Pricing | None:
    now = datetime.now(UTC)
    entry = find_entry(model, host)
    tiers = {} if entry is None else schedules(entry, asked, now)
    if entry is None or not tiers:
        return None
    changes = any(schedules(entry, asked, moment) != tiers for moment in moments(entry, now))
    source = source_of(entry, now)
    return Pricing(model, source, tiers, asked, entry=entry if changes else None, host=host)


def schedule_at(model: str, base_url: str | None, tier: str, at: datetime) -> Schedule | None:
    """The lines of a tier by the bundled table, as they are at a moment; None where it does not know them."""
    host = _host(base_url)
    entry = None if is_loopback(host) else find_entry(model, host)
    return None if entry is None else schedules(entry, tier, at).get(tier)


def provider_at(base_url: str | None) -> str | None:
    """Who sends the bill for requests to this address: by name where the table knows the host, else the host."""
    host = _host(base_url)
    return host and (provider_name(host) or host)


@lru_cache(maxsize=256)
def _served_pricing(asked_model: str, served: str, host: str | None, asked: str) -> Pricing | None:
    """The table's price of a model that answered for another, where it has one for both."""
    entry, other = find_entry(asked_model, host), find_entry(served, host)
    return None if entry is None or other is None or other.model is entry.model else _of_table(served, host, asked)


def _stated(model: str, price: Price | InputPrice, host: str | None, api: str, asked: str) -> Pricing:
    """The job's own price; an embedder's names the input alone."""
    named_at = None if is_loopback(host) else host
    if not isinstance(price, Price):
        only = Rates(price.input, price.input, price.input, price.input, None, price.input)
        return Pricing(model, "job file", {STANDARD: (only,)}, asked, stated=True, host=named_at)
    factors = _write_factors(model, named_at, api)
    tiers = {STANDARD: (_stated_rates(price, factors),)}
    for name, tier in price.tiers.items():
        tiers[tier_of(name) or name] = (_stated_rates(tier, factors),)
    return Pricing(model, "job file", tiers, asked, stated=True, host=named_at)


def _stated_rates(price: Price | TierPrice, factors: tuple[Decimal, Decimal]) -> Rates:
    write, write_1h = (
        price.input * factor if price.cache_write is None else price.cache_write for factor in factors
    )
    cached = price.input if price.cached_input is None else price.cached_input
    return Rates(price.input, cached, write, write_1h, price.output, price.input)


def _write_factors(model: str, host: str | None, api: str) -> tuple[Decimal, Decimal]:
    """What writing to a cache costs in shares of the input price: as the table has it for the model."""
    listed = _of_table(model, host, STANDARD)
    if listed is None or not listed.rates.input:
        return _WRITE_FACTORS.get(api, (Decimal(1), Decimal(1)))
    rates = listed.rates
    return rates.cache_write / rates.input, rates.cache_write_1h / rates.input


class Priced(Protocol):
    """An endpoint as far as its price goes: a job's, or a finished run's."""

    @property
    def model(self) -> str: ...
    @property
    def base_url(self) -> str | Sequence[str] | None: ...
    @property
    def api(self) -> str: ...
    @property
    def price(self) -> Price | None: ...
    @property
    def asked_tier(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and at which price: an endpoint's name in the job, its model; `pricing` None: unknown."""

    name: str
    model: str
    pricing: Pricing | None

    @property
    def list_price(self) -> Pricing | None:
        """The price that a forecast can go by: None where that of the tier asked for is unknown."""
        return self.pricing if self.pricing is not None and self.pricing.schedule() is not None else None


def open_target(name: str, spec: Priced) -> Target:
    """The endpoint `name`, with its price looked up: once for a command, then passed on.

    Where it has several addresses, and one of them no known price, it has none, as nobody can tell which answered.
    Raises UsageFault where they have different ones.
    """
    hosts = dict.fromkeys(map(_host, all_addresses(spec.base_url))) or {None: None}
    found = [find_pricing(spec.model, spec.price, host, api=spec.api, asked=spec.asked_tier) for host in hosts]
    known = [each for each in found if each is not None]
    if any(each.tiers != known[0].tiers for each in known):
        raise UsageFault(
            f"endpoints.{name}: {spec.model} has not the same price at all addresses of base_url "
            f"({', '.join(map(str, hosts))}); set endpoints.{name}.price, or name addresses of one provider"
        )
    pricing = known[0] if len(known) == len(found) else None
    if pricing is not None and pricing.rates.output is None:
        pricing = None  # the price of something that gives no answers, an embedding
    return Target(name, spec.model, pricing)


def open_targets(endpoints: Endpoints | Mapping[str, EndpointSpec]) -> dict[str, Target]:
    """Each of the endpoints, by name: those of a job's rows, or all that it asks."""
    return {name: open_target(name, spec) for name, spec in endpoints.items()}


def open_embedder_target(spec: EmbedderSpec) -> Target:
    """The embeddings API of a router; behind an unknown host a model of an OpenAI name costs what OpenAI takes."""
    model, host = spec.model or "", _host(spec.base_url)
    pricing = find_pricing(model, spec.price, host) or find_pricing(f"openai/{model}", None, host)
    return Target("embedder", model, pricing)


def _host(base_url: str | None) -> str | None:
    return urlsplit(base_url).hostname if base_url else None
