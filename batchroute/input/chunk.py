"""Consecutive rows of one file, read in two ways: columns to score, prompts to send.

Knows nothing of file formats: `Records` hides them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batchroute.input.text import Replaced
from batchroute.types import Prompt, Questions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from batchroute.input.keep import Keep
    from batchroute.input.row import Row, RowReader, Unreadable, Values
    from batchroute.types import Vectors


# Rows, lines and positions of JSON lines, by example: a file of 34 bytes that begins with a byte order mark.
#
#     byte  0   EF BB BF
#     byte  3   {"prompt":"a"}\n     line 1, row 0
#     byte 18   \n                   line 2: blank, it uses row number 1 and makes no row
#     byte 19   {"prompt":"b"}\n     line 3, row 2
#
# Results name rows (0, 2), messages name lines as an editor does (1, 3). Only `\n` ends a line: a `\r` before it
# is space around JSON, U+2028 within a text is text. In chunks of one row:
#
#     position (file 0, row 0, offset  3), rows [0], end (file 0, row 1, offset 18)
#     position (file 0, row 2, offset 19), rows [2], end (file 0, row 3, offset 34)
#
# To read from the end (0, 1, 18) or from the position (0, 2, 19) is the same: blank lines are passed over. In
# Parquet every row counts, and the offset is the row number.
@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a chunk starts or ends.

    `file` is an index into the source's files, `row` the number of the row there, `offset` its byte in the
    (decompressed) text, or its row number in a Parquet file. `line` is the physical line it stands on, from 0.
    """

    file: int
    row: int
    offset: int
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Fields:
    """What a job reads of each row: its reader's columns, the vectors' column if any, the kept ones.

    `dim` is the length of the vectors; 0 as long as it is unknown.
    """

    columns: tuple[str, ...]
    vector: str | None
    dim: int
    keep: Keep

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        vectors = () if self.vector is None else (self.vector,)
        return list(dict.fromkeys([*self.columns, *vectors, *self.keep.columns]))


class Records(Protocol):
    """The undecoded rows of a chunk; `indices` are indices into them, `size` is about their bytes."""

    @property
    def size(self) -> int: ...

    def values(self, indices: NDArray[np.int64], replaced: Replaced) -> Iterable[Values | Unreadable]:
        """Each row's values, in the order of the reader's columns."""
        ...

    def vectors(self, indices: NDArray[np.int64]) -> Vectors | None:
        """[n, dim] vectors, NaN in rows without a usable one; None where the input brings no vectors."""
        ...

    def vector_length(self) -> int | None:
        """The length of the first vector that is not empty; None where there is none."""
        ...

    def keep(self, indices: NDArray[np.int64]) -> list[bytes]:
        """Each row's kept columns as one message (see `keep.pack`), b"" where none is kept."""
        ...

    def head(self, n: int) -> tuple[Records, int, int]:
        """The first n rows, and the offset and the line behind them."""
        ...

    def row_label(self, row: int) -> str:
        """A row as a message names it: `line 7` (1-based) of JSON lines, `row 6` (0-based) of Parquet."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one file, undecoded; at least one.

    `rows` [n] are their numbers, ascending; blank lines are not among them. `end` is where the next chunk starts.
    """

    file: str
    position: Position
    end: Position
    rows: NDArray[np.int64]
    records: Records
    reader: RowReader
    replaced: Replaced

    def questions(self, indices: NDArray[np.int64] | None = None) -> Questions:
        """The columns that scoring needs, of the rows at these indices into `rows`.

        Without `indices` of all n, and then they add to the source's count of lone surrogates.
        """
        replaced = self.replaced if indices is None else Replaced()
        wanted = np.arange(len(self.rows)) if indices is None else indices
        vectors, lacking = self._vectors(wanted)
        values = self.records.values(wanted, replaced)
        rows = [
            self.reader.read(row, replaced, lacks_vector=lacks) for row, lacks in zip(values, lacking, strict=True)
        ]
        return Questions(
            texts=[row.text for row in rows],
            ids=[row.id for row in rows],
            forced=[row.forced for row in rows],
            refused=np.fromiter((row.refusal is not None for row in rows), np.bool_, len(rows)),
            chars=np.fromiter((row.chars for row in rows), np.int64, len(rows)),
            vectors=vectors,
            media=[row.media for row in rows] if any(row.media is not None for row in rows) else (),
        )

    def prompts(self, indices: NDArray[np.int64]) -> list[Prompt]:
        """The prompts at these indices into `rows`; only they are decoded."""
        _, lacking = self._vectors(indices)
        values = self.records.values(indices, Replaced())
        numbers, kept = self.rows[indices].tolist(), self.records.keep(indices)
        return [
            self._prompt(number, self.reader.read(row, Replaced(), lacks_vector=lacks), keep)
            for number, row, lacks, keep in zip(numbers, values, lacking, kept, strict=True)
        ]

    def head(self, n: int) -> Chunk:
        """Its first n rows (at least one)."""
        if n >= len(self.rows):
            return self
        records, offset, line = self.records.head(n)
        end = Position(self.position.file, int(self.rows[n - 1]) + 1, offset, line)
        return replace(self, rows=self.rows[:n], end=end, records=records)

    def _vectors(self, indices: NDArray[np.int64]) -> tuple[Vectors | None, Iterable[bool]]:
        """The rows' vectors, zero where they lack one, and which rows do."""
        vectors = self.records.vectors(indices)
        if vectors is None:
            return None, repeat(False, len(indices))
        lacking = np.logical_not(np.isfinite(vectors).all(axis=1))
        if lacking.any():
            vectors = np.where(lacking[:, None], np.float32(0), vectors)
        return vectors, lacking.tolist()

    def _prompt(self, number: int, row: Row, keep: bytes) -> Prompt:
        if row.refusal is not None:
            refusal = f"{self.records.row_label(number)}: {row.refusal}"
            return Prompt(self.file, number, row.id, b"", None, keep, refusal)
        messages = self.reader.messages(row)
        return Prompt(
            self.file, number, row.id, messages, row.params, keep, media=row.media, inlined_bytes=row.inlined_bytes
        )
