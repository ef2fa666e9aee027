"""Parquet files -> batches of about equal bytes, in memory bounded whatever the file holds.

Knows nothing of what the columns mean but for the types they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import InputFault, Stopped
from batchroute.input.arrow import described, fits, has_nested_dictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchroute.input.chunk import Fields
    from batchroute.input.files import InputFile
    from batchroute.input.lines import ChunkLimits
    from batchroute.input.row import Kind

# A page that is one value's index repeated decodes to far more than the metadata says: read in small pieces.
_PIECE_ROWS = 512


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive row groups that are read together: one, or several small ones."""

    groups: list[int]
    first: int
    rows: int
    piece_rows: int


def open_parquet(file: InputFile) -> pq.ParquetFile:
    """The file with its metadata read; InputFault where it is none. Its memory stays small whatever its size."""
    try:
        return pq.ParquetFile(file.open(), pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise InputFault(f"{file.path}: not a readable Parquet file: {error}") from error


def check_columns(file: InputFile, schema: pa.Schema, needs: Iterable[tuple[str, Kind]]) -> None:
    """InputFault for a column that the file lacks, or whose type cannot be what it is needed for."""
    path, there = file.path, ", ".join(schema.names)
    for name, kind in needs:
        if name not in schema.names:
            raise InputFault(f"{path}: no column {name!r}; it has {there or 'no columns'}")
        if schema.names.count(name) > 1:
            raise InputFault(f"{path}: several columns are called {name!r}; rename all but one")
        found = schema.field(name).type
        if not fits(found, kind):
            raise InputFault(f"{path}: column {name!r} is {found}, but {described(kind)} is wanted")


def spans(metadata: pq.FileMetaData, columns: Sequence[str], rows: int, chunk_bytes: int) -> Iterator[Span]:
    """The file's row groups in runs of at most `rows` rows and `chunk_bytes`, or one by one if they are larger."""
    leaves = [leaf for leaf in range(metadata.num_columns) if _within(metadata.schema.column(leaf).path, columns)]
    groups: list[int] = []
    first = total_rows = total_bytes = 0
    for group in range(metadata.num_row_groups):
        info = metadata.row_group(group)
        size = sum(info.column(leaf).total_uncompressed_size for leaf in leaves)
        if groups and (total_rows + info.num_rows > rows or total_bytes + size > chunk_bytes):
            yield _span(groups, first, total_rows, total_bytes, chunk_bytes)
            groups, first, total_rows, total_bytes = [], first + total_rows, 0, 0
        groups.append(group)
        total_rows += info.num_rows
        total_bytes += size
    if total_rows:
        yield _span(groups, first, total_rows, total_bytes, chunk_bytes)


def _within(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def _span(groups: list[int], first: int, rows: int, size: int, chunk_bytes: int) -> Span:
    fitting = chunk_bytes * rows // max(size, 1)
    return Span(groups, first, rows, max(1, min(fitting, _PIECE_ROWS)))


def batches(
    opened: pq.ParquetFile, span: Span, columns: Sequence[str], rows: int, chunk_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The span's rows in batches of at most `rows` rows and about `chunk_bytes`, at least one row each."""
    pending: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    for piece in opened.iter_batches(span.piece_rows, row_groups=span.groups, columns=columns):
        for part in _halved(piece, chunk_bytes, rows):
            if pending and (held_rows + part.num_rows > rows or held_bytes + part.nbytes > chunk_bytes):
                yield _joined(pending)
                pending, held_rows, held_bytes = [], 0, 0
            pending.append(part)
            held_rows += part.num_rows
            held_bytes += part.nbytes
    if pending:
        yield _joined(pending)


def read_from(
    file: InputFile, opened: pq.ParquetFile, row: int, fields: Fields, limits: ChunkLimits
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches from this row on, each with the number of its first row; row groups before it are not read.

    InputFault where the file is broken, Stopped where it cannot be reached any longer.
    """
    schema = opened.schema_arrow
    columns = [name for name in fields.names if name in schema.names] or schema.names[:1]
    # pyarrow cannot join what several row groups hold of a dictionary within a list or a struct.
    alone = any(has_nested_dictionary(schema.field(name).type) for name in columns)
    for span in spans(opened.metadata, columns, 1 if alone else limits.rows, limits.chunk_bytes):
        first = span.first
        if first + span.rows <= row:
            continue
        for batch in _guarded(file, batches(opened, span, columns, limits.rows, limits.chunk_bytes)):
            skipped = max(row - first, 0)
            if skipped < batch.num_rows:
                yield first + skipped, batch.slice(skipped)
            first += batch.num_rows


def _guarded(file: InputFile, read: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield from read
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise Stopped(f"{file.path}: cannot be read any further: {error}; run again to go on") from error
        raise InputFault(f"{file.path}: a broken Parquet file: {error}; write it again") from error


def _halved(batch: pa.RecordBatch, chunk_bytes: int, rows: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= 1 or (batch.nbytes <= chunk_bytes and batch.num_rows <= rows):
        yield batch
        return
    half = batch.num_rows // 2
    yield from _halved(batch.slice(0, half), chunk_bytes, rows)
    yield from _halved(batch.slice(half), chunk_bytes, rows)


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    table = pa.Table.from_batches(parts).combine_chunks()
    return table.to_batches()[0]
