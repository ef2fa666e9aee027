"""What an answer says it was billed, in the words of whichever provider sent it -> `Usage`, as OpenAI counts.

Plain functions on parsed JSON; knows no prices. What is no number of tokens is unknown, which is never 0.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import msgspec

from batchroute.types import Usage

MOST_TOKENS = 10**9  # of one answer; a larger count is none: whoever sends it would spoil every sum it goes into
MOST_USD = 10_000.0  # the same for what one answer cost
_USD = re.compile(r"[0-9]{1,5}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?")  # many languages write 0.00009 as 9e-05

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None


class _Lifetimes(msgspec.Struct, frozen=True, gc=False):
    ephemeral_5m_input_tokens: _Count = None
    ephemeral_1h_input_tokens: _Count = None


class _Details(msgspec.Struct, frozen=True, gc=False):
    """Of the prompt's or the completion's tokens."""

    cached_tokens: _Count = None
    cache_write_tokens: _Count = None
    audio_tokens: _Count = None
    cache_creation_tokens: _Count = None  # LiteLLM
    cache_creation_token_details: _Lifetimes | None = None  # LiteLLM
    reasoning_tokens: _Count = None
    thinking_tokens: _Count = None  # Anthropic


class _Reported(msgspec.Struct, frozen=True, gc=False):
    """A `usage`: the same counts have several names."""

    prompt_tokens: _Count = None
    prompt_tokens_details: _Details | None = None
    completion_tokens: _Count = None
    completion_tokens_details: _Details | None = None
    total_tokens: _Count = None
    # OpenAI's responses, and Anthropic
    input_tokens: _Count = None
    input_tokens_details: _Details | None = None
    output_tokens: _Count = None
    output_tokens_details: _Details | None = None
    # Anthropic
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_creation: _Lifetimes | None = None
    prompt_cache_hit_tokens: _Count = None  # DeepSeek
    cached_tokens: _Count = None  # Moonshot
    reasoning_tokens: _Count = None  # Perplexity


_NO_DETAILS = _Details()


def read_usage(answer: dict[str, Any]) -> Usage | None:
    """What an answer, or the last chunk of a stream, says it was billed; None where that is nothing.

    A prompt of 0 tokens cannot be: whoever says so does not count them.
    """
    # Three ways to count the same: 1,000 tokens in, 900 of them from a cache, 400 of reasoning, 2 of text out.
    #   OpenAI:    prompt 1,000, cached 900, completion 402, reasoning 400, total 1,402    as it stands
    #   xAI:       prompt 1,000, cached 900, completion 2, reasoning 400, total 1,402      output = total - prompt
    #   Anthropic: input 100, cache read 900, output 402                                   prompt = input + cache
    usage = answer.get("usage")
    if not isinstance(usage, dict) and (usage := _elsewhere(answer)) is None:
        return None
    told = _reported(usage)
    details = told.prompt_tokens_details or told.input_tokens_details or _NO_DETAILS
    output_details = told.completion_tokens_details or told.output_tokens_details or _NO_DETAILS
    prompt = told.prompt_tokens or told.input_tokens
    completion = told.completion_tokens or _first_known(told.completion_tokens, told.output_tokens)
    cached = details.cached_tokens or _first_known(
        details.cached_tokens, told.prompt_cache_hit_tokens, told.cached_tokens, told.cache_read_input_tokens
    )
    written, written_1h = details.cache_write_tokens, None
    if (
        details.cache_creation_tokens is not None
        or told.cache_creation_input_tokens is not None
        or told.cache_creation
    ):
        written, written_1h = _by_lifetime(told, details)
    if told.cache_read_input_tokens is not None or told.cache_creation_input_tokens is not None:
        prompt = _with_cache(told, prompt, completion or 0, (cached or 0) + (written or 0))
    if prompt and told.total_tokens and told.total_tokens > prompt + (completion or 0):
        completion = told.total_tokens - prompt
    if completion == 0 and not prompt:
        completion = None
    reported_usd = _reported_usd(usage) if "cost" in usage else None
    if not prompt and not completion and reported_usd is None:
        return None
    return Usage(
        prompt or None,
        cached,
        completion,
        output_details.reasoning_tokens
        or _first_known(output_details.reasoning_tokens, output_details.thinking_tokens, told.reasoning_tokens),
        written,
        _tier(answer, usage),
        _word(answer.get("model")),
        reported_usd,
        written_1h,
        details.audio_tokens,
    )


def _tier(answer: dict[str, Any], usage: dict[str, Any]) -> str | None:
    """The tier of service; of Anthropic's fast mode its `speed`, beside which the tier is called standard."""
    if usage.get("speed") == "fast":
        return "fast"
    return _word(answer.get("service_tier") or usage.get("service_tier"))


