"""The events of a chat completion that is streamed, as OpenAI writes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.report.export.completion import chat_finish, chat_usage

if TYPE_CHECKING:
    from batchroute.types import Completion

DONE = b"data: [DONE]\n\n"
_INPUTS = {"function": "arguments", "custom": "input"}


@dataclass(slots=True)
class ChunkWriter:
    """Writes the events of one answer. Calls of tools are known by the place that they have in the other API."""

    answer_id: str = ""
    model: str = ""
    created_s: int = field(default_factory=lambda: int(time.time()))
    _calls: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # their number, and what their input is called
    _empty: set[str] = field(default_factory=set)  # nothing has come of their input

    def begin(self, answer_id: Any, model: Any) -> list[bytes]:
        self.answer_id, self.model = f"chatcmpl-{answer_id}", str(model)
        return self.delta({"role": "assistant", "content": ""})

    def delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> list[bytes]:
        """What is new."""
        return [self._event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])]

    def begin_call(self, place: Any, call_id: Any, name: Any, kind: str = "function") -> list[bytes]:
        """A call of a tool, without its input."""
        number = len(self._calls)
        self._calls[str(place)] = number, kind
        self._empty.add(str(place))
        called = {"name": name, _INPUTS[kind]: ""}
        return self.delta({"tool_calls": [{"index": number, "id": call_id, "type": kind, kind: called}]})

    def more_of_call(self, place: Any, text: Any) -> list[bytes]:
        """A piece of its input."""
        if str(place) not in self._calls or not text:
            return []
        self._empty.discard(str(place))
        number, kind = self._calls[str(place)]
        return self.delta({"tool_calls": [{"index": number, kind: {_INPUTS[kind]: text}}]})

    def end_call(self, place: Any, whole: Any) -> list[bytes]:
        """Its whole input, where it has not come in pieces."""
        return self.more_of_call(place, whole) if str(place) in self._empty else []

    def end(self, completion: Completion) -> list[bytes]:
        """How it ended, what it took, and that there is no more."""
        finish = chat_finish(completion.finish_reason, completion.refusal)
        usage = chat_usage(completion.usage)
        last = [] if usage is None else [self._event([], usage, completion.service_tier)]
        return [*self.delta({}, finish), *last, DONE]

    def error(self, error: Any) -> list[bytes]:
        """A stream that broke off says why in an event of its own."""
        told = error if isinstance(error, dict) else {}
        kept = {name: told.get(name) for name in ("message", "type", "param", "code")}
        kept["message"] = kept["message"] or "the stream broke off"
        return [b"data: " + msgspec.json.encode({"error": kept}) + b"\n\n"]

    def _event(self, choices: list[Any], usage: Any = None, service_tier: str | None = None) -> bytes:
        head = {"id": self.answer_id, "object": "chat.completion.chunk", "created": self.created_s}
        chunk = {**head, "model": self.model, "choices": choices}
        if usage is not None:
            chunk |= {"usage": usage, "service_tier": service_tier}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
