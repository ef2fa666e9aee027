from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.job.endpoint import EndpointSpec, Price
from batchroute.job.price_table import table_date
from batchroute.job.prices import Pricing, find_pricing, open_embedder_target, open_target
from batchroute.job.spec import EmbedderSpec
from batchroute.types import Usage

if TYPE_CHECKING:
    from types import FrameType

TOKENS = st.integers(min_value=0, max_value=10**9)
USD = st.decimals(min_value=0, max_value=1000, places=4)


def pricing(model: str, price: Price | None = None, host: str | None = None) -> Pricing:
    found = find_pricing(model, price, host)
    assert found is not None
    return found


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt = draw(TOKENS)
    cached = draw(st.none() | st.integers(min_value=0, max_value=prompt))
    return Usage(prompt, cached, draw(TOKENS))


@st.composite
def prices(draw: st.DrawFn) -> Price:
    full = draw(USD)
    return Price(input=full, cached_input=draw(st.none() | st.just(full / 2)), output=draw(USD))


# The providers' price sheets, in USD per million tokens of input, cached input and output, as of 2025-10: OpenAI's
# standard tier, Anthropic's base prices with cache reads, Google's paid tier for text. Prices of models change
# seldom once they are out, so a difference is a change to look into before it is taken over here.
SHEETS = [
    ("gpt-5", "1.25", "0.125", "10"),
    ("gpt-5-mini", "0.25", "0.025", "2"),
    ("gpt-5-nano", "0.05", "0.005", "0.40"),
    ("gpt-4.1", "2", "0.50", "8"),
    ("gpt-4.1-mini", "0.40", "0.10", "1.60"),
    ("gpt-4.1-nano", "0.10", "0.025", "0.40"),
    ("gpt-4o", "2.50", "1.25", "10"),
    ("gpt-4o-mini", "0.15", "0.075", "0.60"),
    ("o1", "15", "7.50", "60"),
    ("o3", "2", "0.50", "8"),
    ("o4-mini", "1.10", "0.275", "4.40"),
    ("claude-opus-4-1", "15", "1.50", "75"),
    ("claude-haiku-4-5", "1", "0.10", "5"),
    ("claude-3-5-haiku-latest", "0.80", "0.08", "4"),
    ("gemini-2.5-flash", "0.30", "0.03", "2.50"),
    ("gemini-2.5-flash-lite", "0.10", "0.01", "0.40"),
    # the same under other names
    ("openai/gpt-4o-mini", "0.15", "0.075", "0.60"),
    ("gpt-5-2025-08-07", "1.25", "0.125", "10"),
]


@pytest.mark.parametrize(("model", "full", "cached", "output"), SHEETS)
def test_the_table_knows_published_prices(model: str, full: str, cached: str, output: str) -> None:
    rates = pricing(model).rates
    assert (rates.input, rates.cached_input, rates.output) == (Decimal(full), Decimal(cached), Decimal(output))
    assert not pricing(model).varies


@pytest.mark.parametrize(("model", "full", "cached", "output"), SHEETS)
def test_usage_as_openai_counts_it_costs_what_the_sheet_says(
    model: str, full: str, cached: str, output: str
) -> None:
    """Of 1,000 prompt tokens 400 were cached; of 300 output tokens 200 were reasoning, which cost as others do."""
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=300, reasoning_tokens=200)
    by_hand = (600 * Decimal(full) + 400 * Decimal(cached) + 300 * Decimal(output)) / 1_000_000
    assert pricing(model).cost(usage) == by_hand


def test_cached_tokens_cost_their_own_price() -> None:
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)
    assert pricing("gpt-5").cost(usage) == Decimal("0.75") + Decimal("0.05") + Decimal(1)


def test_cached_tokens_cost_the_full_price_where_no_other_is_known() -> None:
    price = Price(input=Decimal(2), output=Decimal(3))
    assert pricing("any", price).cost(Usage(1_000_000, 500_000, 0)) == Decimal(2)


def test_the_jobs_own_price_comes_first() -> None:
    found = pricing("gpt-5", Price(input=Decimal(7), output=Decimal(9)))
    assert found.source == "job file"
    assert found.cost(Usage(1_000_000, None, 1_000_000)) == Decimal(16)


def test_a_price_of_the_table_names_the_entry_it_took() -> None:
    assert pricing("gpt-5").source.startswith("genai-prices ")
    assert pricing("gpt-5").source.endswith(": openai/gpt-5")


