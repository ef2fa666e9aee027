"""Result parts: sealed, immutable Parquet files of one schema, and the way from a journal to a part.

Sealing reads nothing but the journal, so a seal in the middle of a run and one after a crash are the same. Beside
each part, in a folder of their own, lie the fingerprints of the requests that its ok rows answer, in their order.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.input.keep import unpack
from batchroute.store.columns import ResultColumns, Use, names_with
from batchroute.store.files import whole_file
from batchroute.store.journal import read_at, read_ends
from batchroute.store.layout import fingerprints_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Result

ROWS_AT_ONCE = 1_000  # as Python objects, which take twice the room of columns


def seal(journal: Path, part: Path, columns: ResultColumns) -> None:
    """Writes a journal's settled rows, if it has any, as one part; of several records of a row the last counts.

    The part appears whole and durable under its name, or not at all; the fingerprints are there before it.
    """
    last = {(end.file, end.row): (end.status, place) for end, place in read_ends(journal)}
    settled = [place for _, (status, place) in sorted(last.items()) if status in {"ok", "refused"}]
    if settled:
        fingerprints: list[bytes] = []
        tables: list[pa.Table] = []
        results = read_at(journal, settled)
        while batch := list(islice(results, ROWS_AT_ONCE)):
            fingerprints += [result.fingerprint for result in batch if result.status == "ok"]
            tables.append(table_of(batch, columns))
        write_part(fingerprints_of(part), pa.table({"fingerprint": pa.array(fingerprints, pa.binary())}))
        write_part(part, pa.concat_tables(tables))


def table_of(results: Sequence[Result], columns: ResultColumns) -> pa.Table:
    """Columns of rows; the kept columns come back from their messages with their types."""
    own = [pa.array(list(map(attrgetter(field.name), results)), type=field.type) for field in columns.own]
    kept = unpack([result.keep for result in results], columns.keep)
    return pa.Table.from_arrays([*own, *kept.columns], schema=columns.schema)


def write_part(part: Path, table: pa.Table) -> None:
    """One row group, since every write would make its own; durable before it has its name."""
    with whole_file(part, folder=part.parent.parent) as unfinished:  # beside it only parts may lie
        pq.write_table(
            table,
            unfinished,
            compression="zstd",
            row_group_size=max(1, table.num_rows),
            use_dictionary=[name for name in names_with(Use.REPEATS) if name in table.schema.names],
        )
