"""A whole event stream -> the answer it amounts to, for servers that stream though nothing asked them to.

Chat's chunks are merged, and so are the blocks of Anthropic's messages; the stream of a response has it whole in
its last event. What an answer means is not known here; a stream that a client asked for is for `serve.stream`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELD = re.compile(r"(?:data|event|id|retry):")
_END = re.compile(r"\r\n\r\n|\n\n|\r\r")  # of an event
_DONE = "[DONE]"
_WHOLE_RESPONSE = frozenset({"response.completed", "response.incomplete", "response.failed"})
# Of texts with these names each chunk brings a piece; of all else the last word counts.
_IN_PIECES = frozenset(
    {"content", "reasoning_content", "reasoning", "thinking", "refusal", "text", "summary", "arguments", "input"}
)


def is_stream(text: str) -> bool:
    """Whether this is an event stream rather than JSON."""
    return _FIELD.match(text) is not None


def is_piece(value: Any) -> bool:
    """Whether this is a chunk of a chat stream rather than a whole answer."""
    return isinstance(value, dict) and value.get("object") == "chat.completion.chunk"


def join_events(text: str) -> dict[str, Any]:
    """The answer; ValueError where the end of the stream is missing."""
    data = [piece for event in _END.split(text) if (piece := _data(event))]
    pieces = [json.loads(piece, strict=False) for piece in data if piece != _DONE]
    return join_pieces(pieces, is_done=_DONE in data)


def join_pieces(pieces: Iterable[Any], *, is_done: bool) -> dict[str, Any]:
    """The answer; ValueError where its end is missing: `[DONE]`, a finish_reason, an error, a whole response."""
    chunks = [piece for piece in pieces if isinstance(piece, dict)]
    if chunks and chunks[0].get("type") == "message_start":
        try:
            return _message(chunks)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("an event of the stream is not in its place") from error
    for chunk in chunks:
        if str(chunk.get("type")) in _WHOLE_RESPONSE and isinstance(chunk.get("response"), dict):
            return dict(chunk["response"])
    return _chat(chunks, is_done=is_done)


def _chat(chunks: list[dict[str, Any]], *, is_done: bool) -> dict[str, Any]:
    """A completion, whose choices have their deltas as messages."""
    answer: dict[str, Any] = {}
    for chunk in chunks:
        _merge(answer, chunk)
    merged = answer.get("choices")
    choices = [choice for choice in merged if isinstance(choice, dict)] if isinstance(merged, list) else []
    if not is_done and not answer.get("error") and not (choices and choices[0].get("finish_reason")):
        raise ValueError("the stream ends in the middle")
    for choice in choices:
        choice["message"] = choice.get("message") or choice.pop("delta", None)
    return answer


def _message(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Anthropic's message: it begins without content, its blocks grow by deltas, its end brings what is left."""
    message = dict(events[0]["message"])
    blocks: list[dict[str, Any]] = []
    for event in events:
        kind = event.get("type")
        if kind == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            _grow(blocks[-1], event["delta"])
        elif kind == "message_delta":
            _merge(message, {**event["delta"], "usage": event.get("usage")})
        elif kind == "error":
            return event
    if not message.get("stop_reason"):
        raise ValueError("the event stream ends in the middle")
    for block in blocks:
        if (pieces := block.pop("partial_json", None)) is not None:
            block["input"] = json.loads(pieces or "{}", strict=False)
    return {**message, "content": blocks}


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """A delta has a type, and one piece of text."""
    for name, piece in delta.items():
        if name != "type" and isinstance(piece, str):
            block[name] = block.get(name, "") + piece


def _data(event: str) -> str:
    lines = (line.removeprefix("data:").strip() for line in event.splitlines() if line.startswith("data:"))
    return "\n".join(lines)


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    # {"choices": [{"index": 0, "delta": {"content": "fi"}}]} and {"choices": [{"index": 0, "delta": {"content":
    # "ne"}}]} make {"choices": [{"index": 0, "delta": {"content": "fine"}}]}; calls are merged in the same way.
    for name, value in piece.items():
        known = whole.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list):
            whole[name] = _merged(known if isinstance(known, list) else [], value)
        elif isinstance(value, str) and isinstance(known, str) and name in _IN_PIECES:
            whole[name] = known + value
        elif value is not None:
            whole[name] = value


def _merged(items: list[Any], pieces: list[Any]) -> list[Any]:
    """Pieces of the same index belong together, unless their ids say that they are two."""
    for piece in pieces:
        same = next((item for item in items if _are_one(item, piece)), None)
        if same is None:
            items.append({})
            same = items[-1]
        if isinstance(piece, dict):
            _merge(same, piece)
        else:
            items[-1] = piece
    return items


def _are_one(item: Any, piece: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(piece, dict) or item.get("index") is None:
        return False
    ids = item.get("id"), piece.get("id")
    return item["index"] == piece.get("index") and (not all(ids) or ids[0] == ids[1])
