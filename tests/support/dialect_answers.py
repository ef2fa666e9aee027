"""Whole answers and event streams as OpenAI's /v1/responses and Anthropic's /v1/messages send them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Both say: 120 tokens in, 100 of them from a cache; 10 out.
RESPONSES_USAGE = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 0},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 130,
}
ANTHROPIC_USAGE = {
    "input_tokens": 20,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 0,
    "output_tokens": 10,
}
MODELS = {"responses": "gpt-6-luna-2026-08-01", "anthropic": "claude-haiku-5-5"}
ARGUMENTS = '{"at":"cat"}'


def whole(
    api: str, text: str | None = "Hello", *, call: bool = False, refusal: str | None = None
) -> dict[str, Any]:
    """An answer that says `text`, calls the function `look`, or refuses."""
    return (_response if api == "responses" else _message)(text, call=call, refusal=refusal)


def _response(text: str | None, *, call: bool, refusal: str | None) -> dict[str, Any]:
    parts = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    if refusal is not None:
        parts.append({"type": "refusal", "refusal": refusal})
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts},
    ]
    if call:
        output.append(
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": ARGUMENTS}
        )
    head = {"id": "resp_1", "object": "response", "created_at": 1_795_000_000, "model": MODELS["responses"]}
    return {**head, "status": "completed", "error": None, "output": output, "usage": RESPONSES_USAGE}


def _message(text: str | None, *, call: bool, refusal: str | None) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
    if text is not None:
        content.append({"type": "text", "text": text})
    if call:
        content.append({"type": "tool_use", "id": "call_1", "name": "look", "input": json.loads(ARGUMENTS)})
    reason = "tool_use" if call else "end_turn"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODELS["anthropic"]}
    answer = {**head, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": ANTHROPIC_USAGE}
    if refusal is not None:
        answer |= {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": refusal}}
    return answer


def streamed(api: str, answer: dict[str, Any]) -> list[bytes]:
    """The events that an answer would come in; texts in two pieces."""
    events = _response_events(answer) if api == "responses" else _message_events(answer)
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def _halves(text: str) -> Iterator[str]:
    yield from (half for half in (text[: len(text) // 2], text[len(text) // 2 :]) if half)


def _response_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer["output"]):
        empty = {**item, "content": [], "arguments": "", "summary": []}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        for part in item.get("summary", ()):
            for half in _halves(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", "delta": half}
        for part in item.get("content", ()):
            kind = "output_text" if "text" in part else "refusal"
            for half in _halves(part.get("text", part.get("refusal"))):
                yield {"type": f"response.{kind}.delta", "delta": half}
            yield {"type": f"response.{kind}.done", "text": part.get("text")}
        for half in _halves(item.get("arguments", "")):
            yield {"type": "response.function_call_arguments.delta", "delta": half}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{answer['status']}", "response": answer}


def _message_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**answer, "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(answer["content"]):
        empty = {**block, **{name: "" for name in ("text", "thinking", "signature") if name in block}}
        if "input" in block:
            empty["input"] = {}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(block))
        yield {"type": "content_block_stop", "index": index}
    ended = {name: answer[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in answer}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 10}}
    yield {"type": "message_stop"}


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "tool_use" and block["input"]:
        yield {"type": "input_json_delta", "partial_json": ""}
        for half in _halves(json.dumps(block["input"], separators=(",", ":"))):
            yield {"type": "input_json_delta", "partial_json": half}
    for name in ("text", "thinking"):
        for half in _halves(block.get(name, "")):
            yield {"type": f"{name}_delta", name: half}
    if "signature" in block:
        yield {"type": "signature_delta", "signature": "s"}
