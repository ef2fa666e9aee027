"""The result columns: names, order, types, and where else each of them stands. The one declaration of them.

`types.Result` has a field of the same name for each. Formats of the directory differ in their columns; one that
was begun in an older format goes on in it, because all parts of a directory have one schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto

import pyarrow as pa

FORMAT = 2  # of the directories that this version begins; it reads and goes on with all from 1 on


class Use(Flag):
    """What holds of a column, beside its type."""

    PLAIN = 0
    REQUIRED = auto()  # never null
    FAILED = auto()  # a line of failed.jsonl has it
    REPORT = auto()  # reports read it
    REPEATS = auto()  # few distinct values: a dictionary pays, which for free text only costs time


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `since` is the first format of directory that has it."""

    name: str
    type: pa.DataType
    use: Use = Use.PLAIN
    since: int = 1

    @property
    def field(self) -> pa.Field:
        """The column as a part's schema has it."""
        return pa.field(self.name, self.type, nullable=Use.REQUIRED not in self.use)


_TEXT, _COUNT, _NUMBER = pa.string(), pa.int64(), pa.float64()
_EVERYWHERE = Use.FAILED | Use.REPORT

COLUMNS = (
    Column("file", _TEXT, Use.REQUIRED | _EVERYWHERE | Use.REPEATS),
    Column("row", _COUNT, Use.REQUIRED | _EVERYWHERE),
    Column("id", _TEXT, _EVERYWHERE),
    Column("score", _NUMBER, _EVERYWHERE),
    Column("route", _TEXT, _EVERYWHERE | Use.REPEATS),
    Column("route_reason", _TEXT, _EVERYWHERE | Use.REPEATS),
    Column("model", _TEXT, _EVERYWHERE | Use.REPEATS),
    Column("served_model", _TEXT, Use.REPORT | Use.REPEATS),
    Column("status", _TEXT, Use.REQUIRED | Use.REPORT | Use.REPEATS),
    Column("response", _TEXT, Use.REPORT),
    Column("reasoning", _TEXT),
    Column("refusal", _TEXT, Use.REPORT, since=2),
    Column("tool_calls", _TEXT, Use.REPORT),
    Column("finish_reason", _TEXT, Use.REPORT | Use.REPEATS),
    Column("prompt_tokens", _COUNT, _EVERYWHERE),
    Column("cached_tokens", _COUNT, _EVERYWHERE),
    Column("cache_write_tokens", _COUNT, _EVERYWHERE, since=2),
    Column("completion_tokens", _COUNT, _EVERYWHERE),
    Column("reasoning_tokens", _COUNT, _EVERYWHERE),
    Column("cost_usd", _NUMBER, _EVERYWHERE),
    Column("attempts", pa.int32(), Use.REQUIRED | _EVERYWHERE),
    Column("latency_s", _NUMBER, _EVERYWHERE),
    Column("error_type", _TEXT, _EVERYWHERE | Use.REPEATS),
    Column("error", _TEXT, _EVERYWHERE),
    Column("finished_at", pa.timestamp("us", tz="UTC"), Use.REQUIRED | _EVERYWHERE),
    Column("request_id", _TEXT, Use.REPORT, since=2),
    Column("service_tier", _TEXT, Use.REPORT | Use.REPEATS, since=2),
    Column("delivery", _TEXT, Use.REPORT | Use.REPEATS, since=2),
)
RAW = Column("raw", _TEXT)


def names_with(use: Use) -> tuple[str, ...]:
    """The columns of which this holds, in their order."""
    return tuple(column.name for column in COLUMNS if use in column.use)


def reserved_names(format: int = FORMAT) -> tuple[str, ...]:  # noqa: A002  # the directory's
    """The names that no kept column can have in a directory of this format."""
    return tuple(column.name for column in (*COLUMNS, RAW) if column.since <= format)


@dataclass(frozen=True, slots=True)
class ResultColumns:
    """What every part of one directory holds: our columns, whole answers where `raw`, the `keep` columns."""

    keep: pa.Schema
    raw: bool = False
    format: int = FORMAT

    @property
    def own(self) -> pa.Schema:
        """All but the kept columns."""
        asked = (*COLUMNS, RAW) if self.raw else COLUMNS
        return pa.schema([column.field for column in asked if column.since <= self.format])

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*self.own, *self.keep])
