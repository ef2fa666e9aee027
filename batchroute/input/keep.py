"""Input columns that are copied to the results: their schema, and the bytes that carry them through the journal.

An Arrow message for each row takes some ten microseconds, half of them to read it back; text, numbers and truth
values go as msgpack, which keeps them exactly, at a tenth of that. Knows nothing of how a row is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WHOLE_LINE = "*"  # as the name of a column of JSON: the line or the element itself
_WHOLE_LINE_SHOWN = "input"
# Text travels as its bytes: Parquet may hold some that is not UTF-8.
_AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
_PLAIN = frozenset(
    {
        *_AS_BYTES,
        *_AS_BYTES.values(),
        pa.bool_(),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64()),
    }
)


@dataclass(frozen=True, slots=True)
class Keep:
    """The kept columns: their names in the input, and their fields in the results in the same order."""

    columns: tuple[str, ...]
    schema: pa.Schema

    def messages(self, arrays: Mapping[str, pa.Array], rows: int) -> list[bytes]:
        """[rows] one message (see `pack`) for each row; a column that is not among `arrays` is null."""
        if not self.columns:
            return [b""] * rows
        filled = [
            _cast(arrays[name], field.type) if name in arrays else pa.nulls(rows, field.type)
            for name, field in zip(self.columns, self.schema, strict=True)
        ]
        return pack(pa.RecordBatch.from_arrays(filled, schema=self.schema))


def make_keep(
    wanted: Sequence[str], tables: Sequence[tuple[str, pa.Schema]], *, lines: bool, reserved: Iterable[str]
) -> Keep:
    """The kept columns over all files: `tables` are paths and schemas, `lines` says that JSON is among them.

    A name in `reserved` gets the prefix `input_`. InputFault for a column that is missing, and for one whose
    types in different files cannot become one.
    """
    columns = _expand(wanted, [schema for _, schema in tables], lines=lines)
    types = [_type(column, tables, lines=lines) for column in columns]
    shown = [_WHOLE_LINE_SHOWN if column == WHOLE_LINE and lines else column for column in columns]
    names = _free_names(shown, set(reserved))
    return Keep(columns, pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)]))


def _expand(wanted: Sequence[str], schemas: Sequence[pa.Schema], *, lines: bool) -> tuple[str, ...]:
    if (lines and not schemas) or WHOLE_LINE not in wanted:
        return tuple(dict.fromkeys(wanted))
    if lines:
        raise InputFault(
            'input.keep: "*" is one column of JSON, but all of other formats; name the columns, or use one format'
        )
    return tuple(dict.fromkeys(name for schema in schemas for name in schema.names))


def _type(column: str, tables: Sequence[tuple[str, pa.Schema]], *, lines: bool) -> pa.DataType:
    """The one type of a column over all files that have it."""
    found = pa.string() if lines else None
    for path, schema in tables:
        if column not in schema.names:
            continue
        here = plain_type(schema.field(column).type)
        try:
            found = here if found is None else _common(found, here)
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            raise InputFault(
                f"{path}: column {column!r} is {here}, but {found} in the files before; input.keep needs one type"
            ) from None
    return found


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([pa.field("column", kind)]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _free_names(columns: Sequence[str], taken: set[str]) -> list[str]:
    """The columns' names in the results: a clash gets the prefix `input_`, again if that clashes too."""
    others = {column for column in columns if column not in taken}
    names = []
    for column in columns:
        name = column
        while name in taken or (name != column and name in others):
            name = f"input_{name}"
        taken.add(name)
        names.append(name)
    return names


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, which a single row's message would carry whole; all nullable."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_string_view(kind):
        return pa.string()
    return pa.binary() if types.is_binary_view(kind) else kind


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)


def pack(batch: pa.RecordBatch) -> list[bytes]:
    """[rows] one message for each row; `unpack` takes the batch's schema to read it."""
    if not _is_plain(batch.schema):
        return [batch.slice(row, 1).serialize().to_pybytes() for row in range(batch.num_rows)]
    columns = [column.view(_AS_BYTES.get(column.type, column.type)).to_pylist() for column in batch.columns]
    return list(map(msgspec.msgpack.Encoder().encode, zip(*columns, strict=True)))


def unpack(messages: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """The rows of these messages, in their order, with the types they had."""
    if not messages or not len(schema):
        return schema.empty_table()
    if not _is_plain(schema):
        return pa.Table.from_batches([pa.ipc.read_record_batch(pa.py_buffer(row), schema) for row in messages])
    columns = zip(*map(msgspec.msgpack.Decoder().decode, messages), strict=True)
    arrays = [
        pa.array(values, _AS_BYTES.get(field.type, field.type)).view(field.type)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_plain(schema: pa.Schema) -> bool:
    return all(field.type in _PLAIN for field in schema)