def _elsewhere(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The streams of Groq and Moonshot have it in places of their own."""
    choices = answer.get("choices")
    places = (answer.get("x_groq"), choices[0] if isinstance(choices, list) and choices else None)
    found = (place.get("usage") for place in places if isinstance(place, dict))
    return next((usage for usage in found if isinstance(usage, dict)), None)


def _reported(usage: dict[str, Any]) -> _Reported:
    """Counts are whole numbers; where one is not, the others still count."""
    try:
        return msgspec.convert(usage, _Reported)
    except msgspec.ValidationError:
        return msgspec.convert(_whole(usage), _Reported)


def _whole(usage: dict[str, Any]) -> dict[str, Any]:
    """Without what is no number of tokens. Some write it as 12.0 or "12"."""
    counts: dict[str, Any] = {}
    for name, value in usage.items():
        if isinstance(value, dict):
            counts[name] = _whole(value) if name in _NESTED else None
        elif name not in _NESTED:
            counts[name] = _count(value)
    return counts


_NESTED = frozenset(
    {
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
        "cache_creation",
        "cache_creation_token_details",
    }
)


def _count(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _first_known(*counts: int | None) -> int | None:
    """The first that is no zero, as gateways fill in names they do not use; else 0 where one says so."""
    for count in counts:
        if count:
            return count
    return 0 if 0 in counts else None


def _by_lifetime(told: _Reported, details: _Details) -> tuple[int | None, int | None]:
    """Tokens written to a cache, and those of them that it keeps for an hour rather than for five minutes."""
    written = _first_known(
        details.cache_write_tokens, details.cache_creation_tokens, told.cache_creation_input_tokens
    )
    lifetimes = told.cache_creation or details.cache_creation_token_details
    if lifetimes is None:
        return written, None
    short, long = lifetimes.ephemeral_5m_input_tokens, lifetimes.ephemeral_1h_input_tokens
    return _first_known(written, (short or 0) + (long or 0)), long


def _with_cache(told: _Reported, prompt: int | None, completion: int, cache: int) -> int | None:
    """The prompt's tokens with those of a cache, which have Anthropic's names here.

    Anthropic counts them beside its `input_tokens`; gateways that speak OpenAI's API with these names do either.
    They are beside where the total says so (it may have reasoning on top), or where the prompt is too short to
    hold them; where there is no total, also where the prompt has Anthropic's name.
    """
    if prompt is None:
        return None
    reasoning = told.completion_tokens_details.reasoning_tokens if told.completion_tokens_details else None
    if told.total_tokens:
        is_beside = told.total_tokens - prompt - completion in {cache, cache + (reasoning or 0)}
    else:
        is_beside = told.prompt_tokens is None
    return prompt + cache if is_beside or cache > prompt else prompt


def _reported_usd(usage: dict[str, Any]) -> float | None:
    """The provider's own word on the cost; 0 beside tokens is none.

    With the user's own key at a provider behind it, OpenRouter's `cost` is the fee alone, and what that provider
    bills stands beside it.
    """
    cost = _usd(usage["cost"])
    if usage.get("is_byok") is not True:
        return cost or None
    details = usage.get("cost_details")
    upstream = _usd(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return upstream + (cost or 0.0) if upstream else None


def _usd(value: Any) -> float | None:
    if isinstance(value, str) and _USD.fullmatch(value):
        value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= MOST_USD and math.isfinite(value) else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
