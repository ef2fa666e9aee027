"""What the columns of some data are good for: which one is asked, which names a row, which are worth keeping.

Decides by names that data sets use and by what the first rows hold; knows no files and no job files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchroute.errors import InputFault
from batchroute.input.names import instead_of
from batchroute.input.row import BATCH_FIELDS
from batchroute.run.propose.form import Asks, Column, form_of, holds_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.run.propose.form import Kind
    from batchroute.run.propose.sample import Sample

# What data sets call them, the likeliest first.
_PROMPTS = (
    *("prompt", "question", "instruction", "query", "input", "user", "problem", "request", "message", "text"),
    *("content", "document", "article", "body", "title"),
)
# A word in the names of columns that hold what somebody or something has said to that.
_ANSWERS = frozenset(
    [
        "answer",
        "answers",
        "output",
        "outputs",
        "response",
        "responses",
        "completion",
        "target",
        "label",
        "labels",
        "chosen",
        "rejected",
        "solution",
        "gold",
        "reference",
        "expected",
        "reply",
        "summary",
        "rationale",
        "system",
    ]
)
_IDS = ("id", "uuid", "uid", "key", "prompt_id", "question_id", "row_id", "custom_id")
_TEXT_SHARE = 0.9  # of a column that is text, though some rows hold something else
_MOST_KEPT = 12
_SHORT_CHARS = 100  # of a text that is copied beside each answer, on average


@dataclass(frozen=True, slots=True)
class Proposal:
    """What of the data is asked, by the key of [input] that says so; which columns go with the answers.

    `others` are columns that are neither. `notes` are what the writer of the job should know of the data.
    """

    asks: Asks
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
    form = form_of(column, columns, sample, alone=prompt is not None)
    rest = [other for other in columns.values() if other.name not in form.columns]
    row_id = _row_id(rest)
    kept = [other.name for other in rest if other.name != row_id and _is_small(other)][:_MOST_KEPT]
    others = [other.name for other in rest if other.name != row_id and other.name not in kept]
    return Proposal(form.asks, form.value, row_id, kept, others, [*notes, *form.notes])


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
    if all(holds_messages(value, "role", "content") for value in values):
        return "messages"
    if sum(isinstance(value, str) for value in values) >= _TEXT_SHARE * len(values):
        return "text"
    if all(holds_messages(value, "from", "value") for value in values):
        return "sharegpt"
    return "scalar" if not any(isinstance(value, list | dict | bytes) for value in values) else "other"


def _asked(columns: dict[str, Column]) -> Column:
    """A column called prompt, else chat messages, else the likeliest text; what answers are called comes last."""
    folded = {name.casefold(): column for name, column in columns.items()}
    if (column := folded.get("prompt")) is not None and column.kind in {"text", "messages", "sharegpt"}:
        return column
    chats = [column for column in columns.values() if column.kind in {"messages", "sharegpt"}]
    if chats:
        return min(chats, key=lambda column: (_is_answer(column), column.kind != "messages", column.unfit))
    texts = [column for column in columns.values() if column.kind == "text"]
    if not texts:
        raise InputFault(f"no column holds text or chat messages; {instead_of('', columns)}")
    return min(texts, key=lambda column: (_is_answer(column), _rank(column), -column.chars))


def _rank(column: Column) -> int:
    """How likely a name is that of prompts, the likeliest first: the whole of it, else a word in it."""
    name = column.name.casefold()
    if name in _PROMPTS:
        return _PROMPTS.index(name)
    ranks = [_PROMPTS.index(word) for word in _words(name) if word in _PROMPTS]
    return len(_PROMPTS) + min(ranks, default=len(_PROMPTS))


def _is_answer(column: Column) -> bool:
    return not _ANSWERS.isdisjoint(_words(column.name.casefold()))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name)


def _named(columns: dict[str, Column], name: str) -> Column:
    if name not in columns:
        raise InputFault(f"--prompt {name}: no row has this column; {instead_of(name, columns)}")
    if columns[name].kind in {"scalar", "other"}:
        raise InputFault(f"--prompt {name}: holds neither text nor chat messages; {instead_of('', columns)}")
    return columns[name]


def _row_id(columns: Sequence[Column]) -> str | None:
    """The column that names a row: distinct values, and a name that says so."""
    distinct = {column.name.casefold(): column.name for column in columns if column.distinct and _is_small(column)}
    known = [distinct[name] for name in _IDS if name in distinct]
    ending = [name for folded, name in distinct.items() if folded.endswith(("_id", "-id", " id"))]
    return next(iter([*known, *ending]), None)


def _is_small(column: Column) -> bool:
    return column.kind == "scalar" or (column.kind == "text" and column.chars <= _SHORT_CHARS)
