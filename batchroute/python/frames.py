"""Frames of other libraries -> one Arrow table -> the Parquet file that a run directory keeps as its input.

The file lies in the run directory, so that a run is whole without the notebook that began it. A digest of the
rows tells whether the same frame comes again. Knows nothing of what its columns mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import InputFault, RunFault
from batchroute.input.keep import plain_type
from batchroute.store.files import saving, whole_file
from batchroute.store.identity import find_identity
from batchroute.store.layout import RunLayout
from batchroute.store.lock import locked
from batchroute.store.unsealed import has_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

_DIGEST = b"batchroute.digest"
_GROUP_ROWS = 65_536


class ArrowStream(Protocol):
    """What gives its rows as Arrow: frames of polars and pandas, Arrow tables, relations of DuckDB ..."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


# A list holds rows as dictionaries, or prompts, which make a column `prompt`.
Frame: TypeAlias = "ArrowStream | pl.LazyFrame | Sequence[Mapping[str, Any]] | Sequence[str]"


def table_of(frame: object) -> pa.Table:
    """The rows of a frame in types that do not depend on the library it comes from.

    An index of pandas becomes columns, unless it only counts the rows. InputFault for what is no frame, or has
    columns that Arrow has no type for.
    """
    library = type(frame).__module__.partition(".")[0]
    if library not in _READERS and hasattr(frame, "__arrow_c_stream__"):
        library = "pyarrow"
    try:
        table = _READERS[library](frame) if library in _READERS else None
    except Exception as error:  # whatever its library raises
        raise InputFault(f"the frame cannot be read: {error}; give its columns plain types") from error
    if not isinstance(table, pa.Table):
        raise InputFault(
            f"a {type(frame).__name__} is no input; give a job, a path, a list, or a frame of polars, pandas or "
            "Arrow"
        )
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputFault(f"the frame has two columns {twice!r}; rename one")
    return pa.table({name: _plain(table[name]) for name in names}) if names else table


def _stream(frame: Any) -> pa.Table:
    return pa.table(frame)


def _polars(frame: Any) -> pa.Table:
    import polars as pl  # noqa: PLC0415 - the caller has it

    found = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    odd = [name for name, kind in getattr(found, "schema", {}).items() if kind == pl.Object]
    if odd:
        raise TypeError(f"{odd[0]!r} holds Python objects")
    return found.to_arrow()


def _pandas(frame: Any) -> pa.Table | None:
    if not hasattr(frame, "columns"):  # a single column, or an index
        return None
    table = pa.Table.from_pandas(frame.set_axis(map(str, frame.columns), axis=1))
    taken = set(table.column_names)
    names = []
    for name in table.column_names:
        shown = name
        if name.startswith("__index_level_"):  # an index without a name, or with a column's
            free = (f"index{suffix}" for suffix in ("", *(f"_{number}" for number in range(len(taken)))))
            shown = next(each for each in free if each not in taken)
            taken.add(shown)
        names.append(shown)
    return table.rename_columns(names)


def _datasets(frame: Any) -> pa.Table:
    return frame.with_format("arrow")[:]


def _listed(frame: Any) -> pa.Table | None:
    import polars as pl  # noqa: PLC0415 - slow to import

    if not isinstance(frame, list | tuple):
        return None
    if all(isinstance(row, str) for row in frame):
        return pa.table({"prompt": pa.array(frame, pa.large_string())})
    return pl.from_dicts(frame, infer_schema_length=None).to_arrow()


# By the library that has the type; `builtins` are lists and tuples.
_READERS: dict[str, Callable[[Any], pa.Table | None]] = {
    "pyarrow": _stream,
    "polars": _polars,
    "pandas": _pandas,
    "datasets": _datasets,
    "builtins": _listed,
}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    while isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    kind = plain_type(column.type)
    return column.cast(pa.large_string() if pa.types.is_string(kind) else kind)


class _HashingFile(io.RawIOBase):
    """Forgets what is written to it, but for its digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, block: Any) -> int:
        self.digest.update(block)
        size = memoryview(block).nbytes
        self._size += size
        return size


def digest_of(table: pa.Table) -> str:
    """The same for the same columns with the same values, in whatever pieces they lie in memory.

    Arrow leaves open what stands under a null; Parquet writes only what is there. Of a Parquet file all counts but
    its end, which names the version that wrote it. InputFault for a column that Parquet has no type for.
    """
    file = _HashingFile()
    file.digest.update(str([(field.name, field.type) for field in table.schema]).encode())
    with (
        _parquet_types(),
        pq.ParquetWriter(
            file, table.schema, compression="none", use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        for start in range(0, table.num_rows, _GROUP_ROWS):
            writer.write_table(table.slice(start, _GROUP_ROWS).combine_chunks())
        return file.digest.hexdigest()


def keep_frame(run: Path, table: pa.Table, mode: int) -> None:
    """Makes the table the input of the directory `run`, where it is not; RunFault where that has other answers."""
    layout, digest = RunLayout(run), digest_of(table).encode()
    with locked(run, mode):
        find_identity(layout)
        if _stored(layout.frame) == digest:
            return
        if has_answers(layout):
            raise RunFault(
                f"{run}: has answers to other rows ({_change(layout.frame, table)}); name another output, where "
                f'settings={{"input.reuse": "{run}"}} takes over the answers of rows that are the same'
            )
        with saving(layout.frame), whole_file(layout.frame) as unfinished:
            write_table(table.replace_schema_metadata({_DIGEST: digest}), unfinished)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes it as Parquet; InputFault for a column that Parquet has no type for."""
    with _parquet_types():
        pq.write_table(table, path, compression="zstd", row_group_size=_GROUP_ROWS)


@contextlib.contextmanager
def _parquet_types() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise InputFault(f"the frame cannot be kept as Parquet: {error}; leave that column out") from error


def _stored(path: Path) -> bytes | None:
    metadata = pq.read_schema(path).metadata if path.exists() else None
    return None if metadata is None else metadata.get(_DIGEST)


def _change(path: Path, table: pa.Table) -> str:
    """What differs, as far as it is seen at a glance."""
    if not path.exists():
        return "it was begun with files, not with a frame"
    with pq.ParquetFile(path) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
    if names != table.column_names:
        return f"columns {', '.join(names)}; here {', '.join(table.column_names)}"
    if rows != table.num_rows:
        return f"{rows:,} rows; here {table.num_rows:,}"
    return "the same columns and rows; here other values"
