"""A stream of bytes -> blocks of whole records, in bounded memory whatever it holds.

A record is the text of one row: a line, an element of a JSON array, a record of CSV. Where one begins and ends its
`Framing` says; what it means is not known here.

What bounds the memory, with the sizes of `ChunkLimits` (4096 rows, 4 MiB a chunk, 64 MiB a record), by example:

    1000 lines of 1 KiB           within one block, with as many more as fit into 4 MiB
    a line of 5 MiB               a block of its own, joined from two reads
    a line of 10 GiB              read to its end in pieces, none of them kept: a block of one `Unreadable`
    10 MB of gzip that unpack     the same: the cap is on unpacked bytes, of which 64 KiB come at a time
    to 10 GiB without a newline
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from batchroute.input.row import Unreadable
from batchroute.input.unpack import TornStream

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

Record: TypeAlias = bytes | Unreadable
State: TypeAlias = tuple[int, int]  # within what an unended record stands, and how deep: its framing's own

START: State = (0, 0)
BOM = b"\xef\xbb\xbf"
_NEWLINE = 10


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What is one chunk: at most `rows` records and about `chunk_bytes`; one over `line_bytes` is not read."""

    rows: int = 4096
    chunk_bytes: int = 4 << 20
    line_bytes: int = 64 << 20


class Place(NamedTuple):
    """Where a record starts or ends: what comes before it."""

    row: int
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The whole records at the beginning of some bytes, whose `size` and `newlines` they use up.

    Of each, counted from there: the line on which it begins, the byte behind it, and the line this stands on.
    """

    records: Sequence[bytes]
    lines: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines_behind: NDArray[np.int64]
    size: int
    newlines: int


def cut_at(data: bytes, starts: Sequence[int], ends: Sequence[int]) -> Cut:
    """The records that start and end at these bytes."""
    size = ends[-1] if ends else 0
    records = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8, size) == _NEWLINE)
    lines, lines_behind = np.searchsorted(newlines, starts), np.searchsorted(newlines, ends)
    return Cut(records, lines, np.array(ends, np.int64), lines_behind, size, len(newlines))


def past(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Behind what the pattern matches at this byte."""
    found = pattern.match(data, at)
    return at if found is None else found.end()


class Framing(Protocol):
    """Where the records of a format begin and end. `counts_lines`: a row's number is that of its physical line."""

    @property
    def counts_lines(self) -> bool: ...

    def opening(self, data: bytes) -> int:
        """How many bytes at the beginning of a file stand before its first record."""
        ...

    def gap(self, data: bytes, at: int) -> int:
        """Where the next record begins, at `at` or behind it."""
        ...

    def cut(self, data: bytes, most: int) -> Cut:
        """Up to so many whole records, the first of which stands at the beginning of `data`."""
        ...

    def end(self, data: bytes, state: State) -> tuple[int, State]:
        """Where a record ends of which `data` is the next bytes; else -1, and the state behind them."""
        ...

    def last(self, data: bytes, fault: str | None) -> Record | None:
        """What stands at the end of a file, behind the last record that has an end.

        A whole record; `Unreadable`, behind which nothing can follow; or None. `fault` says why the file ends.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Consecutive records from one place to another; blank ones are left out, and there may be none.

    `rows` [n] are their numbers, `lines` [n] the physical lines (from 0) on which they begin. `ends` [n] are the
    bytes behind them, `lines_behind` [n] the lines these stand on. `end` is None where nothing more can come of
    the file.
    """

    start: Place
    end: Place | None
    records: Sequence[Record]
    rows: NDArray[np.int64]
    lines: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines_behind: NDArray[np.int64]


