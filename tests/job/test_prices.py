from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.prices import Pricing, find_pricing, table_date
from batchroute.job.spec import Price
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
