"""The events of OpenAI's /v1/responses as chunks. Source: the types of openai-python 3.57."""

from __future__ import annotations

from typing import Any

from batchroute.send.classify import Answer
from batchroute.send.dialects.responses import read_responses
from batchroute.serve.chunks.compose import ChunkWriter

_DELTAS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
_CALLS = {"function_call": "function", "custom_tool_call": "custom"}
_CALL_DELTAS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})


class ResponsesChunks:
    """Takes the events of one stream in their order; the last one holds the whole response."""

    def __init__(self) -> None:
        self._chunks = ChunkWriter()

    def __call__(self, event: dict[str, Any]) -> list[bytes]:
        """The chat events that stand for one event; many stand for none."""
        kind, place = str(event.get("type")), event.get("output_index")
        if kind in _DELTAS:
            return self._chunks.delta({_DELTAS[kind]: event.get("delta")})
        if kind in _CALL_DELTAS:
            return self._chunks.more_of_call(place, event.get("delta"))
        if isinstance(item := event.get("item"), dict):
            return self._item(kind, place, item)
        if kind == "error":
            return self._chunks.error(event.get("error") or event)
        response = event.get("response")
        return self._whole(kind, response) if isinstance(response, dict) else []

    def _item(self, kind: str, place: Any, item: dict[str, Any]) -> list[bytes]:
        call = _CALLS.get(str(item.get("type")))
        if kind == "response.output_item.added" and call is not None:
            return self._chunks.begin_call(place, item.get("call_id"), item.get("name"), call)
        if kind == "response.output_item.done":
            return self._chunks.end_call(place, item.get("arguments") or item.get("input"))
        return []

    def _whole(self, kind: str, response: dict[str, Any]) -> list[bytes]:
        if kind == "response.created":
            return self._chunks.begin(response.get("id"), response.get("model"))
        if kind == "response.failed":
            return self._chunks.error(response.get("error"))
        if kind not in {"response.completed", "response.incomplete"}:
            return []
        answer = read_responses(response)
        return self._chunks.end(answer.completion) if isinstance(answer, Answer) and answer.completion else []
