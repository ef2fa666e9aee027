"""The values of a row -> a row ready to be scored and sent, or the reason why it never can be.

Knows which column means what; knows nothing of how the values were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from batchroute.errors import InputFault
from batchroute.input.content import (
    BATCH_FIELDS,
    Content,
    Refusal,
    Unreadable,
    chars_in,
    content_of_batch_line,
    content_of_messages,
    content_of_template,
    content_of_text,
    content_text,
    in_words,
    shown,
    structure_in,
    text_in,
)
from batchroute.input.template import compile_template
from batchroute.input.text import as_text
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from batchroute.input.content import Messages, ReadContent, Values
    from batchroute.input.text import Replaced
    from batchroute.job.spec import InputSpec

Kind = Literal["text", "messages", "params", "vector", "any"]

_NOT_A_ROWS = ("model", "messages", "stream")  # what the endpoint, the content and the lane decide
_NO_VECTOR = "its vector is missing, of another length than the others, or not finite"


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row as it was understood; `chars` are those of the request, media left out."""

    id: str | None = None
    text: str = ""
    prompt: str | Messages = ""
    params: dict[str, Any] | None = None
    forced: Side | None = None
    chars: int = 0
    refusal: str | None = None


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
        return Row(row_id, text, content.prompt, params, forced, chars)

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
