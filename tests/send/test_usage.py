"""What providers bill, in the words each of them has for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.usage import MOST_TOKENS, MOST_USD, read_usage
from batchroute.types import TOKEN_COUNTS, Usage


def usage(prompt: Any = 100, completion: Any = 50, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def of_prompt(**counts: Any) -> dict[str, Any]:
    return {"prompt_tokens_details": counts}


def of_output(**counts: Any) -> dict[str, Any]:
    return {"completion_tokens_details": counts}


def anthropic(**counts: Any) -> dict[str, Any]:
    return {"input_tokens": 100, "output_tokens": 50, **counts}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # a row for each spelling: (prompt, cached, completion, reasoning, written)
        (usage(), (100, None, 50, None, None)),
        (usage(100.0, 50.0), (100, None, 50, None, None)),
        (usage("100", "50"), (100, None, 50, None, None)),
        ({"input_tokens": 100, "output_tokens": 50}, (100, None, 50, None, None)),
        (usage(0, 0, input_tokens=100, output_tokens=50), (100, None, 50, None, None)),
        (usage(**of_prompt(cached_tokens=40)), (100, 40, 50, None, None)),
        (usage(**of_prompt(cached_tokens=0)), (100, 0, 50, None, None)),
        (usage(prompt_cache_hit_tokens=40, prompt_cache_miss_tokens=60), (100, 40, 50, None, None)),
        (usage(cached_tokens=40), (100, 40, 50, None, None)),
        (usage(cache_read_input_tokens=40, total_tokens=150), (100, 40, 50, None, None)),
        (usage(prompt_cache_hit_tokens=40, **of_prompt(cached_tokens=30)), (100, 30, 50, None, None)),
        (usage(prompt_cache_hit_tokens=40, **of_prompt(cached_tokens=0)), (100, 40, 50, None, None)),
        (usage(prompt_cache_hit_tokens=40, **of_prompt(cached_tokens=None)), (100, 40, 50, None, None)),
        (usage(prompt_tokens_details=None, cached_tokens="40"), (100, 40, 50, None, None)),
        (usage(3000, 150, **of_prompt(cache_write_tokens=3000)), (3000, None, 150, None, 3000)),
        (usage(**of_prompt(cache_creation_tokens=7)), (100, None, 50, None, 7)),
        (usage(**of_output(reasoning_tokens=30)), (100, None, 50, 30, None)),
        (usage(reasoning_tokens=30), (100, None, 50, 30, None)),
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 30},
                "total_tokens": 150,
            },
            (100, 40, 50, 30, None),
        ),
        # reasoning beside the completion: output = total - prompt
        (usage(10, 2, total_tokens=412, **of_output(reasoning_tokens=400)), (10, None, 402, 400, None)),
        (usage(10, 2, total_tokens=412), (10, None, 402, None, None)),
        (usage(10, 402, total_tokens=412, **of_output(reasoning_tokens=400)), (10, None, 402, 400, None)),
        (usage(10, 402, **of_output(reasoning_tokens=400)), (10, None, 402, 400, None)),
        (usage(10, 2, **of_output(reasoning_tokens=400)), (10, None, 2, 400, None)),
        (usage(10, 2, total_tokens=7), (10, None, 2, None, None)),
        (usage(10, 0, total_tokens=410), (10, None, 400, None, None)),
        ({"prompt_tokens": 100, "total_tokens": 150}, (100, None, 50, None, None)),
        ({"prompt_tokens": 100, "total_tokens": 100}, (100, None, None, None, None)),
        # Anthropic's names: its input is without the cache; a gateway's prompt may be with it
        (anthropic(cache_read_input_tokens=900), (1000, 900, 50, None, None)),
        (anthropic(cache_read_input_tokens=30), (130, 30, 50, None, None)),
        (anthropic(cache_creation_input_tokens=200, cache_read_input_tokens=0), (300, 0, 50, None, 200)),
        ({"input_tokens": 0, "output_tokens": 5, "cache_read_input_tokens": 900}, (900, 900, 5, None, None)),
        (usage(1000, cache_read_input_tokens=900), (1000, 900, 50, None, None)),
        (usage(cache_read_input_tokens=900), (1000, 900, 50, None, None)),
        (usage(cache_read_input_tokens=900, total_tokens=1050), (1000, 900, 50, None, None)),
        (usage(cache_read_input_tokens=30, total_tokens=180), (130, 30, 50, None, None)),
        (
            usage(10, 2, cache_read_input_tokens=5, total_tokens=417, **of_output(reasoning_tokens=400)),
            (15, 5, 402, 400, None),
        ),
        (
            usage(10, 2, cache_read_input_tokens=5, total_tokens=412, **of_output(reasoning_tokens=400)),
            (10, 5, 402, 400, None),
        ),
    ],
)
def test_every_spelling_counts(told: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    got = read_usage({"usage": told})
    assert got is not None
    assert msgspec.structs.astuple(got)[: len(TOKEN_COUNTS)] == expected


@pytest.mark.parametrize(
    ("lifetimes", "written", "written_1h"),
    [
        ({}, 30, None),
        ({"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, 30, 20),
        ({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 0}, 30, 0),
        ({"ephemeral_1h_input_tokens": 30}, 30, 30),
    ],
)
def test_cache_writes_by_lifetime(lifetimes: dict[str, int], written: int, written_1h: int | None) -> None:
    theirs = anthropic(cache_creation_input_tokens=30, cache_creation=lifetimes)
    translated = usage(130, **of_prompt(cache_creation_tokens=30, cache_creation_token_details=lifetimes))
    for told in (theirs, translated):
        got = read_usage({"usage": told}) or Usage()
        assert (got.prompt_tokens, got.cache_write_tokens, got.cache_write_1h_tokens) == (130, written, written_1h)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"x_groq": {"id": "r", "usage": usage()}}, Usage(100, None, 50)),
        ({"usage": None, "x_groq": {"usage": usage()}}, Usage(100, None, 50)),
        ({"choices": [{"usage": usage()}]}, Usage(100, None, 50)),
        ({"usage": usage(), "x_groq": {"usage": usage(1, 1)}}, Usage(100, None, 50)),
        ({"usage": "lots", "choices": ["x"], "x_groq": 1}, None),
    ],
)
def test_usage_stands_in_several_places(answer: dict[str, Any], expected: Usage | None) -> None:
    assert read_usage(answer) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (usage(0, 0, total_tokens=0), None),
        (usage(0, 5), Usage(None, None, 5)),
        (usage(0, 5, total_tokens=105), Usage(None, None, 5)),
        (usage(100, 0), Usage(100, None, 0)),
        (usage(None, None), None),
        (usage(-1, True), None),
        (usage("many", 3), Usage(None, None, 3)),
        (usage("9" * 5000, 3), Usage(None, None, 3)),
        (usage("\u0661", 3), Usage(None, None, 3)),
        (usage(100.5, 3), Usage(None, None, 3)),
        (usage(float("inf"), 3), Usage(None, None, 3)),
        (usage(10**30, 3), Usage(None, None, 3)),
        (usage(100, 3, total_tokens=10**30), Usage(100, None, 3)),
        (usage([1], {"a": 1}), None),
        (usage(1, None, prompt_tokens_details=None), Usage(1)),
        ({}, None),
        (None, None),
        ("lots", None),
    ],
)
def test_what_is_unknown_is_never_zero(told: Any, expected: Usage | None) -> None:
    assert read_usage({"usage": told}) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, None),
        ({"cost": 0.0009}, 0.0009),
        ({"cost": 1}, 1.0),
        ({"cost": "0.0009"}, 0.0009),
        ({"cost": "9" * 5000}, None),
        ({"cost": "9e-05"}, 0.00009),
        ({"cost": "1.25E-4"}, 0.000125),
        ({"cost": "1e+300"}, None),
        ({"cost": "1e999"}, None),
        ({"cost": "nan"}, None),
        ({"cost": 0}, None),
        ({"cost": 0.0}, None),
        ({"cost": None}, None),
        ({"cost": True}, None),
        ({"cost": -1.0}, None),
        ({"cost": "free"}, None),
        ({"cost": {"total_cost": 1.0}}, None),
        ({"cost": float("nan")}, None),
        ({"cost": 1e300}, None),
        ({"cost": 0.0009, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0009}}, 0.0009),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1.05),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1.0),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.05, "is_byok": True}, None),
    ],
)
def test_the_providers_own_word_on_the_cost(told: dict[str, Any], expected: float | None) -> None:
    assert (read_usage({"usage": usage(**told)}) or Usage()).reported_usd == expected


@pytest.mark.parametrize("details", [{"audio_tokens": 80}, {"audio_tokens": 80, "text_tokens": 20}])
def test_the_sound_in_a_prompt_is_counted(details: dict[str, int]) -> None:
    found = read_usage({"usage": usage(**of_prompt(**details))})
    assert found is not None
    assert (found.prompt_tokens, found.audio_tokens) == (100, 80)


def test_a_cost_without_tokens_counts() -> None:
    assert read_usage({"usage": {"cost": 0.25}}) == Usage(reported_usd=0.25)


@pytest.mark.parametrize(
    ("answer", "tier", "model"),
    [
        ({"usage": usage(), "service_tier": "flex", "model": "m-1"}, "flex", "m-1"),
        ({"usage": usage(service_tier="batch")}, "batch", None),
        ({"usage": usage(service_tier="standard", speed="fast")}, "fast", None),
        ({"usage": usage(service_tier="standard", speed="standard")}, "standard", None),
        ({"usage": usage(), "service_tier": None, "model": ""}, None, None),
        ({"usage": usage(), "service_tier": 3, "model": ["m"]}, None, None),
    ],
)
def test_what_decides_the_price_is_read(answer: dict[str, Any], tier: str | None, model: str | None) -> None:
    got = read_usage(answer) or Usage()
    assert (got.service_tier, got.served_model) == (tier, model)


_NAMES = [
    *("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens", "cost", "is_byok"),
    *("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    *("prompt_tokens_details", "completion_tokens_details", "cache_creation", "cache_write_tokens"),
    *("reasoning_tokens", "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens", "cost_details"),
]
_ODD = (
    st.none() | st.booleans() | st.integers() | st.integers(0, 2 * MOST_TOKENS) | st.floats() | st.text(max_size=4)
)
_TOLD = st.dictionaries(
    st.sampled_from(_NAMES), _ODD | st.dictionaries(st.sampled_from(_NAMES), _ODD, max_size=4) | st.lists(_ODD)
)


@settings(max_examples=400)
@given(told=_TOLD)
def test_no_usage_makes_a_count_that_spoils_a_sum(told: dict[str, Any]) -> None:
    got = read_usage({"usage": told})
    if got is None:
        return
    counts = [getattr(got, name) for name in TOKEN_COUNTS]
    assert all(0 <= count <= 4 * MOST_TOKENS for count in counts if count is not None)
    assert got.prompt_tokens != 0
    assert got.reported_usd is None or 0 < got.reported_usd <= 2 * MOST_USD


@settings(max_examples=200)
@given(
    prompt=st.integers(1, 5000),
    cached=st.integers(0, 5000),
    written=st.integers(0, 5000),
    text=st.integers(1, 5000),
    reasoning=st.integers(0, 5000),
)
def test_the_same_bill_in_three_ways_of_counting(
    prompt: int, cached: int, written: int, text: int, reasoning: int
) -> None:
    whole, output = prompt + cached + written, text + reasoning
    details = {"prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written}}
    reasoned = of_output(reasoning_tokens=reasoning)
    for told in (
        {**usage(whole, output, total_tokens=whole + output), **details, **reasoned},
        {**usage(whole, text, total_tokens=whole + output), **details, **reasoned},
        {
            "input_tokens": prompt,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
            "output_tokens": output,
        },
    ):
        got = read_usage({"usage": told}) or Usage()
        assert (got.prompt_tokens, got.cached_tokens, got.completion_tokens, got.cache_write_tokens) == (
            whole,
            cached,
            output,
            written,
        )
