"""Kept columns of a run, of whatever type, as the text that stands for each value in a table.

Text, numbers, truth values and dates as they are written, times as ISO 8601, bytes as base64, lists and structs as
JSON. A value of one type is the same text in every run, so 7 of a Parquet column and "7" of a JSONL one are one.
Knows no sums.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import UsageFault
from batchroute.input.keep import unpack
from batchroute.store.columns import reserved_names
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchroute.types import Result

_NO_COLUMNS = pa.schema([])


@contextlib.contextmanager
def reading_kept(column: str) -> Iterator[None]:
    """UsageFault where the parts hold something in a kept column that is no text of any kind, as Parquet may."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        raise UsageFault(
            f"the kept column {column!r} cannot be read as text ({error}); name another one"
        ) from error


def kept_schema(run: Path) -> pa.Schema:
    """The kept columns as the parts have them; none where nothing is sealed yet."""
    parts = RunLayout(run).parts()
    if not parts:
        return _NO_COLUMNS
    ours = reserved_names(read_identity(RunLayout(run)).format)
    return pa.schema([field for field in pq.read_schema(parts[0]).remove_metadata() if field.name not in ours])


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """One kept column of one run as the columns `kept`, its text, and `has_kept`: whether it is on file for a row.

    It is not where the run does not keep it, nor for rows of failed.jsonl. `schema` has all kept columns.
    """

    name: str
    schema: pa.Schema

    def of_parts(self) -> tuple[pl.Expr, pl.Expr]:
        """From the columns of a part."""
        is_there = self.name in self.schema.names
        text = _as_text(self.name, self.schema) if is_there else pl.lit(None, pl.String)
        return text.alias("kept"), pl.lit(is_there).alias("has_kept")

    def of_results(self, results: Sequence[Result]) -> pl.DataFrame:
        """[n] from rows that stand in no part."""
        is_there = self.name in self.schema.names
        has_kept = [is_there and bool(result.keep) for result in results]
        texts: list[str | None] = [None] * len(results)
        if any(has_kept):
            table = unpack([result.keep for result in results if result.keep], self.schema).select([self.name])
            found = iter(pl.DataFrame(table).select(_as_text(self.name, self.schema)).to_series())
            texts = [next(found) if has else None for has in has_kept]
        return pl.DataFrame({"kept": texts, "has_kept": has_kept}, {"kept": pl.String, "has_kept": pl.Boolean})


def _as_text(column: str, schema: pa.Schema) -> pl.Expr:
    """The column as text; null stays null."""
    values, kind = pl.col(column), pl.DataFrame(pa.schema([schema.field(column)]).empty_table()).schema[column]
    if kind.is_nested() or kind == pl.Object:
        return values.map_batches(_json, return_dtype=pl.String)
    if kind == pl.Binary:
        return values.bin.encode("base64")
    if isinstance(kind, (pl.Datetime, pl.Time, pl.Duration)):
        return values.dt.to_string("iso:strict")
    return values.cast(pl.String)


def _json(values: pl.Series) -> pl.Series:
    texts = [None if value is None else _encoded(value) for value in values.to_list()]
    return pl.Series(texts, dtype=pl.String)


def _encoded(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
