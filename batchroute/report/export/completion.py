"""A row's answer as a chat completion: what a client of OpenAI's API reads, whatever API gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.types import TOKEN_COUNTS, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

# What `chat_completion` reads of a row.
COMPLETION_COLUMNS = (
    *("model", "served_model", "response", "reasoning", "refusal", "tool_calls", "finish_reason"),
    *("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens"),
    *("finished_at", "service_tier"),
)
_FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter"})


def chat_completion(row: Mapping[str, Any], answer_id: str, created_s: int) -> dict[str, Any]:
    """The completion that an answered row stands for; a column that an older directory lacks is null."""
    message = {"role": "assistant", "content": row["response"], "refusal": row.get("refusal")}
    if row["reasoning"] is not None:
        message["reasoning_content"] = row["reasoning"]
    if row["tool_calls"] is not None:
        message["tool_calls"] = msgspec.Raw(row["tool_calls"].encode())
    finish = chat_finish(row["finish_reason"], row.get("refusal"))
    head = {"id": answer_id, "object": "chat.completion", "created": created_s}
    tokens = {name: row.get(name) for name in TOKEN_COUNTS}
    return {
        **head,
        "model": row["served_model"] or row["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": chat_usage(Usage(**tokens)),
        "service_tier": row.get("service_tier"),
    }


def chat_finish(reason: str | None, refusal: str | None) -> str:
    """One of chat's reasons: with a refusal that is said the answer is whole, any other reason cut it short."""
    if reason is None or (reason == "refusal" and refusal is not None):
        return "stop"
    if reason == "refusal":
        return "content_filter"
    return reason if reason in _FINISHES else "length"


def chat_usage(usage: Usage | None) -> dict[str, Any] | None:
    """In the words of chat; None where a part of it is unknown, for which those have no null."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    cached = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    told = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": cached,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cache_write_1h_tokens:  # they cost more, and have no word in chat
        short = (usage.cache_write_tokens or 0) - usage.cache_write_1h_tokens
        long = usage.cache_write_1h_tokens
        told["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    return told