def test_a_price_of_the_table_is_dated() -> None:
    today = datetime.now(UTC).date()
    assert f" of {table_date(today)}: " in pricing("gpt-5").source
    assert date(2025, 6, 10) <= table_date(today) <= today
    assert table_date(date(2025, 6, 10)) == date(2025, 6, 10), "the day from which o3 costs what it costs"
    assert pricing("o3").source.endswith(", since 2025-06-10")


def test_the_table_is_searched_for_its_date_once_in_a_process() -> None:
    searched = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal searched
        searched += event == "call" and frame.f_code is re.findall.__code__

    pricing("gpt-5")
    sys.setprofile(count)
    try:
        pricing("gpt-5-mini")
        pricing("o3")
    finally:
        sys.setprofile(None)
    assert searched == 0, "every comment of every model"


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(5), Usage(None, None, 5), Usage(-1, None, 5), Usage(1, None, -5)]
)
def test_unknown_tokens_have_no_cost_rather_than_none(usage: Usage) -> None:
    assert pricing("gpt-5").cost(usage) is None
    assert pricing("claude-sonnet-4-5").cost(usage) is None


@pytest.mark.parametrize(
    ("model", "host"),
    [
        ("our-own-model", None),
        ("our-own-model", "127.0.0.1"),
        ("gpt-5", "api.groq.com"),  # another provider's price would be wrong
        ("whisper-large-v3", "api.groq.com"),  # billed by the hour
    ],
)
def test_an_unknown_model_has_no_price(model: str, host: str | None) -> None:
    assert find_pricing(model, None, host) is None


def test_the_host_decides_where_it_is_a_provider_of_the_table() -> None:
    assert ": azure/" in pricing("gpt-4o", host="ours.openai.azure.com").source
    assert ": openrouter/" in pricing("openai/gpt-4o", host="openrouter.ai").source
    assert ": openai/" in pricing("gpt-4o", host="llm-gateway.example.com").source


def test_long_requests_cost_their_tier() -> None:
    found = pricing("gemini-2.5-pro")
    short = found.cost(Usage(100_000, None, 1_000))
    long = found.cost(Usage(300_000, None, 1_000))
    assert found.varies
    assert short == Decimal("0.125") + Decimal("0.01")
    assert long == Decimal("0.75") + Decimal("0.015")


