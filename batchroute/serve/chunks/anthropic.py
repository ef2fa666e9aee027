"""The events of Anthropic's /v1/messages as chunks. Source: the types of anthropic-python 2.14."""

from __future__ import annotations

from typing import Any

from batchroute.send.dialects.anthropic import read_anthropic
from batchroute.serve.chunks.compose import ChunkWriter


class AnthropicChunks:
    """Takes the events of one stream in their order.

        message_start; of each block start, deltas, stop; message_delta, message_stop

    The message grows to what a whole answer would be, without the text that has gone on.
    """

    def __init__(self) -> None:
        self._chunks = ChunkWriter()
        self._message: dict[str, Any] = {"content": []}

    def __call__(self, event: dict[str, Any]) -> list[bytes]:
        """The chat events that stand for one event; many stand for none."""
        kind = event.get("type")
        if kind == "message_start":
            return self._begin(_table(event, "message"))
        if kind == "content_block_start":
            return self._begin_block(event.get("index"), _table(event, "content_block"))
        if kind == "content_block_delta":
            return self._delta(event.get("index"), _table(event, "delta"))
        if kind == "content_block_stop":
            return self._chunks.end_call(event.get("index"), "{}")
        if kind == "message_delta":
            self._message |= _table(event, "delta")
            self._message["usage"] = {**_table(self._message, "usage"), **_known(_table(event, "usage"))}
        if kind == "message_stop":
            return self._end()
        return self._chunks.error(event.get("error")) if kind == "error" else []

    def _begin(self, message: dict[str, Any]) -> list[bytes]:
        self._message |= {name: message.get(name) for name in ("id", "model", "usage")}
        return self._chunks.begin(message.get("id"), message.get("model"))

    def _begin_block(self, place: Any, block: dict[str, Any]) -> list[bytes]:
        if block.get("type") == "tool_use":
            return self._chunks.begin_call(place, block.get("id"), block.get("name"))
        return self._chunks.delta({"content": block["text"]}) if block.get("text") else []

    def _delta(self, place: Any, delta: dict[str, Any]) -> list[bytes]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunks.delta({"content": delta.get("text")})
        if kind == "thinking_delta":
            return self._chunks.delta({"reasoning_content": delta.get("thinking")})
        return self._chunks.more_of_call(place, delta.get("partial_json")) if kind == "input_json_delta" else []

    def _end(self) -> list[bytes]:
        completion = read_anthropic(self._message).completion
        if completion is None:
            return []
        said = self._chunks.delta({"refusal": completion.refusal}) if completion.refusal else []
        return [*said, *self._chunks.end(completion)]


def _table(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _known(usage: dict[str, Any]) -> dict[str, Any]:
    """The counts of the last event, which are those of the whole answer; some leave out those of the input."""
    return {name: value for name, value in usage.items() if value is not None}