@dataclass(slots=True)
class Splitter:
    """Cuts a stream into blocks; where one ends depends on the bytes behind its start alone.

    `read(n)` returns up to n bytes, none at the end, and may raise TornStream; it stands at `offset`, the start of
    the file or of record `row`, on physical line `line`, or behind the record before.
    """

    read: Callable[[int], bytes]
    limits: ChunkLimits
    framing: Framing
    row: int = 0
    line: int = 0
    offset: int = 0
    _buffer: bytes = b""
    _ended: bool = False
    _torn: str | None = None
    _is_over: bool = False

    def __iter__(self) -> Iterator[RecordBlock]:
        self._fill()
        if self.offset == 0 and self._buffer:
            self._pass_opening(self.framing.opening(self._buffer))
        while not self._is_over:
            self._to_record()
            if (block := self._block()) is not None:
                yield block

    def _pass_opening(self, size: int) -> None:
        while size and self._buffer:
            here = min(size, len(self._buffer))
            self._pass(here)
            self._fill()
            size -= here

    def _to_record(self) -> None:
        """Passes over what stands before the next record."""
        self._fill()
        while gap := self.framing.gap(self._buffer, 0):
            self._pass(gap)
            self._fill()

    def _block(self) -> RecordBlock | None:
        cut = self.framing.cut(self._buffer, self.limits.rows)
        if cut.size:
            return self._taken(cut)
        return self._last() if self._ended else self._long_record()

    def _taken(self, cut: Cut) -> RecordBlock:
        start = self._here()
        self._buffer = self._buffer[cut.size :]
        self._count(cut.size, cut.newlines, len(cut.records))
        rows = cut.lines if self.framing.counts_lines else np.arange(len(cut.records))
        row, line, offset = start
        return RecordBlock(
            start,
            self._here(),
            cut.records,
            row + rows,
            line + cut.lines,
            offset + cut.ends,
            line + cut.lines_behind,
        )

    def _long_record(self) -> RecordBlock | None:
        """One record that is longer than a block; what is too long even for a record is skipped, not held."""
        parts, size, newlines = [self._buffer], len(self._buffer), self._buffer.count(b"\n")
        end, state = self.framing.end(self._buffer, START)
        self._buffer = b""
        while end < 0 and (block := self._read(self.limits.chunk_bytes)):
            end, state = self.framing.end(block, state)
            piece, self._buffer = (block, b"") if end < 0 else (block[:end], block[end:])
            size += len(piece)
            newlines += piece.count(b"\n")
            parts = [*parts, piece] if size <= self.limits.line_bytes else []
        if not parts:
            return self._only(Unreadable(f"longer than {self.limits.line_bytes >> 20} MiB"), size, newlines)
        rest, self._buffer = self._buffer, b"".join(parts)
        if end < 0:
            return self._last()
        cut = self.framing.cut(self._buffer, 1)
        self._buffer += rest
        return self._taken(cut)

    def _last(self) -> RecordBlock | None:
        """What stands at the end of the file."""
        data, self._buffer = self._buffer, b""
        record = self.framing.last(data, self._torn)
        self._is_over = not isinstance(record, bytes)
        return None if record is None else self._only(record, len(data), data.count(b"\n"))

    def _only(self, record: Record, size: int, newlines: int) -> RecordBlock:
        """The block of one record, whose bytes the buffer does not hold any longer."""
        start = self._here()
        # One that ends with the file, and without a newline, is a line all the same.
        self._count(size, max(newlines, 1), 1)
        end = None if self._is_over else self._here()
        at = np.array([start, self._here()], np.int64)
        return RecordBlock(start, end, [record], at[:1, 0], at[:1, 1], at[1:, 2], at[1:, 1])

    def _pass(self, size: int) -> None:
        self._count(size, self._buffer.count(b"\n", 0, size), 0)
        self._buffer = self._buffer[size:]

    def _count(self, size: int, newlines: int, records: int) -> None:
        self.row += newlines if self.framing.counts_lines else records
        self.line += newlines
        self.offset += size

    def _here(self) -> Place:
        return Place(self.row, self.line, self.offset)

    def _fill(self) -> None:
        """Holds exactly one block's bytes, or all there are: no boundary may depend on how much came at once."""
        parts, missing = [self._buffer], self.limits.chunk_bytes - len(self._buffer)
        while missing > 0 and (block := self._read(missing)):
            parts.append(block)
            missing -= len(block)
        if len(parts) > 1:
            self._buffer = b"".join(parts)

    def _read(self, size: int) -> bytes:
        if self._ended:
            return b""
        try:
            block = self.read(size)
        except TornStream as error:
            self._torn, block = str(error), b""
        self._ended = not block
        return block
