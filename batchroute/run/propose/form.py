"""What of a column is asked: its texts, its chats, or what a template takes out; by the forms of data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from batchroute.input.text import Replaced, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.run.propose.sample import Sample

Kind = Literal["text", "messages", "sharegpt", "scalar", "other"]
Asks = Literal["prompt", "messages", "template", "format"]  # keys of [input]


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its first rows; `chars` is the mean length of its texts, `unfit` how many rows lack one."""

    name: str
    kind: Kind
    unfit: int
    chars: float
    distinct: bool


@dataclass(frozen=True, slots=True)
class Form:
    """The key of [input] that asks, its value, the columns in it, and what to know of it."""

    asks: Asks
    value: str
    columns: frozenset[str]
    notes: tuple[str, ...] = ()


def form_of(column: Column, columns: Mapping[str, Column], sample: Sample, *, alone: bool) -> Form:
    """How a column is asked; `alone`: without another one beside it."""
    if column.kind == "messages":
        return _chat(column.name, sample)
    if column.kind == "sharegpt":
        return _sharegpt(column.name)
    beside = columns.get("input")
    if not alone and column.name == "instruction" and beside is not None and _is_text(beside):
        template = "{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}"
        about = "Alpaca's form: the instruction, then its input where it has one"
        return Form("template", template, frozenset({"instruction", "input"}), (about,))
    return Form("prompt", column.name, frozenset({column.name}))


def _is_text(column: Column) -> bool:
    return column.kind == "text" and not column.unfit


def _chat(name: str, sample: Sample) -> Form:
    """Whole chats, but for those that have their answers already, as data to train on have."""
    chats = [row[name] for row in sample.rows if isinstance(row.get(name), list)]
    answered = sum(chat[-1].get("role") == "assistant" for chat in chats)
    if answered and answered == len(chats) and name.isidentifier():
        about = "all of these end with the assistant's answer: the template asks the first question of each anew"
        return _first(name, "role", ["user"], "content", about)
    about = (
        f"{answered:,} of these end with the assistant's answer, which is sent, too: cut it off to have it anew"
    )
    return Form("messages", name, frozenset({name}), (about,) if answered else ())


def _sharegpt(name: str) -> Form:
    if name.isidentifier():
        about = "ShareGPT's form: the template asks the first question of each conversation, without its answers"
        return _first(name, "from", ["human", "user"], "value", about)
    about = "ShareGPT's form cannot be sent: rename `from` to role and `value` to content"
    return Form("messages", name, frozenset({name}), (about,))


def _first(name: str, who: str, users: list[str], what: str, about: str) -> Form:
    """A template with the first message of these users; Jinja reads a column by its bare name only."""
    template = f"{{{{ ({name} | selectattr('{who}', 'in', {users!r}) | first).{what} }}}}"
    return Form("template", template, frozenset({name}), (about,))


def holds_messages(value: Any, *keys: str) -> bool:
    """Whether a value, or the JSON text of one, is a list of messages with these keys."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return False
        try:
            value = loads(value, Replaced())
        except ValueError:
            return False
    return (
        isinstance(value, list) and bool(value) and all(isinstance(m, dict) and m.keys() >= {*keys} for m in value)
    )
