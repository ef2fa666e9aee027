"""Result parts back in input order, in memory that does not grow with them.

A part holds the rows that happened to finish together, so one stretch of the input may lie in many parts. The
rows are dealt out to buckets first, each a stretch of the input small enough to be sorted in memory, and the
buckets are read back in turn: every byte is read and written once. Knows parts and places, no output format.

Example: 3 parts with 9,000 rows of one file, and room for 4,096 rows in a bucket. Rows are counted in blocks of
1,024: blocks 0 to 7 are full, block 8 has the last 808. Buckets begin with the blocks 0, 4 and 8 (after 0, 4,096
and 8,192 rows). The parts are read one after the other, and each stretch of rows of one bucket is appended to its
file in the spill directory. Then bucket 0 is read whole, sorted, given out and deleted, then 1, then 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BUCKET_BYTES = 32 << 20
# A bucket is an open file while rows are dealt out; beyond this many they grow instead.
MAX_BUCKETS = 400
# Rows of a file are counted in blocks of this many, which is how finely buckets are cut.
_BLOCK_ROWS = 1024
_FILE_STRIDE = 1 << 40  # blocks that one file may have


@dataclass(frozen=True, slots=True)
class InputOrder:
    """Where a row stands: `ranks` of the files, then the row number. Entry i of `starts` opens bucket i."""

    ranks: Mapping[str, int]
    starts: NDArray[np.int64]

    def file_ranks(self, table: pa.Table) -> NDArray[np.int64]:
        names = table["file"].combine_chunks().dictionary_encode()
        ranks = np.array([self.ranks[name] for name in names.dictionary.to_pylist()], np.int64)
        codes: NDArray[np.int32] = names.indices.to_numpy()
        return ranks[codes]

    def buckets(self, table: pa.Table) -> NDArray[np.int64]:
        """[n] the bucket that each row belongs to."""
        rows: NDArray[np.int64] = table["row"].to_numpy()
        blocks = self.file_ranks(table) * _FILE_STRIDE + rows // _BLOCK_ROWS
        return np.searchsorted(self.starts, blocks, side="right") - 1


def tables_in_order(
    parts: Sequence[Path], files: Sequence[str], spill: Path, *, bucket_bytes: int = BUCKET_BYTES
) -> Iterator[pa.Table]:
    """The rows of all parts, as tables of consecutive rows in the order of `files`, then by row number.

    Files that are not named come last. `spill` is an empty directory for as much data as the parts hold; a few
    times `bucket_bytes` are held in memory.
    """
    footers = [pq.read_metadata(part) for part in parts]
    rows = sum(footer.num_rows for footer in footers)
    size = sum(footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups))
    row_bytes = max(1, size // max(1, rows))
    order = _order(parts, files, max(bucket_bytes // row_bytes, rows // MAX_BUCKETS, 1))
    _deal_out(parts, order, spill, max(1, bucket_bytes // 4 // row_bytes))
    for number in range(len(order.starts)):
        yield _sorted(_take_back(_bucket_path(spill, number)), order)


def _order(parts: Sequence[Path], files: Sequence[str], bucket_rows: int) -> InputOrder:
    block = pl.col("row") // _BLOCK_ROWS
    counts = pl.scan_parquet(list(parts)).group_by("file", block.alias("block")).len().collect()
    unlisted = sorted(set(counts["file"].unique()) - set(files))
    ranks = {name: rank for rank, name in enumerate((*files, *unlisted))}
    rank = pl.col("file").replace_strict(ranks, return_dtype=pl.Int64)
    placed = counts.select(place=rank * _FILE_STRIDE + pl.col("block"), rows="len").sort("place")
    before = placed["rows"].cum_sum().to_numpy() - placed["rows"].to_numpy()
    _, first = np.unique(before // bucket_rows, return_index=True)
    return InputOrder(ranks, placed["place"].to_numpy()[first])


def _deal_out(parts: Sequence[Path], order: InputOrder, spill: Path, batch_rows: int) -> None:
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    for part in parts:
        # The defaults read far ahead: whole columns of a row group that is a whole part.
        with pq.ParquetFile(part, pre_buffer=False, buffer_size=1 << 20) as reader:
            for batch in reader.iter_batches(batch_rows):
                for number, table in _split(pa.Table.from_batches([batch]), order):
                    if number not in writers:
                        path = str(_bucket_path(spill, number))
                        writers[number] = pa.ipc.new_stream(path, table.schema, options=options)
                    writers[number].write_table(table)
    for writer in writers.values():
        writer.close()


def _split(table: pa.Table, order: InputOrder) -> Iterator[tuple[int, pa.Table]]:
    """Stretches of rows of the same bucket; a part is sorted, so they are few."""
    buckets = order.buckets(table)
    edges = [0, *(np.flatnonzero(np.diff(buckets)) + 1), len(buckets)]
    for start, stop in pairwise(edges):
        if start < stop:
            yield int(buckets[start]), table.slice(start, stop - start)


def _take_back(path: Path) -> pa.Table:
    with pa.ipc.open_stream(str(path)) as reader:
        table = reader.read_all()
    path.unlink()
    return table.unify_dictionaries().combine_chunks()


def _sorted(table: pa.Table, order: InputOrder) -> pa.Table:
    places = np.lexsort((table["row"].to_numpy(), order.file_ranks(table)))
    return table.cast(_takeable(table.schema)).take(places).cast(table.schema)


def _takeable(schema: pa.Schema) -> pa.Schema:
    """The same columns in types that rows can be taken from: Arrow cannot do that with string views."""
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.schema([field.with_type(views.get(field.type, field.type)) for field in schema])


def _bucket_path(spill: Path, number: int) -> Path:
    return spill / f"bucket-{number:04d}"
