"""Parquet files -> batches of about equal bytes, in memory bounded whatever the file holds; the rows of a batch.

Knows nothing of what the columns mean but for the types they need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import InputFault, Stopped
from batchroute.input.arrow import described, fits, has_nested_dictionary, list_lengths, matrix, to_python
from batchroute.input.file import FileHead
from batchroute.input.names import instead_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from batchroute.input.chunk import Fields
    from batchroute.input.file import InputFile
    from batchroute.input.row import Kind, Unreadable, Values
    from batchroute.input.split import ChunkLimits
    from batchroute.input.text import Replaced
    from batchroute.types import Vectors


_Item = TypeVar("_Item")

# A page that is one value's index repeated decodes to far more than the metadata says: read in small pieces.
_PIECE_ROWS = 512
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive row groups that are read together: one, or several small ones."""

    groups: list[int]
    first: int
    rows: int
    piece_rows: int


def open_parquet(file: InputFile) -> pq.ParquetFile:
    """The file with its metadata read; InputFault where it is none. Its memory stays small whatever its size."""
    whole = file.open_whole()
    # What Arrow reads by itself it reads faster than through Python.
    source = whole if whole.size() <= file.size else FileHead(file, whole)
    try:
        return pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise InputFault(f"{file.path}: not a readable Parquet file: {error}; {_what_instead(file)}") from error


def _what_instead(file: InputFile) -> str:
    with file.open() as head:
        if head.read(len(_MAGIC)) == _MAGIC:
            return "its end is missing, write or fetch it again"
    return 'if it holds JSON lines, name it .jsonl or set input.format = "jsonl"'


def check_columns(file: InputFile, schema: pa.Schema, needs: Iterable[tuple[str, Kind]]) -> None:
    """InputFault for a column that the file lacks, or whose type cannot be what it is needed for."""
    path = file.path
    for name, kind in needs:
        if name not in schema.names:
            raise InputFault(f"{path}: no column {name!r}; {instead_of(name, schema.names)}")
        if schema.names.count(name) > 1:
            raise InputFault(f"{path}: several columns are called {name!r}; rename all but one")
        found = schema.field(name).type
        if not fits(found, kind):
            raise InputFault(f"{path}: column {name!r} is {found}, but {described(kind)} is wanted")


def spans(metadata: pq.FileMetaData, columns: Sequence[str], rows: int, chunk_bytes: int) -> Iterator[Span]:
    """The file's row groups in runs of at most `rows` rows and `chunk_bytes`, or one by one if they are larger."""
    leaves = [leaf for leaf in range(metadata.num_columns) if _within(metadata.schema.column(leaf).path, columns)]
    infos = ((group, metadata.row_group(group)) for group in range(metadata.num_row_groups))
    sized = (
        (group, info.num_rows, sum(info.column(leaf).total_uncompressed_size for leaf in leaves))
        for group, info in infos
    )
    first = 0
    for run in _runs(sized, rows, chunk_bytes):
        total_rows, total_bytes = sum(count for _, count, _ in run), sum(size for _, _, size in run)
        fitting = chunk_bytes * total_rows // max(total_bytes, 1)
        yield Span([group for group, _, _ in run], first, total_rows, max(1, min(fitting, _PIECE_ROWS)))
        first += total_rows


def _runs(
    sized: Iterable[tuple[_Item, int, int]], rows: int, chunk_bytes: int
) -> Iterator[list[tuple[_Item, int, int]]]:
    """(item, rows, bytes) in runs of at most so many rows and bytes; a larger item is a run of its own."""
    run: list[tuple[_Item, int, int]] = []
    held_rows = held_bytes = 0
    for item, count, size in sized:
        if run and (held_rows + count > rows or held_bytes + size > chunk_bytes):
            yield run
            run, held_rows, held_bytes = [], 0, 0
        run.append((item, count, size))
        held_rows += count
        held_bytes += size
    if run:
        yield run


def _within(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def batches(
    opened: pq.ParquetFile, span: Span, columns: Sequence[str], rows: int, chunk_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The span's rows in batches of at most `rows` rows and about `chunk_bytes`, at least one row each."""
    pieces = opened.iter_batches(span.piece_rows, row_groups=span.groups, columns=columns)
    parts = (part for piece in pieces for part in _halved(piece, chunk_bytes, rows))
    # By map, which holds no run while the next one is read.
    return map(_joined, _runs(((part, part.num_rows, part.nbytes) for part in parts), rows, chunk_bytes))


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


def _joined(run: Sequence[tuple[pa.RecordBatch, int, int]]) -> pa.RecordBatch:
    parts = [part for part, _, _ in run]
    if len(parts) == 1:
        return parts[0]
    table = pa.Table.from_batches(parts).combine_chunks()
    return table.to_batches()[0]


@dataclass(frozen=True, slots=True)
class ColumnRecords:
    """The rows of a batch, the first of which is row `first` of its file."""

    fields: Fields
    batch: pa.RecordBatch
    first: int

    @property
    def size(self) -> int:
        """See `chunk.Records`."""
        return int(self.batch.nbytes)

    def values(self, indices: NDArray[np.int64], _replaced: Replaced) -> Iterator[Values | Unreadable]:
        """See `chunk.Records`."""
        columns = [to_python(self._taken(name, indices)) for name in self.fields.columns]
        return zip(*columns, strict=True) if columns else iter([()] * len(indices))

    def vectors(self, indices: NDArray[np.int64]) -> Vectors | None:
        """See `chunk.Records`."""
        if self.fields.vector is None:
            return None
        array, dim = self._taken(self.fields.vector, indices), self.fields.dim
        usable = list_lengths(array) == dim
        if usable.all():
            return matrix(array, dim)
        vectors = np.full((len(array), dim), np.nan, np.float32)
        if usable.any():
            vectors[usable] = matrix(array.filter(pa.array(usable)), dim)
        return vectors

    def vector_length(self) -> int | None:
        """See `chunk.Records`."""
        lengths = list_lengths(self.batch.column(self.fields.vector))
        return next((int(length) for length in lengths if length > 0), None)

    def keep(self, indices: NDArray[np.int64]) -> list[bytes]:
        """See `chunk.Records`."""
        here = [name for name in self.fields.keep.columns if name in self.batch.schema.names]
        return self.fields.keep.messages({name: self._taken(name, indices) for name in here}, len(indices))

    def head(self, n: int) -> tuple[ColumnRecords, int, int]:
        """See `chunk.Records`."""
        return replace(self, batch=self.batch.slice(0, n)), self.first + n, 0

    def row_label(self, row: int) -> str:
        """See `chunk.Records`."""
        return f"row {row}"

    def _taken(self, name: str, indices: NDArray[np.int64]) -> pa.Array:
        array = self.batch.column(name)
        return array if len(indices) == len(array) else array.take(pa.array(indices))
