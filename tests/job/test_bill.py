"""What an answer costs, by its tier of service, its cache and who gave it; and that no attempt can cost more."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.job.endpoint import EndpointSpec, Price
from batchroute.job.price_table import Entry, moments, schedules
from batchroute.job.prices import Pricing, attempt_usd, find_pricing, is_loopback, open_target, price_words
from batchroute.job.rates import Rates, highest, rates_for
from batchroute.job.tiers import AUTO, STANDARD, asked_tier, may_answer, tier_of
from batchroute.types import Usage

OPENAI = "api.openai.com"
ANTHROPIC = "api.anthropic.com"
NOW = datetime.now(UTC)


def price(**more: Any) -> Price:
    return Price.model_validate({"input": 2, "cached_input": 0.5, "output": 10, **more})


def pricing(
    model: str, given: Price | None = None, host: str | None = None, asked: str = AUTO, api: str = "chat"
) -> Pricing:
    found = find_pricing(model, given, host, api=api, asked=asked)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        # all of the prompt written: 3,000 * 2.5 + 150 * 10
        ("gpt-6.1-sol", Usage(3000, None, 150, cache_write_tokens=3000), "0.0090"),
        ("gpt-6.1-sol", Usage(3000, None, 150), "0.0075"),
        # 1,000 read at 0.1, 1,500 written at 2.5, 500 at 2
        ("gpt-6.1-sol", Usage(3000, 1000, 150, cache_write_tokens=1500), "0.00635"),
        # a model that does not bill what it writes
        ("gpt-5", Usage(3000, None, 150, cache_write_tokens=3000), "0.00525"),
        # for five minutes at 1.25 times 4, and for an hour at twice it
        ("claude-opus-5-5", Usage(3000, None, 150, cache_write_tokens=3000), "0.018"),
        ("claude-opus-5-5", Usage(3000, None, 150, cache_write_tokens=3000, cache_write_1h_tokens=3000), "0.027"),
        ("claude-opus-5-5", Usage(3000, None, 150, cache_write_tokens=3000, cache_write_1h_tokens=1000), "0.021"),
        # counted beside the prompt, which they are a part of: what costs more is believed
        ("gpt-6.1-sol", Usage(1000, 1000, 0, cache_write_tokens=4000), "0.0025"),
        ("gpt-6.1-sol", Usage(1000, 800, 0, cache_write_tokens=400), "0.00106"),
        # long prompts write at their own price: 300,000 * 5
        ("gpt-6.1-sol", Usage(300_000, None, 0, cache_write_tokens=300_000), "1.5"),
    ],
)
def test_cache_writes_cost_their_own_rate(model: str, usage: Usage, usd: str) -> None:
    assert pricing(model).cost(usage) == Decimal(usd)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        # 200 of text at 0.3, 800 of sound at 1
        ("gemini-2.5-flash", Usage(1000, None, 0, audio_tokens=800), "0.00086"),
        # what is read from a cache is not counted twice
        ("gemini-2.5-flash", Usage(1000, 500, 0, audio_tokens=800), "0.000515"),
        ("gpt-5", Usage(1000, None, 0, audio_tokens=800), "0.00125"),
        ("gpt-5", Usage(1000, None, 0, audio_tokens=8000), "0.00125"),
    ],
)
def test_sound_costs_its_own_rate(model: str, usage: Usage, usd: str) -> None:
    found = pricing(model)
    assert found.cost(usage) == Decimal(usd)
    assert found.most_usd(0, media_tokens=1000) >= Decimal(usd)


@pytest.mark.parametrize(
    ("model", "api", "given", "write", "write_1h"),
    [
        (
            "gpt-6.1-sol",
            "chat",
            price(),
            "2.5",
            "2.5",
        ),  # as the table has it for the model, of the job's own price
        ("claude-opus-5-5", "chat", price(), "2.5", "4"),
        ("gpt-5", "chat", price(), "2", "2"),
        ("our-own", "chat", price(), "2", "2"),
        ("our-own", "anthropic", price(), "2.5", "4"),
        ("gpt-6.1-sol", "chat", price(cache_write=3), "3", "3"),
        ("claude-opus-5-5", "anthropic", price(cache_write=0), "0", "0"),
    ],
)
def test_the_jobs_price_of_a_cache_write_is_its_own_or_the_known_factor(
    model: str, api: str, given: Price, write: str, write_1h: str
) -> None:
    rates = pricing(model, given, "127.0.0.1", api=api).rates
    assert (rates.cache_write, rates.cache_write_1h) == (Decimal(write), Decimal(write_1h))


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("default", STANDARD),
        ("on_demand", STANDARD),
        ("standard_only", STANDARD),
        ("Standard", STANDARD),
        ("FLEX", "flex"),
        ("SERVICE_TIER_PRIORITY", "priority"),
        (" flex ", "flex"),
        ("auto", AUTO),
        ("performance", "performance"),
        (None, None),
        ("", None),
        (7, None),
    ],
)
def test_tiers_have_several_names(name: Any, tier: str | None) -> None:
    assert tier_of(name) == tier


@pytest.mark.parametrize(
    ("params", "tier"),
    [
        ({}, None),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "Default"}, STANDARD),
        ({"speed": "fast"}, "fast"),
        ({"speed": "standard", "service_tier": "auto"}, AUTO),
    ],
)
def test_a_requests_params_ask_for_a_tier(params: dict[str, Any], tier: str | None) -> None:
    assert asked_tier(params) == tier


@pytest.mark.parametrize(
    ("model", "host", "asked", "answered", "usd"),
    [
        ("gpt-6.1-sol", OPENAI, AUTO, None, "1.2"),
        ("gpt-6.1-sol", OPENAI, AUTO, "default", "1.2"),
        ("gpt-6.1-sol", OPENAI, AUTO, "auto", "1.2"),
        ("gpt-6.1-sol", OPENAI, AUTO, "flex", "0.6"),
        ("gpt-6.1-sol", OPENAI, AUTO, "Priority", "2.4"),
        ("gpt-6.1-sol", OPENAI, "flex", None, "0.6"),  # asked for and not named
        ("gpt-6.1-sol", OPENAI, "flex", "flex", "0.6"),
        ("gpt-6.1-sol", OPENAI, "flex", "default", "1.2"),
        ("gpt-6.1-sol", OPENAI, "priority", "standard", "1.2"),
        ("gpt-6.1-sol", OPENAI, AUTO, "scale", None),  # never the standard price in silence
        ("gpt-6.1-sol", OPENAI, AUTO, "batch", None),
        ("gpt-6-cyber", OPENAI, "flex", None, None),  # the table has no flex price for it
        ("gpt-6-cyber", OPENAI, "flex", "default", "12"),
        ("openai/gpt-oss-120b", "api.groq.com", "flex", "flex", "0.075"),  # Groq's flex costs what on demand does
        ("openai/gpt-oss-120b", "api.groq.com", AUTO, "on_demand", "0.075"),
        ("openai/gpt-oss-120b", "api.groq.com", AUTO, "performance", None),
        ("claude-opus-5-5", ANTHROPIC, AUTO, "standard", "2.4"),
        ("claude-opus-5-5", ANTHROPIC, AUTO, "priority", None),  # of a capacity that is paid for
        ("claude-opus-5-5", ANTHROPIC, "fast", None, "4.8"),
        ("gpt-6.1-sol", "ours.openai.azure.com", AUTO, "flex", None),  # OpenAI's tiers are not Azure's
        ("gpt-6.1-sol", "ours.openai.azure.com", AUTO, "default", "1.2"),
    ],
)
def test_the_tier_that_answered_decides_the_price(
    model: str, host: str, asked: str, answered: str | None, usd: str | None
) -> None:
    assert pricing(model, None, host, asked).cost(_in(answered)) == (None if usd is None else Decimal(usd))


def _in(tier: str | None) -> Usage:
    return Usage(100_000, None, 100_000, service_tier=tier)


@pytest.mark.parametrize(
    ("asked", "answered", "usd"),
    [
        (AUTO, None, "1.2"),
        (AUTO, "priority", "1.2"),  # holds for whatever tier answers
        (AUTO, "flex", "0.6"),  # but the one that has a price of its own
        ("flex", None, "0.6"),
        ("flex", "default", "1.2"),
        ("scale", None, "1.2"),
    ],
)
def test_a_price_in_the_job_holds_for_every_tier_but_those_named_beside_it(
    asked: str, answered: str | None, usd: str
) -> None:
    given = price(tiers={"Flex": {"input": 1, "cached_input": 0.25, "output": 5}})
    assert pricing("our-own", given, None, asked).cost(_in(answered)) == Decimal(usd)


def test_every_tier_of_the_table_is_what_the_library_bills() -> None:
    """Also of long prompts; the lines are taken from the table's entries, so the two must not drift apart."""
    compared = 0
    for provider in providers:
        for model in provider.models:
            for tier, schedule in schedules(Entry(provider, model), None, NOW).items():
                if provider.id == "groq" and tier == "flex":
                    continue
                for prompt in (900, 200_000, 199_999, 272_001, 1_000_000):
                    usage = genai_prices.Usage(
                        input_tokens=prompt, cache_read_tokens=300, cache_write_tokens=200, output_tokens=70
                    )
                    theirs = model.calc_price(
                        usage, provider, genai_request_timestamp=NOW, price_context={"service_tier": tier}
                    )
                    ours = rates_for(schedule, prompt).usd(prompt, 300, 70, written=200)
                    assert ours == theirs.total_price, (model.id, tier, prompt)
                    compared += 1
    assert compared > 3000


