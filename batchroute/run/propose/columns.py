"""What the columns of some data are good for: which one is asked, which names a row, which are worth keeping.

Decides by names that data sets use and by what the first rows hold; knows no files and no job files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from batchroute.errors import InputFault
from batchroute.input.names import instead_of
from batchroute.input.row import BATCH_FIELDS
from batchroute.input.text import Replaced, loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.run.propose.sample import Sample

Kind = Literal["text", "messages", "sharegpt", "scalar", "other"]

# What data sets call them, the likeliest first.
_PROMPTS = ("prompt", "question", "instruction", "query", "input", "user", "problem", "text", "content", "request")
_IDS = ("id", "uuid", "uid", "key", "prompt_id", "question_id", "row_id", "custom_id")
_TEXT_SHARE = 0.9  # of a column that is text, though some rows hold something else
_MOST_KEPT = 12
_SHORT_CHARS = 100  # of a text that is copied beside each answer, on average


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its first rows; `chars` is the mean length of its texts, `unfit` how many rows lack one."""

    name: str
    kind: Kind
    unfit: int
    chars: float
    distinct: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """What of the data is asked, by the key of [input] that says so; which columns go with the answers.

    `others` are columns that are neither. `notes` are what the writer of the job should know of the data.
    """

    asks: Literal["prompt", "messages", "template", "format"]
    value: str
    id: str | None
    keep: list[str]
    others: list[str]
    notes: list[str]


def propose(sample: Sample, prompt: str | None = None) -> Proposal:
    """What to ask of the data; `prompt` names the column where the user has said so.

    InputFault where there is no such column, or none with text or chat messages.
    """
    columns = {name: _column(name, [row.get(name) for row in sample.rows]) for name in sample.columns}
    notes = [f"{sample.unreadable:,} of the rows cannot be read and will be refused"] if sample.unreadable else []
    if prompt is None and set(BATCH_FIELDS) - {"method"} <= columns.keys():
        return Proposal("format", "openai-batch", None, [], [], notes)
    column = _asked(columns) if prompt is None else _named(columns, prompt)
    if column.unfit:
        notes.append(f"{column.unfit:,} of the first {len(sample.rows):,} rows have none and will be refused")
    asks, value, used, more = _form(column, columns, sample, free=prompt is None)
    rest = [other for other in columns.values() if other.name not in used]
    row_id = _row_id(rest)
    kept = [other.name for other in rest if other.name != row_id and _is_small(other)][:_MOST_KEPT]
    others = [other.name for other in rest if other.name != row_id and other.name not in kept]
    return Proposal(asks, value, row_id, kept, others, notes + more)


def _column(name: str, values: Sequence[Any]) -> Column:
    there = [value for value in values if value is not None]
    texts = [len(value) for value in there if isinstance(value, str)]
    kind = _kind(there)
    is_key = all(isinstance(value, str | int) for value in there)
    return Column(
        name,
        kind,
        unfit=len(values) - (len(texts) if kind == "text" else len(there)),
        chars=sum(texts) / len(texts) if texts else 0.0,
        distinct=is_key and len(there) == len(values) and len(set(there)) == len(there),
    )


def _kind(values: Sequence[Any]) -> Kind:
    if not values:
        return "other"
    if all(_messages(value, "role", "content") for value in values):
        return "messages"
    if sum(isinstance(value, str) for value in values) >= _TEXT_SHARE * len(values):
        return "text"
    if all(_messages(value, "from", "value") for value in values):
        return "sharegpt"
    return "scalar" if not any(isinstance(value, list | dict | bytes) for value in values) else "other"


def _messages(value: Any, *keys: str) -> bool:
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


def _asked(columns: dict[str, Column]) -> Column:
    """A column called prompt, else chat messages, else the likeliest text."""
    folded = {name.casefold(): column for name, column in columns.items()}
    if (column := folded.get("prompt")) is not None and column.kind in {"text", "messages", "sharegpt"}:
        return column
    chats = [column for column in columns.values() if column.kind in {"messages", "sharegpt"}]
    if chats:
        return min(chats, key=lambda column: (column.kind != "messages", column.unfit))
    texts = [column for column in columns.values() if column.kind == "text"]
    if not texts:
        raise InputFault(f"no column holds text or chat messages; {instead_of('', columns)}")
    named = [folded[name] for name in _PROMPTS if name in folded and folded[name].kind == "text"]
    return named[0] if named else max(texts, key=lambda column: column.chars)


def _named(columns: dict[str, Column], name: str) -> Column:
    if name not in columns:
        raise InputFault(f"--prompt {name}: no row has this column; {instead_of(name, columns)}")
    if columns[name].kind in {"scalar", "other"}:
        raise InputFault(f"--prompt {name}: holds neither text nor chat messages; {instead_of('', columns)}")
    return columns[name]


def _form(
    column: Column, columns: dict[str, Column], sample: Sample, *, free: bool
) -> tuple[Literal["prompt", "messages", "template"], str, set[str], list[str]]:
    """The key of [input], its value, the columns in it, and what to know of it; `free`: other columns may join."""
    name = column.name
    if column.kind == "messages":
        return "messages", name, {name}, _about_chat(name, sample)
    if column.kind == "sharegpt":
        # Jinja reads a column by its bare name only.
        if not name.isidentifier():
            return (
                "messages",
                name,
                {name},
                ["rename `from` to role and `value` to content: as it is, it cannot be sent"],
            )
        first = f"({name} | selectattr('from', 'in', ['human', 'user']) | first).value"
        about = "ShareGPT's form: the template asks the first question of each conversation, without its answers"
        return "template", f"{{{{ {first} }}}}", {name}, [about]
    beside = columns.get("input")
    if free and name == "instruction" and beside is not None and beside.kind == "text" and not beside.unfit:
        text = "{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}"
        return (
            "template",
            text,
            {name, "input"},
            ["Alpaca's form: the instruction, then its input where it has one"],
        )
    return "prompt", name, {name}, []


def _about_chat(name: str, sample: Sample) -> list[str]:
    chats = [row[name] for row in sample.rows if row.get(name)]
    lists = [loads(chat, Replaced()) if isinstance(chat, str) else chat for chat in chats]
    answered = sum(chat[-1].get("role") == "assistant" for chat in lists)
    if not answered:
        return []
    return [
        f"{answered:,} of these end with the assistant's answer, which is sent, too: cut it off to have it anew"
    ]


def _row_id(columns: Sequence[Column]) -> str | None:
    """The column that names a row: distinct values, and a name that says so."""
    distinct = {column.name.casefold(): column.name for column in columns if column.distinct and _is_small(column)}
    known = [distinct[name] for name in _IDS if name in distinct]
    ending = [name for folded, name in distinct.items() if folded.endswith(("_id", "-id", " id"))]
    return next(iter([*known, *ending]), None)


def _is_small(column: Column) -> bool:
    return column.kind == "scalar" or (column.kind == "text" and column.chars <= _SHORT_CHARS)
