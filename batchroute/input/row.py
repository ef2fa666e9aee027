"""The values of a row -> a row ready to be scored and sent, or the reason why it never can be.

Knows which column means what, and what is sent: a text, messages, a rendered template, or a batch line; knows
nothing of how the values were read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from batchroute.errors import InputFault
from batchroute.input.media import MEDIA_KEYS, media_in
from batchroute.input.template import compile_template
from batchroute.input.text import as_text, loads, without_lone_surrogates
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.input.template import PromptTemplate
    from batchroute.input.text import Replaced
    from batchroute.job.spec import InputSpec
    from batchroute.types import Media


Kind = Literal["text", "messages", "params", "vector", "any"]
Values: TypeAlias = "Sequence[Any]"
Messages: TypeAlias = list[dict[str, Any]]
ReadContent: TypeAlias = "Callable[[Values, Replaced], Content]"  # raises Refusal

BATCH_FIELDS = ("custom_id", "method", "url", "body")
_BATCH_URL = "/v1/chat/completions"
_NUMBERS = (bool, int)
_DEPTH = 100
_SHOWN_CHARS = 60
_NOT_A_ROWS = ("model", "messages", "stream")  # what the endpoint, the content and the lane decide
_BYTES = "the row holds bytes (an image?), which are no JSON: give an image as a data: URL, in an image_url part"
_NO_VECTOR = "its vector is missing, of another length than the others, or not finite"


class Refusal(ValueError):
    """Why a row can never be sent."""


class Unreadable(msgspec.Struct, frozen=True):
    """Stands in a row's values for one that could not be read, or for all of them."""

    why: str

    def __repr__(self) -> str:
        """A template that prints what holds it would send that to a model."""
        raise Refusal(_BYTES)


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
            raise Refusal(f"{name!r} holds {_no_message(message)}")
    return value


def _no_message(value: object) -> str:
    if isinstance(value, dict) and {"from", "value"} <= value.keys():
        return (
            "messages with `from` and `value` (ShareGPT): rename them to `role` and `content`, "
            "and human to user, gpt to assistant"
        )
    return "something that is no message with a role"


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
        return sum(chars_in(item, depth - 1) * (name not in MEDIA_KEYS) for name, item in value.items())
    if isinstance(value, list):
        return sum(chars_in(item, depth - 1) for item in value)
    if value is None or isinstance(value, _NUMBERS) or (isinstance(value, float) and math.isfinite(value)):
        return 0
    if isinstance(value, Unreadable):
        raise Refusal(_BYTES)
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


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row as it was understood; `chars` are those of the request, media left out."""

    id: str | None = None
    text: str = ""
    prompt: str | Messages = ""
    params: dict[str, Any] | None = None
    forced: Side | None = None
    chars: int = 0
    refusal: str | None = None
    media: Media | None = None
    inlined_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows as one [input] says.

    `needs` names the columns and what each must be able to hold; a row's values come in the order of `columns`.
    `content` makes of them what is sent; `id` to `plain` are indices into the values. `plain` is that of a prompt
    which is all there is to a row: the most common job, read several times faster for it. `several_choices`: a row
    may ask for them (n).
    """

    needs: tuple[tuple[str, Kind], ...]
    columns: tuple[str, ...]
    content: ReadContent
    system: str | None
    id: int | None
    params: int | None
    route: int | None
    text: int | None
    plain: int | None
    several_choices: bool

    def read(self, values: Values | Unreadable, replaced: Replaced, *, lacks_vector: bool = False) -> Row:
        """The row of these values; why it cannot be sent stands in its `refusal`."""
        if isinstance(values, Unreadable):
            return Row(refusal=values.why)
        row_id = None if self.id is None else as_text(_readable(values[self.id]))
        if lacks_vector:
            return Row(id=row_id, refusal=_NO_VECTOR)
        if self.plain is not None and type(text := values[self.plain]) is str:
            return Row(row_id, text, text, None, None, len(text) + len(self.system or ""))
        try:
            content = self.content(values, replaced)
            params = self._own_params(values, content, replaced)
            forced = None if self.route is None else _side(values[self.route])
            text = self._scored_text(values, content.prompt)
            chars = chars_in(content.prompt) + len(self.system or "") + chars_in(params)
        except Refusal as refusal:
            return Row(id=row_id, refusal=str(refusal))
        media, inlined = (None, 0) if isinstance(content.prompt, str) else media_in(content.prompt)
        return Row(row_id, text, content.prompt, params, forced, chars, None, media, inlined)

    def messages(self, row: Row) -> bytes:
        """The JSON array of chat messages that is sent for a row."""
        if not isinstance(row.prompt, str):
            return msgspec.json.encode(row.prompt)
        user = {"role": "user", "content": row.prompt}
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return msgspec.json.encode([*system, user])

    def _own_params(self, values: Values, content: Content, replaced: Replaced) -> dict[str, Any] | None:
        params = content.params if self.params is None else structure_in(values[self.params], "params", replaced)
        if params is None:
            return None
        if not isinstance(params, dict):
            raise Refusal(f"params are {in_words(params)}, not an object")
        for key in _NOT_A_ROWS:
            if key in params:
                raise Refusal(f"params hold {key!r}, which only the job can set")
        if params.get("n") not in (None, 1) and not self.several_choices:
            raise Refusal(
                "params ask for several choices (n), which only the raw body keeps: set output.raw = true"
            )
        return params

    def _scored_text(self, values: Values, prompt: str | Messages) -> str:
        if self.text is not None:
            return text_in(values[self.text], self.columns[self.text])
        return prompt if isinstance(prompt, str) else content_text(prompt[-1])


