"""The bundled price table (genai-prices, offline): a model's name and who serves it -> what its tokens cost.

Knows every tier of service and every length of prompt that the table prices, and when a price begins. Knows no
job.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import genai_prices
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import StartDateConstraint, TieredPrices, TimeOfDateConstraint

from batchroute.job.rates import Rates
from batchroute.job.tiers import FAST, STANDARD, tier_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from batchroute.job.rates import Schedule

RUN_LASTS = timedelta(days=7)  # at most: a price that begins within that may meet a run that begins now
_NEARLY = 0.75  # of difflib's likeness: a slip or two, not another size of the same family
_MEDIA = ("input_image_mtok", "input_audio_mtok", "input_video_mtok")
# https://console.groq.com/docs/flex-processing, read 2026-11-28: "Pricing matches the on-demand tier."
_AS_STANDARD = {"groq": ("flex",)}


class Entry(NamedTuple):
    """One model at one provider, as the table has it."""

    provider: Provider
    model: ModelInfo


def find_entry(model: str, host: str | None) -> Entry | None:
    """Looks among the models of the provider that `host` belongs to, and nowhere else.

    Behind any other host (a gateway, a simulated provider) the model's name decides, a prefix as in
    `openai/gpt-4o` naming its provider.
    """
    prefix, _, name = model.partition("/")
    lookups: list[tuple[str, str | None, str | None]]  # name, provider, address, in turn
    if host is not None and provider_name(host) is not None:
        # Another provider's price for the same name would be a wrong price, so nothing else is asked.
        lookups = [(model, None, f"https://{host}")]
    else:
        # `openai/gpt-4o` names its provider; a bare name is looked for among those of all providers.
        lookups = [*([(name, prefix, None)] if name else []), (model, None, None)]
    for lookup, provider_id, address in lookups:
        with suppress(LookupError):
            return Entry(*get_snapshot().find_provider_model(lookup, None, provider_id, address))
    return None


def near_models(model: str, host: str | None) -> list[str]:
    """Names in the table that are nearly `model`: those that begin so, then those that are like it.

    At the provider that `host` belongs to; behind any other host at all of them.
    """
    known = providers
    with suppress(LookupError):
        known = [get_snapshot().find_provider(None, None, f"https://{host}")] if host else providers
    names = {listed.id.lower(): listed.id for provider in known for listed in provider.models}
    asked = model.lower()
    longer = sorted(name for name in names if asked and name.startswith(f"{asked}-"))
    like = difflib.get_close_matches(asked, sorted(names), n=3, cutoff=_NEARLY)
    return [names[name] for name in dict.fromkeys((*longer, *like)) if names[name] != model]


def is_deprecated(model: str, host: str | None) -> bool:
    """Whether the table lists the model as one that its provider gives up."""
    entry = find_entry(model, host)
    return entry is not None and bool(entry.model.deprecated)


def provider_name(host: str) -> str | None:
    """Which provider of the table a host belongs to; None: none of them."""
    try:
        return str(get_snapshot().find_provider(None, None, f"https://{host}").name)
    except LookupError:
        return None


def schedules(entry: Entry, asked: str | None, now: datetime) -> Mapping[str, Schedule]:
    """What its tokens cost at `now`, by tier; empty where the table has no price per token.

    A tier that the table does not price is not among them: the library would give the standard price for it. That
    of `speed = "fast"` only is where it is `asked`, as no account is set to it.
    """
    found: dict[str, Schedule] = {}
    for tier, context in _contexts(entry, asked, now):
        schedule = _schedule(entry.model.get_prices(now, context))
        if schedule is None:
            return {}
        found[tier] = schedule
    found.update(dict.fromkeys(_AS_STANDARD.get(entry.provider.id, ()), found[STANDARD]))
    return found


def _contexts(entry: Entry, asked: str | None, now: datetime) -> Iterator[tuple[str, dict[str, str]]]:
    """The tiers, and the words by which the table knows each of them."""
    yield STANDARD, {}
    if all(own is not entry.model for own in entry.provider.models):
        return  # another provider's model, whose tiers are that one's
    for variant in entry.model.price_variants or ():
        if variant.constraint is not None and not variant.constraint.active(now):
            continue
        if variant.when.keys() == {"service_tier"} and (tier := tier_of(variant.when["service_tier"])) != STANDARD:
            yield str(tier), variant.when
        if variant.when == {"speed": "fast"} and asked == FAST:
            yield FAST, variant.when


def _schedule(price: ModelPrice) -> Schedule | None:
    """One line for each length of prompt that the price tells apart: from the next token on all costs another."""
    kinds = (price.input_mtok, price.cache_read_mtok, price.cache_write_mtok, price.output_mtok)
    starts = {tier.start for kind in kinds if isinstance(kind, TieredPrices) for tier in kind.tiers}
    lines = [_rates(price, up_to) for up_to in (*sorted(starts), None)]
    return None if any(line is None for line in lines) else tuple(line for line in lines if line is not None)


def _rates(price: ModelPrice, up_to: int | None) -> Rates | None:
    full = _at(price.input_mtok, up_to)
    if full is None:
        return None
    cached, written = _at(price.cache_read_mtok, up_to), _at(price.cache_write_mtok, up_to)
    written = full if written is None else written
    written_1h = _at(price.cache_write_1h_mtok, up_to)
    media = [rate for kind in _MEDIA if (rate := _at(getattr(price, kind), up_to)) is not None]
    return Rates(
        input=full,
        cached_input=full if cached is None else cached,
        cache_write=written,
        cache_write_1h=written if written_1h is None else written_1h,
        output=_at(price.output_mtok, up_to),
        media_input=max(full, *media) if media else full,
        fee=(_at(price.requests_kcount, up_to) or Decimal(0)) / 1000,
        up_to=up_to,
        audio_input=_at(price.input_audio_mtok, up_to),
    )


def _at(price: Decimal | TieredPrices | None, prompt: int | None) -> Decimal | None:
    """The price at a length of prompt; None: longer than any."""
    if not isinstance(price, TieredPrices):
        return price
    reached = [tier.price for tier in price.tiers if prompt is None or prompt > tier.start]
    return reached[-1] if reached else price.base


def moments(entry: Entry, now: datetime) -> list[datetime]:
    """`now`, and what of the coming RUN_LASTS has another price: hours of the day, dates on which one begins."""
    cases = [case.constraint for case in entry.model.prices] if isinstance(entry.model.prices, list) else []
    cases += [variant.constraint for variant in entry.model.price_variants or ()]
    hours: set[time] = {now.timetz()}
    days: set[date] = {now.date()}
    for constraint in cases:
        if isinstance(constraint, TimeOfDateConstraint):
            hours |= {constraint.start_time, constraint.end_time}
        elif isinstance(constraint, StartDateConstraint) and now.date() < constraint.start_date:
            days |= {constraint.start_date} if constraint.start_date <= now.date() + RUN_LASTS else set()
    return [datetime.combine(day, hour, hour.tzinfo or UTC) for day in sorted(days) for hour in hours]


def source_of(entry: Entry, now: datetime) -> str:
    """In words: which table, of when, and which of its entries."""
    provider, model = entry
    table = f"genai-prices {genai_prices.__version__} of {table_date(now.date())}"
    return f"{table}: {provider.id}/{model.id}{_since(model, model.get_prices(now))}"


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