DEEPSEEK = next(provider for provider in providers if provider.id == "deepseek")
HOURLY = Entry(DEEPSEEK, next(model for model in DEEPSEEK.models if model.id == "deepseek-flash"))


def test_a_price_changes_with_the_hour() -> None:
    prices = {schedules(HOURLY, None, moment)[STANDARD] for moment in moments(HOURLY, NOW)}
    assert len(prices) > 1
    assert pricing("deepseek/deepseek-flash").varies


MODELS: list[tuple[str, Price | None, str | None]] = [
    ("gpt-6.1-sol", None, OPENAI),
    ("gpt-4o", None, OPENAI),
    ("claude-opus-5-5", None, ANTHROPIC),
    ("claude-haiku-5-5", None, ANTHROPIC),
    ("gemini-2.5-pro", None, None),
    ("openai/gpt-oss-120b", None, "api.groq.com"),
    ("deepseek/deepseek-flash", None, None),
    ("our-own", price(cache_write=3, tiers={"priority": {"input": 5, "output": 3}}), "127.0.0.1"),
]


@settings(deadline=None)
@given(
    of=st.sampled_from(MODELS),
    asked=st.sampled_from([AUTO, STANDARD, "flex", "priority", "fast"]),
    size=st.integers(0, 600_000),
    share=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    completion=st.integers(0, 10_000),
    data=st.data(),
)
def test_no_attempt_costs_more_than_what_is_reserved_for_it(
    of: tuple[str, Price | None, str | None],
    asked: str,
    size: int,
    share: tuple[float, float, float, float],
    completion: int,
    data: st.DataObject,
) -> None:
    """Whatever tier may answer, whatever is read from a cache or written to one, and at whatever hour."""
    found = pricing(*of, asked)
    prompt = int(size * share[0])
    cached, written = int(prompt * share[1]), int(prompt * share[2])
    allowed = may_answer(asked)
    answered = data.draw(st.sampled_from(sorted(found.tiers if allowed is None else allowed & found.tiers.keys())))
    usage = Usage(
        prompt,
        cached,
        int(completion * share[3]),
        cache_write_tokens=written,
        cache_write_1h_tokens=written // 2,
        service_tier=answered,
    )
    most = found.most_usd(size, completion)
    cost = found.cost(usage)
    assert cost is not None
    assert cost <= most
    for moment in moments(HOURLY, NOW) if of[0] == "deepseek/deepseek-flash" else ():
        rates = rates_for(schedules(HOURLY, None, moment)[STANDARD], prompt)
        assert rates.usd(prompt, 0, completion) <= most


