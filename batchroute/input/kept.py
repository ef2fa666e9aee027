"""The kept columns of one row as bytes, for the journal, and many such rows as columns again.

An Arrow message for each row takes some ten microseconds, half of them to read it back; text, numbers and truth
values go as msgpack, which keeps them exactly, at a tenth of that. Knows nothing of where the columns come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

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
