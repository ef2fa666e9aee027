"""What a row sends, made of its values: a text, messages, a rendered template, or a batch line.

The one place where the four differ; knows nothing of how the values were read, or of the other columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from batchroute.input.text import loads, without_lone_surrogates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.input.template import PromptTemplate
    from batchroute.input.text import Replaced

Values: TypeAlias = "Sequence[Any]"
Messages: TypeAlias = list[dict[str, Any]]
ReadContent: TypeAlias = "Callable[[Values, Replaced], Content]"  # raises Refusal

BATCH_FIELDS = ("custom_id", "method", "url", "body")
_BATCH_URL = "/v1/chat/completions"
_MEDIA = ("image_url", "input_audio", "file")
_NUMBERS = (bool, int)
_DEPTH = 100
_SHOWN_CHARS = 60


class Refusal(ValueError):
    """Why a row can never be sent."""


class Unreadable(msgspec.Struct, frozen=True):
    """Stands in a row's values for one that could not be read, or for all of them."""

    why: str


class Content(msgspec.Struct, frozen=True):
    """The text of one user message, or whole messages; and the row's own body fields, if they come with it."""

    prompt: str | Messages
    params: Any = None


def content_of_text(index: int, name: str) -> ReadContent:
    """The value at `index`, that of column `name`, is the prompt."""
    return lambda values, _: Content(text_in(values[index], name))


def content_of_messages(index: int, name: str) -> ReadContent:
    """The value at `index`, that of column `name`, is a list of messages or its JSON text."""
    return lambda values, replaced: Content(messages_in(structure_in(values[index], name, replaced), name))


def content_of_template(template: PromptTemplate) -> ReadContent:
    """The template's columns come first among the values."""

    def render(values: Values, replaced: Replaced) -> Content:
        named = dict(zip(template.columns, values, strict=False))
        for name, value in named.items():
            if value is None or isinstance(value, Unreadable):
                raise Refusal(f"column {name!r} of the template is {in_words(value)}")
        try:
            return Content(without_lone_surrogates(template.render(named), replaced))
        except ValueError as error:
            raise Refusal(str(error)) from error

    return render


def content_of_batch_line(values: Values, _replaced: Replaced) -> Content:
    """BATCH_FIELDS come first among the values; the body's model gives way to the endpoint's."""
    custom_id, method, url, body = values[: len(BATCH_FIELDS)]
    if custom_id is None:
        raise Refusal("'custom_id' is missing or null")
    if method not in (None, "POST") or url != _BATCH_URL:
        raise Refusal(f"asks for {shown(method)} {shown(url)}; only POST {_BATCH_URL} is served")
    if not isinstance(body, dict):
        raise Refusal(f"'body' is {in_words(body)}, not an object")
    params = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    return Content(messages_in(body.get("messages"), "body.messages"), params or None)


def text_in(value: object, name: str) -> str:
    """The value of column `name`, which must be text."""
    if isinstance(value, str):
        return value
    raise Refusal(f"column {name!r} is {in_words(value)}, not text")


def structure_in(value: object, name: str, replaced: Replaced) -> object:
    """A nested value as it is, or as its JSON text says."""
    if not isinstance(value, str):
        return value
    try:
        return loads(value, replaced)
    except ValueError as error:
        raise Refusal(f"{name!r} is not JSON: {error}") from error


def messages_in(value: object, name: str) -> Messages:
    """The value of `name`, which must be a list of chat messages, at least one."""
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else in_words(value)
        raise Refusal(f"{name!r} is {found}, not a list of messages")
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(f"{name!r} holds something that is no message with a role")
    return value


def content_text(message: dict[str, Any]) -> str:
    """The text of a message; that of its text parts, joined, where it has parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refusal(f"the last message's content is {in_words(content)}, not text")
    return "".join(part if isinstance(part, str) else _part_text(part) for part in content)


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    return text if isinstance(text, str) else ""


def chars_in(value: object, depth: int = _DEPTH) -> int:
    """The characters of all strings in a JSON value but media; Refusal for what cannot be sent as JSON."""
    if isinstance(value, str):
        return len(value)
    if depth == 0:
        raise Refusal("nested too deep")
    if isinstance(value, dict):
        return sum(chars_in(item, depth - 1) for name, item in value.items() if name not in _MEDIA)
    if isinstance(value, list):
        return sum(chars_in(item, depth - 1) for item in value)
    if value is None or isinstance(value, _NUMBERS) or (isinstance(value, float) and math.isfinite(value)):
        return 0
    raise Refusal(f"{shown(value)} cannot be sent as JSON")


def shown(value: object) -> str:
    """A value as it stands, for a refusal: what a row holds can be of any length."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def in_words(value: object) -> str:
    """A value in words, for a refusal."""
    if value is None:
        return "missing or null"
    if isinstance(value, Unreadable):
        return value.why
    kinds = {str: "text", dict: "an object", list: "a list", bool: "a truth value"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