def test_a_row_that_asks_for_another_tier_reserves_for_that_one() -> None:
    """1,000 bytes and 100 tokens: flex and standard 2.5 and 10, priority twice that."""
    found = pricing("gpt-6.1-sol", None, OPENAI, "flex")
    assert found.most_usd(1000, 100) == Decimal("0.0035")
    assert found.most_usd(1000, 100, asked="default") == Decimal("0.0035")
    assert found.most_usd(1000, 100, asked="priority") == Decimal("0.007")
    assert found.most_usd(1000, 100, asked=AUTO) == Decimal("0.007")
    assert pricing("gpt-6.1-sol", None, OPENAI).most_usd(300_000, 0) == Decimal(3), "long, written, priority"


@given(st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 40))
def test_the_dearest_schedule_is_the_dearest_of_all_up_to_a_length(costs: list[list[int]], prompt: int) -> None:
    each = [
        tuple(
            Rates(*(Decimal(cost),) * 6, up_to=None if place == len(line) - 1 else 10 * (place + 1))
            for place, cost in enumerate(line)
        )
        for line in costs
    ]
    reachable = [rates_for(schedule, length).input for schedule in each for length in range(prompt + 1)]
    assert rates_for(highest(each), prompt).input == max(reachable)


@pytest.mark.parametrize(
    ("usage", "known", "usd"),
    [
        (Usage(1000, None, 100, reported_usd=0.0123), True, "0.0123"),
        (Usage(1000, None, 100, reported_usd=0.0123), False, "0.0123"),
        (Usage(reported_usd=0.0123), True, "0.0123"),
        (Usage(1000, None, 100, reported_usd=0.0), True, "0.003"),  # a key of one's own behind a gateway
        (Usage(1000, None, 100, reported_usd=0.0), False, None),
        (Usage(1000, None, 100), False, None),
    ],
)
def test_the_providers_own_word_on_the_cost_goes_first(usage: Usage, *, known: bool, usd: str | None) -> None:
    found = pricing("our-own", price()) if known else None
    assert attempt_usd(usage, found) == (None if usd is None else Decimal(usd))