@pytest.mark.parametrize(
    ("model", "up_to"),
    [("gemini-2.5-pro", 200_000), ("openrouter/qwen/qwen3-coder-flash", 32_000), ("gpt-4o", None)],
)
def test_rates_hold_as_far_as_the_lowest_tier(model: str, up_to: int | None) -> None:
    found = pricing(model)
    assert found.rates.up_to == up_to
    for prompt in (0, 1_000, 32_000) if up_to is None else (0, 1_000, up_to):
        usage = Usage(prompt, prompt // 3, 777)
        assert found.cost(usage) == found.rates.usd(prompt, prompt // 3, 777)
    if up_to is not None:
        assert found.cost(Usage(up_to + 1, 0, 0)) > found.rates.usd(up_to + 1, 0, 0)  # type: ignore[operator]


def test_a_fee_per_request_is_part_of_every_cost() -> None:
    found = pricing("perplexity/sonar-pro")
    assert found.rates.fee == Decimal("0.014")
    assert not found.varies
    assert found.cost(Usage(1_000, None, 100)) == Decimal("0.014") + Decimal("0.003") + Decimal("0.0015")
    assert found.rates.usd(2_000, 0, 200, requests=2) == 2 * Decimal("0.0185")


def test_the_rates_of_every_model_are_what_the_table_asks_for_a_short_request() -> None:
    """The line is taken from the table's entry rather than measured, so the two must not drift apart."""
    compared = 0
    for provider in providers:
        for model in provider.models:
            found = find_pricing(f"{provider.id}/{model.id}", None, None)
            if found is None or f": {provider.id}/{model.id}" not in found.source:
                continue
            asked = genai_prices.Usage(input_tokens=900, cache_read_tokens=300, output_tokens=70)
            assert found.rates.usd(900, 300, 70) == model.calc_price(asked, provider).total_price, model.id
            compared += 1
    assert compared > 500


def test_an_embedding_has_no_output_to_pay() -> None:
    found = pricing("text-embedding-3-small", host="api.openai.com")
    assert found.cost(Usage(prompt_tokens=1_000_000)) == Decimal("0.02")
    assert found.cost(Usage(1_000_000, None, 1)) is None


@given(prices(), usages(), usages())
def test_linear_costs_add_up(price: Price, a: Usage, b: Usage) -> None:
    found = pricing("any", price)
    first, second, both = found.cost(a), found.cost(b), found.cost(a + b)
    assert first is not None
    assert second is not None
    assert first + second == both


@given(prices(), TOKENS, TOKENS, TOKENS)
def test_a_cost_is_never_negative_whatever_a_provider_counts(
    price: Price, prompt: int, cached: int, completion: int
) -> None:
    cost = pricing("any", price).cost(Usage(prompt, cached, completion))
    assert cost is not None
    assert cost >= 0


@pytest.mark.parametrize("model", ["gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro"])
@given(usage=usages())
def test_the_tables_costs_are_never_negative(model: str, usage: Usage) -> None:
    cost = pricing(model).cost(usage)
    assert cost is not None
    assert cost >= 0


def test_an_endpoint_is_opened_with_the_price_of_its_host() -> None:
    spec = EndpointSpec(model="gpt-4o", base_url="https://ours.openai.azure.com/v1?api-version=1")
    target = open_target("strong", spec)
    assert (target.name, target.model) == ("strong", "gpt-4o")
    assert target.pricing is not None
    assert ": azure/" in target.pricing.source


@pytest.mark.parametrize(
    ("addresses", "price", "is_known"),
    [
        (["https://api.openai.com/v1", "https://eu.api.openai.com/v1"], None, True),
        (["https://api.groq.com/openai/v1", "https://api.openai.com/v1"], {"input": 1, "output": 1}, True),
        (["http://127.0.0.1:8000/v1", "http://localhost:8001/v1"], None, False),
        (["https://api.openai.com/v1", "http://127.0.0.1:8000/v1"], None, False),
    ],
)
def test_addresses_of_a_side_have_one_price(addresses: list[str], price: Any, is_known: bool) -> None:
    spec = EndpointSpec.model_validate({"model": "gpt-4o", "base_url": addresses, "price": price})
    assert (open_target("weak", spec).pricing is not None) == is_known


def test_addresses_of_different_prices_are_no_side() -> None:
    addresses = ["https://api.groq.com/openai/v1", "https://openrouter.ai/api/v1"]
    spec = EndpointSpec.model_validate({"model": "openai/gpt-oss-120b", "base_url": addresses})
    with pytest.raises(UsageFault, match=r"api\.groq\.com, openrouter\.ai.*set endpoints\.weak\.price"):
        open_target("weak", spec)


def test_an_embeddings_price_is_none_of_an_endpoint_that_answers() -> None:
    """Under a budget a request would else reserve nothing at all."""
    spec = EndpointSpec(model="text-embedding-3-small", base_url="https://api.openai.com/v1")
    assert open_target("weak", spec).pricing is None


@pytest.mark.parametrize(
    ("fields", "input_usd"),
    [
        ({"use": "openai"}, Decimal("0.02")),
        ({"use": "openai", "base_url": "https://gateway.example/v1"}, Decimal("0.02")),
        ({"use": "openai", "base_url": "http://127.0.0.1:9/v1"}, None),
        ({"use": "openai", "price": {"input": 7}}, Decimal(7)),
        ({"use": "openai", "model": "our-own", "base_url": "http://127.0.0.1:9/v1"}, None),
    ],
)
def test_an_embedder_costs_its_own_price_else_what_its_name_costs(
    fields: dict[str, Any], input_usd: Decimal | None
) -> None:
    pricing = open_embedder_target(EmbedderSpec.model_validate(fields)).pricing
    assert (None if pricing is None else pricing.rates.input) == input_usd


@settings(deadline=None)
@given(prices(), st.text(max_size=50), st.integers(0, 10_000), st.integers(0, 10_000))
def test_no_attempt_costs_more_than_what_is_reserved_for_it(
    price: Price, text: str, cached: int, completion: int
) -> None:
    found, size = pricing("any", price), len(text.encode("utf-8", "replace"))
    for tokens in (0, size // 4, size):
        cost = found.cost(Usage(tokens, min(cached, tokens), completion // 2))
        assert cost is not None
        assert cost <= found.most_usd(size, completion)
