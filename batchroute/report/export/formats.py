"""Tables as Parquet, JSON lines, CSV or batch output lines.

Each writer takes tables of one schema in their order and a binary stream. Parquet and JSON lines are exact; CSV is
for people, who open it in spreadsheets, so text that a spreadsheet would run as a formula is defused.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FORMULA_START = r"\A([=+\-@\t\r])"
_ROWS_AT_ONCE = 4096


def write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, stream: IO[bytes]) -> None:
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def write_jsonl(tables: Iterable[pa.Table], schema: pa.Schema, stream: IO[bytes]) -> None:
    """One object per row with every column; times are ISO 8601, binary is base64, NaN and infinity are null."""
    encoder = msgspec.json.Encoder()
    for rows in _rows(tables):
        stream.write(encoder.encode_lines(rows))


def write_csv(tables: Iterable[pa.Table], schema: pa.Schema, stream: IO[bytes], *, exact: bool) -> None:
    """Header and rows; what is neither text nor a number as its JSON text. Text is defused unless `exact`."""
    head = _csv_table(_without_nanoseconds(schema.empty_table()), exact=exact)
    with pa_csv.CSVWriter(stream, head.schema) as writer:
        for table in _slices(tables):
            writer.write_table(_csv_table(table, exact=exact))


def write_batch_lines(tables: Iterable[pa.Table], schema: pa.Schema, stream: IO[bytes]) -> None:
    """OpenAI batch output lines: the answer's whole body, or an error. The ids are our own, made of the place."""
    encoder = msgspec.json.Encoder()
    names = ["file", "row", "id", "status", "raw", "error_type", "error"]
    for rows in _rows(table.select(names) for table in tables):
        stream.write(encoder.encode_lines([_batch_line(row) for row in rows]))


def _slices(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        whole = _without_nanoseconds(table)
        for start in range(0, whole.num_rows, _ROWS_AT_ONCE):
            yield whole.slice(start, _ROWS_AT_ONCE)


def _rows(tables: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    try:
        yield from (table.to_pylist() for table in _slices(tables))
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


def _csv_table(table: pa.Table, *, exact: bool) -> pa.Table:
    columns = [_csv_column(column) for column in table.columns]
    names = pa.array(table.column_names)
    if not exact:
        names, columns = _defused(names), [_defused(column) for column in columns]
    return pa.table(columns, names=names.to_pylist())


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if _is_text(plain.type) or _is_number(plain.type) or pa.types.is_boolean(plain.type):
        return plain
    cells = [None if value is None else _json_cell(value) for value in plain.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _json_cell(value: Any) -> str:
    """JSON text; times and the like, which JSON writes as text, without the quotes."""
    encoded = msgspec.json.encode(value)
    return str(msgspec.json.decode(encoded)) if encoded.startswith(b'"') else encoded.decode()


def _defused(column: pa.Array) -> pa.Array:
    """Text that begins as a formula does gets an apostrophe in front, which spreadsheets take for "text"."""
    if not _is_text(column.type):
        return column
    return pc.replace_substring_regex(column, _FORMULA_START, r"'\1")


def _batch_line(row: dict[str, Any]) -> dict[str, Any]:
    place = f"{row['file']}:{row['row']}"
    line = {"id": f"batch_req_{place}", "custom_id": row["id"], "response": None, "error": None}
    if row["status"] == "ok" and row["raw"] is not None:
        # Line breaks in JSON can only stand between its tokens.
        body = msgspec.Raw(row["raw"].translate({10: " ", 13: " "}).encode())
        line["response"] = {"status_code": 200, "request_id": f"req_{place}", "body": body}
    else:
        code = row["error_type"] or "no_raw_body"
        line["error"] = {"code": code, "message": row["error"] or "the whole body of this answer was not kept"}
    return line
