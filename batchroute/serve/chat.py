"""A chat completion request -> what routing has to know of it, and where it goes; all else passes untouched.

Only the top level of the body is decoded, so that a field that is not known here keeps its bytes. Its `model` asks
for a router and a threshold, or for one endpoint. Knows no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from batchroute.errors import RoutingError
from batchroute.input.media import media_in
from batchroute.input.row import Refusal, chars_in, content_text, messages_in
from batchroute.input.text import Replaced, loads_slowly
from batchroute.job.rules import OUTPUT_BOUNDS
from batchroute.route.sides import route_one
from batchroute.send.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Endpoints
    from batchroute.types import Media, RouteReason

_OURS = ("model", "messages")
_COUNTED = (*OUTPUT_BOUNDS, "n", "stream", "stream_options", "service_tier", "speed")  # these are decoded, too
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
PREFIX = "router"
Selection: TypeAlias = str | float  # an endpoint, or the lowest score that goes strong


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request: the model it names, the text that is scored, and the fields that go on to an endpoint.

    `messages` is a JSON array, `chars` counts its characters but those of `media`, which are `inlined_bytes` of
    it; `wants_usage`: the client itself asked for the usage at the end of a stream.
    """

    model: object
    text: str
    chars: int
    messages: bytes
    params: dict[str, Any]
    stream: bool
    wants_usage: bool
    media: Media | None = None
    inlined_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The endpoint that a request goes to, and why; no score where none was needed."""

    endpoint: str
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
    stream, options = params.get("stream") is True, params.get("stream_options")
    options = options if isinstance(options, dict) else {}
    wants_usage = options.get("include_usage") is True
    media, inlined_bytes = media_in(checked)
    if stream and not wants_usage:
        params["stream_options"] = {**options, "include_usage": True}
    return ChatRequest(
        model=model,
        text="" if checked[-1].get("content") is None else content_text(checked[-1]),
        chars=chars_in(checked),
        messages=msgspec.json.encode(checked) if raw is None else raw,
        params=params,
        stream=stream,
        wants_usage=wants_usage,
        media=media,
        inlined_bytes=inlined_bytes,
    )


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
    """By the rule for the rows of a file; Refusal where a request is too long for its endpoint, or for both."""
    forced, threshold = (selection, None) if isinstance(selection, str) else (None, selection)
    route = route_one(score, forced, chars, 1.0 if threshold is None else threshold, endpoints)
    if route.too_long:
        tokens = estimate_tokens(chars)
        raise Refusal(f"about {tokens} input tokens, more than endpoints.{route.endpoint}.max_input_tokens")
    return RouteDecision(route.endpoint, route.reason, score, threshold)


def parse_model(model: str) -> tuple[str, float]:
    """(router, threshold) of a model string such as `router-mf-0.11593`; RoutingError where it is none."""
    parts = model.split("-", 2) if isinstance(model, str) else []
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1]:
        raise RoutingError(f"no router is named by the model {model!r}; write it as router-mf-0.11593")
    return parts[1], read_threshold(parts[2])


def read_threshold(threshold: object) -> float:
    """A number in [0, 1], or its text; RoutingError for anything else."""
    try:
        number = float(threshold) if isinstance(threshold, str | int | float) else None
    except ValueError:
        number = None
    if number is None or not 0 <= number <= 1:  # which NaN fails, too
        raise RoutingError(f"the threshold {threshold!r} is no number from 0 to 1")
    return number


@dataclass(frozen=True, slots=True)
class ModelNames:
    """What the clients of a server may write in `model`.

    `router-NAME-0.24` routes at a threshold of its own, `router-NAME` and `router` at the job's; an endpoint's
    model, or its name, is that endpoint, unscored. Where two have one model it stands for neither.
    """

    router: str
    threshold: float | None
    endpoints: Mapping[str, str]

    def read(self, model: object) -> Selection:
        """RoutingError where `model` is none of them."""
        if not isinstance(model, str):
            raise RoutingError(f"model is missing; write one of {', '.join(self.listed())}")
        if model in self.endpoints:
            return self.endpoints[model]
        if model in {PREFIX, f"{PREFIX}-{self.router}"}:
            if self.threshold is None:
                raise RoutingError(f"the job's threshold is not known yet; write one, as in {self.listed()[0]}")
            return self.threshold
        if not model.startswith(f"{PREFIX}-"):
            raise RoutingError(f"there is no model {model!r} here; write one of {', '.join(self.listed())}")
        router, threshold = parse_model(model)
        if router != self.router:
            raise RoutingError(f"there is no router {router!r} here; it is {self.router!r}")
        return threshold

    def listed(self) -> list[str]:
        """The names to choose from; with the job's threshold where it has one."""
        example = "0.5" if self.threshold is None else f"{self.threshold:g}"
        return [f"{PREFIX}-{self.router}-{example}", *self.endpoints]


def model_names(router: str, threshold: float | None, endpoints: Endpoints) -> ModelNames:
    """The names of a job's router, with its threshold, and of its endpoints."""
    models = [spec.model for _, spec in endpoints.items()]
    unique = {spec.model: name for name, spec in endpoints.items() if models.count(spec.model) == 1}
    return ModelNames(router, threshold, {**unique, **{name: name for name in endpoints.names}})