def make_row_reader(spec: InputSpec, *, batch_lines: bool, score_text: str | None, raw: bool = False) -> RowReader:
    """The reader for an [input]; `score_text` is the column that is scored instead of what is sent.

    InputFault for a bad template, and for settings that exclude each other.
    """
    _check_settings(spec, batch_lines=batch_lines)
    sent, content = _content(spec, batch_lines=batch_lines)
    beside: list[tuple[str | None, Kind]] = [
        ("custom_id" if batch_lines else spec.id, "any"),
        (spec.params, "params"),
        (spec.route, "text"),
        (score_text, "text"),
    ]
    needs = (*sent, *((name, kind) for name, kind in beside if name is not None))
    columns = tuple(dict.fromkeys(name for name, _ in needs))
    at = {name: index for index, name in enumerate(columns)}
    id_at, params_at, route_at, text_at = (None if name is None else at[name] for name, _ in beside)
    is_plain = [kind for _, kind in sent] == ["text"] and params_at is route_at is text_at is None
    plain = 0 if is_plain else None
    several_choices = raw or batch_lines
    return RowReader(
        needs, columns, content, spec.system, id_at, params_at, route_at, text_at, plain, several_choices
    )


def _check_settings(spec: InputSpec, *, batch_lines: bool) -> None:
    if (batch_lines or spec.messages is not None) and spec.system is not None:
        raise InputFault("input.system: messages bring their own system message; remove input.system")
    if batch_lines and (spec.messages or spec.template or spec.params):
        raise InputFault(
            "input.format: openai-batch lines bring their own messages and params; remove input.messages, "
            "input.template and input.params"
        )


def _content(spec: InputSpec, *, batch_lines: bool) -> tuple[list[tuple[str, Kind]], ReadContent]:
    """The columns that make what is sent, which come first among the values, and how they do."""
    if batch_lines:
        return [(name, "any") for name in BATCH_FIELDS], content_of_batch_line
    if spec.template is not None:
        template = compile_template(spec.template)
        return [(name, "any") for name in template.columns], content_of_template(template)
    if spec.messages is not None:
        return [(spec.messages, "messages")], content_of_messages(0, spec.messages)
    return [(prompt_column(spec), "text")], content_of_text(0, prompt_column(spec))


def prompt_column(spec: InputSpec) -> str:
    """The text column of prompts, named or by default."""
    return spec.prompt or "prompt"


def _side(value: object) -> Side | None:
    if value is None or value in SIDES:
        return value
    raise Refusal(f"the route is {shown(value)}; 'strong', 'weak' or null is wanted")


def _readable(value: object) -> object:
    return None if isinstance(value, Unreadable) else value
