"""A chat completion request -> what routing has to know of it; everything else passes untouched.

Only the top level of the body is decoded, so that a field that is not known here keeps its bytes. Knows no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.input.row import Refusal, chars_in, content_text, messages_in
from batchroute.input.text import Replaced, loads_slowly
from batchroute.job.rules import OUTPUT_BOUNDS
from batchroute.route.sides import route_one
from batchroute.send.tokens import estimate_tokens
from batchroute.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Endpoints
    from batchroute.serve.names import Selection
    from batchroute.types import RouteReason, Side

_OURS = ("model", "messages")
_COUNTED = (*OUTPUT_BOUNDS, "n", "stream", "stream_options")  # these are decoded, too
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request: the model it names, the text that is scored, and the fields that go on to an endpoint.

    `messages` is a JSON array, `chars` counts its characters; `wants_usage`: the client itself asked for the usage
    at the end of a stream.
    """

    model: object
    text: str
    chars: int
    messages: bytes
    params: dict[str, Any]
    stream: bool
    wants_usage: bool


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The side that a request goes to, and why; no score where none was needed."""

    side: Side
    reason: RouteReason
    score: float | None
    threshold: float | None


def read_chat_request(body: bytes) -> ChatRequest:
    """Refusal for what is no request; its other fields are for the endpoint to check."""
    fields = _fields(body)
    if "messages" not in fields:
        raise Refusal("'messages' is missing")
    raw = fields["messages"]
    return chat_request(
        _decoded("model", fields.get("model")),
        _decoded("messages", raw),
        {
            name: _decoded(name, value) if name in _COUNTED else value
            for name, value in fields.items()
            if name not in _OURS
        },
        bytes(raw) if isinstance(raw, msgspec.Raw) else None,
    )


def chat_request(model: object, messages: object, params: dict[str, Any], raw: bytes | None = None) -> ChatRequest:
    """The request of these messages; `raw` is their JSON text, where it is there already."""
    checked = messages_in(messages, "messages")
    stream = params.get("stream") is True
    wants_usage = _wants_usage(params)
    if stream and not wants_usage:
        options = params.get("stream_options")
        params["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return ChatRequest(
        model=model,
        text="" if checked[-1].get("content") is None else content_text(checked[-1]),
        chars=chars_in(checked),
        messages=msgspec.json.encode(checked) if raw is None else raw,
        params=params,
        stream=stream,
        wants_usage=wants_usage,
    )


def _wants_usage(params: Mapping[str, Any]) -> bool:
    options = params.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _fields(body: bytes) -> dict[str, Any]:
    """The top level; most values still as they were written."""
    try:
        body.decode()  # values that go on as they are would else take their bad bytes to the endpoint
    except UnicodeDecodeError as error:
        raise Refusal(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        return _FIELDS.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        fields = loads_slowly(body, Replaced())
    except ValueError as error:
        raise Refusal(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Refusal("the body is no JSON object")
    return fields


def _decoded(name: str, value: Any) -> Any:
    """The value of a field; well-formed JSON may still hold a number beyond all bounds."""
    try:
        return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{name!r} cannot be read: {error}") from error


def decide_route(selection: Selection, score: float | None, chars: int, endpoints: Endpoints) -> RouteDecision:
    """By the rule for the rows of a file; Refusal where a request is too long for its side, or for both."""
    forced = selection if isinstance(selection, str) else None
    threshold = None if isinstance(selection, str) else selection
    route = route_one(score, forced, chars, 1.0 if threshold is None else threshold, endpoints)
    if route.too_long:
        tokens = estimate_tokens(chars)
        raise Refusal(f"about {tokens} input tokens, more than endpoints.{route.side}.max_input_tokens")
    return RouteDecision(route.side, route.reason, score, threshold)


def prompt_of(chat: ChatRequest) -> Prompt:
    """The request as a row of no file."""
    return Prompt(file="", row=0, id=None, messages=chat.messages, params=chat.params)
