"""OpenAI's /v1/chat/completions, which nearly every provider speaks.

Pure functions on values; what an error means stands in `classify`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.rules import longest_output
from batchroute.send.classify import Answer, malformed
from batchroute.send.dialects.content import json_text, plain_text, read_content
from batchroute.send.dialects.dialect import Body, Dialect
from batchroute.send.dialects.fields import string
from batchroute.send.fault import MESSAGE_CHARS, Fault, read_fault, says_something
from batchroute.send.usage import read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.types import Prompt


# How a body ends. Without `stream` it would be the one that older runs have fingerprints of.
NOT_STREAMED = b',"stream":false}'
STREAMED = b',"stream":true}'


class ChatBody:
    """Writes the bodies of one endpoint: its params, the row's over them, the model, the messages, `stream`.

    The same params make the same request, in whatever order and wherever they were written. What is in them is
    sent as it is written: a model answers in the order of a schema. A server's client may ask for a stream;
    everybody else says that none is wanted, as some gateways send one unless they are told.
    """

    def __init__(self, model: str, params: Mapping[str, Any]) -> None:
        self._params = {**params, "model": model}
        self._head, self._sorted_head = _heads(self._params)
        self._longest = longest_output(params)

    def __call__(self, prompt: Prompt) -> Body:
        if not prompt.params:
            return _body(self._head, self._sorted_head, prompt.messages, NOT_STREAMED, self._longest)
        params = {**self._params, **prompt.params}
        end = STREAMED if params.pop("stream", False) is True else NOT_STREAMED
        return _body(*_heads(params), prompt.messages, end, longest_output(params))


def _heads(params: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """All before the messages: as it is sent, and with everything in it in order (b"": that is the same)."""
    as_written = msgspec.json.encode(dict(sorted(params.items())))[:-1] + b',"messages":'
    in_order = msgspec.json.encode(params, order="sorted")[:-1] + b',"messages":'
    return as_written, b"" if in_order == as_written else in_order


def _body(head: bytes, sorted_head: bytes, messages: bytes, end: bytes, longest: int) -> Body:
    identity = sorted_head + messages + end if sorted_head else b""
    return Body(head + messages + end, longest, None, identity)


def read_chat(parsed: dict[str, Any]) -> Answer | Fault:
    """What the object in a 200 means to whoever asked for a chat completion: its first choice, or the error there.

    A choice is an answer, also one that a filter or the length left without a message.
    """
    choices = parsed.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not choice:
        return _filtered(parsed) or malformed("has no choices", parsed)
    if choice.get("error") and says_something(choice["error"]):
        return read_fault({"error": choice["error"]})
    message = choice.get("message")
    if not isinstance(message, dict):
        if isinstance(choice.get("delta"), dict) and not choice.get("finish_reason"):
            return malformed("is a piece of a stream", parsed)
        message = _message_elsewhere(choice)
    completion = _completion(parsed, choice, message)
    if completion.finish_reason == "error" and not completion.response and completion.tool_calls is None:
        return Fault((), "the answer ended with finish_reason error, without text")
    return Answer(verdict="ok", completion=completion)


def _message_elsewhere(choice: dict[str, Any]) -> dict[str, Any]:
    """What a choice says that has no message: a stream in one piece, a text, nothing."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return delta
    return {"content": choice.get("message") or choice.get("text")}


def _filtered(parsed: dict[str, Any]) -> Fault | None:
    """The verdict of a filter that left no choice, as Azure and Gemini tell it."""
    results = parsed.get("prompt_filter_results")
    feedback = parsed.get("promptFeedback") or parsed.get("prompt_feedback")
    blocked = feedback.get("blockReason") or feedback.get("block_reason") if isinstance(feedback, dict) else None
    if not (blocked or _has_filtered(results) or parsed.get("finish_reason") == "content_filter"):
        return None
    return Fault(("content_filter",), f"the prompt was filtered: {json_text(blocked or results)}"[:MESSAGE_CHARS])


def _has_filtered(results: Any) -> bool:
    """Whether anything in here is `filtered`: each kind of content has a verdict of its own."""
    if isinstance(results, dict):
        return results.get("filtered") is True or any(map(_has_filtered, results.values()))
    return isinstance(results, list) and any(map(_has_filtered, results))


def _completion(parsed: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> Completion:
    content = message.get("content")
    is_plain = content is None or isinstance(content, str)
    text, thoughts, declined = (content, None, None) if is_plain else read_content(content)
    # What it thought has a place of its own, under a name that depends on the provider, or stands in the content.
    reasoning = message.get("reasoning_content") or message.get("reasoning") or message.get("reasoning_details")
    calls = message.get("tool_calls")
    if not calls and message.get("function_call"):  # of before there were tools
        calls = [{"type": "function", "function": message["function_call"]}]
    usage = read_usage(parsed)
    return Completion(
        served_model=usage.served_model if usage else string(parsed.get("model")),
        response=text,
        reasoning=(plain_text(reasoning) or None) if reasoning else thoughts,
        tool_calls=json_text(calls) if calls else None,
        finish_reason=string(choice.get("finish_reason")),
        usage=usage,
        refusal=string(message.get("refusal")) or declined,
        service_tier=usage.service_tier if usage else string(parsed.get("service_tier")),
    )


CHAT = Dialect("chat/completions", MappingProxyType({}), None, ChatBody, read_chat)