@pytest.mark.parametrize(
    ("asked", "given", "host", "served", "usd"),
    [
        ("gpt-6-luna", None, OPENAI, "gpt-6-luna-2026-09-01", "0.06"),
        ("gpt-6-luna", None, OPENAI, "gpt-6.1-sol", "1.2"),  # as itself
        ("gpt-6.1-sol", None, OPENAI, "gpt-6-luna", "1.2"),  # only where it is the more expensive
        ("gpt-6-luna", None, OPENAI, "unheard-of", "0.06"),
        ("gpt-6-luna", price(input=0.1, output=0.5), "127.0.0.1", "gpt-6.1-sol", "1.2"),
        ("our-deployment", price(input=0.1, output=0.5), "127.0.0.1", "gpt-6.1-sol", "0.06"),  # a name for it
    ],
)
def test_a_more_expensive_model_that_answered_is_priced_as_itself(
    asked: str, given: Price | None, host: str, served: str, usd: str
) -> None:
    usage = Usage(100_000, None, 100_000, served_model=served)
    assert pricing(asked, given, host).cost(usage) == Decimal(usd)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 - a name, nothing is bound to it
        ("::", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("api.openai.com", False),
        (None, False),
    ],
)
def test_what_runs_on_this_machine(host: str | None, *, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("where", "known"),
    [
        ({"base_url": "http://127.0.0.1:8000/v1"}, False),
        ({"base_url": "http://[::1]:8000/v1"}, False),
        ({"base_url": "http://localhost/v1", "price": {"input": 0, "output": 0}}, True),
        ({"base_url": "http://gateway.internal/v1"}, True),
        ({"simulate": {}}, True),
    ],
)
def test_a_server_on_this_machine_takes_no_price_by_its_models_name(where: dict[str, Any], *, known: bool) -> None:
    target = open_target("weak", EndpointSpec.model_validate({"model": "gpt-6-luna", **where}))
    assert (target.pricing is not None) == known


@pytest.mark.parametrize(
    ("model", "params", "words"),
    [
        (
            "gpt-6.1-sol",
            {},
            "in the standard tier (flex, priority, fast: their own price): 2 input, 0.1 cached, 2.5",
        ),
        (
            "gpt-6.1-sol",
            {"service_tier": "flex"},
            "in the tier flex: 1 input, 0.05 cached, 1.25 written to a cache",
        ),
        ("gpt-6-cyber", {"service_tier": "flex"}, "price of the tier flex unknown"),
        ("nobody-knows", {}, "price unknown"),
    ],
)
def test_the_price_of_the_tier_asked_for_is_said(model: str, params: dict[str, Any], words: str) -> None:
    spec = EndpointSpec.model_validate({"model": model, "base_url": f"https://{OPENAI}/v1", "params": params})
    assert words in price_words(open_target("weak", spec).pricing)
