"""Chat's params in the words of Anthropic's /v1/messages.

Source: the types of anthropic-python 2.14 (`message_create_params`) and Anthropic's documentation of the API, both
as of November 2026.
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
    one_of,
    only,
    refused,
)

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_TIERS = {
    "auto": "auto",
    "default": "standard_only",
    "standard": "standard_only",
    "standard_only": "standard_only",
}


def _stop(value: Any) -> Fields:
    sequences = [value] if isinstance(value, str) else value
    if isinstance(sequences, list) and any(isinstance(text, str) and not text.strip() for text in sequences):
        raise Untranslatable("takes no white space alone")
    return {"stop_sequences": sequences}


def _temperature(value: Any) -> Fields:
    if isinstance(value, int | float) and value > 1:
        raise Untranslatable("takes 0 to 1")
    return {"temperature": value}


def _format(value: Any) -> Fields:
    """A schema; that it has a name, and is strict, goes without saying here."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return {}
    given = inner_table(value, "json_schema")
    if kind != "json_schema" or given is None or "schema" not in given:
        raise Untranslatable("takes a json_schema with its schema, or text")
    return {"output_config": {"format": {"type": "json_schema", "schema": given["schema"]}}}


def _tools(value: Any) -> Fields:
    if not isinstance(value, list):
        raise Untranslatable("takes a list of tools")
    return {"tools": [_tool(tool) for tool in value]}


def _tool(tool: Any) -> Any:
    """A tool in the API's own words stays as it is, and so does what stands beside a function: cache_control."""
    if inner_table(tool, "custom") is not None:
        raise Untranslatable("has no custom tools, only functions")
    if (function := inner_table(tool, "function")) is None:
        return tool
    beside = {name: value for name, value in tool.items() if name not in {"type", "function"}}
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    known = {name: function[name] for name in ("name", "description", "strict") if function.get(name) is not None}
    return {**known, "input_schema": schema, **beside}


def _tool_choice(value: Any) -> Fields:
    if isinstance(value, str) and value in _CHOICES:
        return {"tool_choice": {"type": _CHOICES[value]}}
    if (function := inner_table(value, "function")) is not None:
        return {"tool_choice": {"type": "tool", "name": function.get("name")}}
    if isinstance(value, Mapping) and value.get("type") in ("auto", "any", "tool", "none"):
        return {"tool_choice": value}
    raise Untranslatable("takes auto, required, none or one function")


def _metadata(value: Any) -> Fields:
    if not isinstance(value, Mapping) or value.keys() - {"user_id"}:
        raise Untranslatable("takes a user_id here and nothing else")
    return {"metadata": value}


def _user(value: Any) -> Fields:
    return {"metadata": {"user_id": value}}


def _settled(fields: dict[str, Any]) -> dict[str, Any]:
    """Whether calls may be parallel stands in the choice of tools, and counts only where there are any."""
    parallel = fields.pop("parallel_tool_calls", None)
    choice = fields.get("tool_choice") or {"type": "auto"}
    if parallel is False and fields.get("tools") and choice["type"] != "none":
        fields["tool_choice"] = {**choice, "disable_parallel_tool_use": True}
    if "max_tokens" not in fields:
        raise Untranslatable("max_tokens: the anthropic API needs it")
    return fields


ANTHROPIC = Wording(
    rules={
        "max_output_tokens": named("max_tokens"),
        "max_completion_tokens": named("max_tokens"),
        "max_tokens": named("max_tokens"),
        "stop": _stop,
        "temperature": _temperature,
        "reasoning_effort": one_of(
            {
                "none": {"thinking": {"type": "disabled"}},
                **{effort: {"output_config": {"effort": effort}} for effort in _EFFORTS},
            },
            f"takes none, {', '.join(_EFFORTS)}",
        ),
        "response_format": _format,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "user": _user,
        "safety_identifier": _user,
        "metadata": _metadata,
        "service_tier": one_of(
            {name: {"service_tier": tier} for name, tier in _TIERS.items()}, "has only auto and standard_only"
        ),
        "functions": refused("has `tools` in its place"),
        "function_call": refused("has `tool_choice` in its place"),
        "n": only(1),
        "seed": refused(),
        "logprobs": only(False),
        "top_logprobs": only(0),
        "frequency_penalty": only(0),
        "presence_penalty": only(0),
        "logit_bias": only({}),
        "modalities": only(["text"]),
        "audio": refused(),
        "verbosity": refused(),
        "web_search_options": refused("has a web search tool in its place"),
        "moderation": refused(),
        "store": only(False),
        "prediction": ignored,
        "prompt_cache_key": ignored,
        "prompt_cache_options": ignored,
        "prompt_cache_retention": ignored,
        "stream_options": ignored,
    },
    tables=frozenset({"output_config", "metadata"}),
    defaults={"stream": False},
    settle=_settled,
)
