"""Chat's params in the words of OpenAI's /v1/responses.

Source: the types of openai-python 3.57 (`response_create_params`) and OpenAI's guide on moving to that API, as of
November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchroute.job.params.words import (
    Fields,
    Untranslatable,
    Wording,
    ignored,
    inner_table,
    named,
    only,
    refused,
    within,
)


def _format(value: Any) -> Fields:
    """{"type": "json_schema", "json_schema": {"name", "schema", ...}} loses its inner table."""
    if not isinstance(value, Mapping):
        raise Untranslatable("takes a table here")
    flat = {**value, **(inner_table(value, "json_schema") or {})}
    flat.pop("json_schema", None)
    return {"text": {"format": flat}}


def _tools(value: Any) -> Fields:
    if not isinstance(value, list):
        raise Untranslatable("takes a list of tools")
    return {"tools": [_tool(tool) for tool in value]}


def _tool(tool: Any) -> Any:
    """A function that does not say `strict` is strict here, and is not in chat."""
    if (function := inner_table(tool, "function")) is not None:
        return {
            "type": "function",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
            **function,
        }
    if (custom := inner_table(tool, "custom")) is not None:
        grammar = inner_table(custom.get("format"), "grammar")
        return {"type": "custom", **custom, **({"format": {"type": "grammar", **grammar}} if grammar else {})}
    return tool


def _tool_choice(value: Any) -> Fields:
    """A word, one tool by its name, or several that are allowed."""
    allowed = inner_table(value, "allowed_tools")
    if allowed is not None and isinstance(tools := allowed.get("tools"), list):
        return {"tool_choice": {**allowed, "type": "allowed_tools", "tools": [_choice(tool) for tool in tools]}}
    return {"tool_choice": _choice(value)}


def _choice(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, Mapping) else None
    inner = inner_table(value, kind) if isinstance(kind, str) else None
    return value if inner is None else {"type": kind, **inner}


RESPONSES = Wording(
    rules={
        "max_tokens": named("max_output_tokens"),
        "max_completion_tokens": named("max_output_tokens"),
        "reasoning_effort": within("reasoning", "effort"),
        "verbosity": within("text", "verbosity"),
        "response_format": _format,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "functions": refused("has `tools` in its place"),
        "function_call": refused("has `tool_choice` in its place"),
        "n": only(1),
        "stop": only([], ""),
        "seed": refused(),
        "logprobs": only(
            False, why='has include = ["message.output_text.logprobs"] in its place, for the raw body'
        ),
        "frequency_penalty": only(0),
        "presence_penalty": only(0),
        "logit_bias": only({}),
        "modalities": only(["text"]),
        "audio": refused(),
        "web_search_options": refused('has a tool of the type "web_search" in its place'),
        "prediction": ignored,
        "stream_options": ignored,
        "input": refused("takes it from the messages; remove it"),
        "background": only(False, why="would answer before there is an answer; remove it"),
    },
    tables=frozenset({"text", "reasoning"}),
    defaults={"store": False, "stream": False},
)
