"""Tables of results as what the formats write: rows of Python values, CSV cells, batch output lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batchroute.errors import UsageFault
from batchroute.report.export.completion import COMPLETION_COLUMNS, chat_completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FORMULA_START = r"\A([=+\-@\t\r])"
_ROWS_AT_ONCE = 4096
_BATCH_COLUMNS = ("file", "row", "id", "status", "raw", "error_type", "error", "request_id", *COMPLETION_COLUMNS)


def slices(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Few rows at a time, which as Python values take many times the memory."""
    for table in tables:
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            yield table.slice(start, _ROWS_AT_ONCE)


def rows_of(tables: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """Lists of rows; UsageFault where a kept column that is text by its type holds something else."""
    try:
        yield from (_without_nanoseconds(table).to_pylist() for table in slices(tables))
    except UnicodeDecodeError as error:
        raise UsageFault(
            f"a kept column is not UTF-8 text ({error}); export to .parquet, which is exact"
        ) from error


def _without_nanoseconds(table: pa.Table) -> pa.Table:
    """Times as Python has them, in microseconds; only kept columns can be finer."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            coarser = table.column(place).cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(place, field.name, coarser)
    return table


def write_lines(out: Path, chunks: Iterable[Iterable[dict[str, Any]]]) -> None:
    """Rows as lines of JSON, a chunk in memory at a time."""
    with out.open("wb") as stream:
        for rows in chunks:
            stream.write(msgspec.json.Encoder().encode_lines(rows))


def csv_table(table: pa.Table, *, exact: bool) -> pa.Table:
    """Columns of text, numbers and booleans only; names and text are defused unless `exact`."""
    columns = [_csv_column(column) for column in _without_nanoseconds(table).columns]
    names = pa.array(table.column_names)
    if not exact:
        names, columns = _defused(names), [_defused(column) for column in columns]
    return pa.table(columns, names=names.to_pylist())


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    is_number = pa.types.is_integer(plain.type) or pa.types.is_floating(plain.type)
    if is_number or _is_text(plain.type) or pa.types.is_boolean(plain.type):
        return plain
    cells = [None if value is None else _json_cell(value) for value in plain.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _json_cell(value: Any) -> str:
    """JSON text; times and the like, which JSON writes as text, without the quotes."""
    encoded = msgspec.json.encode(value)
    return str(msgspec.json.decode(encoded)) if encoded.startswith(b'"') else encoded.decode()


def _defused(column: pa.Array) -> pa.Array:
    """Text that begins as a formula does gets an apostrophe in front, which spreadsheets take for "text"."""
    if not _is_text(column.type):
        return column
    return pc.replace_substring_regex(column, _FORMULA_START, r"'\1")


def batch_rows(tables: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """Rows with what a batch line is made of, as far as their directory has it."""
    names = frozenset(_BATCH_COLUMNS)
    yield from rows_of(table.select([name for name in table.schema.names if name in names]) for table in tables)


def batch_line(row: dict[str, Any]) -> dict[str, Any]:
    """The line of one of `batch_rows`.

    Each asks for a chat completion, so the body is one; that of an answer by another API is made of its columns.
    """
    place = f"{row['file']}:{row['row']}"
    line = {"id": f"batch_req_{place}", "custom_id": row["id"], "response": None, "error": None}
    if row["status"] == "ok" and row["raw"] is not None:
        request_id = row.get("request_id") or f"req_{place}"
        line["response"] = {"status_code": 200, "request_id": request_id, "body": _batch_body(row, place)}
    else:
        code = row["error_type"] or "no_raw_body"
        line["error"] = {"code": code, "message": row["error"] or "the whole body of this answer was not kept"}
    return line


class _ChatBody(msgspec.Struct):
    choices: msgspec.Raw | None = None


_CHAT_BODY = msgspec.json.Decoder(_ChatBody)


def _batch_body(row: dict[str, Any], place: str) -> Any:
    raw = row["raw"]
    try:
        is_chat = _CHAT_BODY.decode(raw).choices is not None
    except msgspec.DecodeError:
        is_chat = True  # that was read nevertheless: it goes on as it came
    if not is_chat:
        return chat_completion(row, f"chatcmpl-{place}", int(row["finished_at"].timestamp()))
    return msgspec.Raw(raw.translate({10: " ", 13: " "}).encode())  # line breaks stand only between JSON's tokens
