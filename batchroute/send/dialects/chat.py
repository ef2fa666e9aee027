"""OpenAI's /v1/chat/completions, which nearly every provider speaks.

Pure functions on values; what an error means stands in `classify`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.rules import longest_output
from batchroute.send.classify import Answer, malformed
from batchroute.send.dialects.dialect import Body, Dialect
from batchroute.send.usage import read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.types import Prompt


class ChatBody:
    """Writes the bodies of one endpoint: its params, the row's over them, the model and the messages.

    The same params make the same bytes, in whatever order and wherever they were written.
    """

    def __init__(self, model: str, params: Mapping[str, Any]) -> None:
        self._params = {**params, "model": model}
        self._head = _head(self._params)
        self._longest = longest_output(params)

    def __call__(self, prompt: Prompt) -> Body:
        if not prompt.params:
            return Body(self._head + prompt.messages + b"}", self._longest)
        params = {**self._params, **prompt.params}
        return Body(_head(params) + prompt.messages + b"}", longest_output(params))


def _head(params: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(params, order="sorted")[:-1] + b',"messages":'


def read_chat(parsed: dict[str, Any]) -> Answer:
    """What the object in a 200 means to whoever asked for a chat completion."""
    completion = _completion(parsed)
    if completion is None:
        return malformed("has no choices", parsed)
    return Answer(verdict="ok", completion=completion)


def _completion(parsed: dict[str, Any]) -> Completion | None:
    """The first choice of a chat completion, None where there is none."""
    choices = parsed.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        return None
    calls = message.get("tool_calls")
    return Completion(
        served_model=_text(parsed.get("model")),
        response=_text(message.get("content")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        tool_calls=msgspec.json.encode(calls).decode() if calls else None,
        finish_reason=_text(choice.get("finish_reason")),
        usage=read_usage(parsed),
    )


def _text(value: Any) -> str | None:
    """Content is text, or a list of parts of which the text ones count."""
    if isinstance(value, list):
        value = "".join(
            part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return value if isinstance(value, str) else None


CHAT = Dialect("chat/completions", MappingProxyType({}), None, ChatBody, read_chat)
