"""A file of lines -> blocks of lines, unpacked where it is compressed, in bounded memory whatever it holds.

Lines end at `\\n` and nowhere else. Knows nothing of JSON but that an object ends with a brace.

Offsets are those of the unpacked bytes: offset 19 of `a.jsonl.gz` is the same place as offset 19 of `a.jsonl`. A
plain file is sought. A compressed one cannot be: a run that goes on at byte 9 GB of 10 unpacks those 9 GB again,
and drops them block by block.

What bounds the memory, with the sizes of `ChunkLimits` (4096 rows, 4 MiB a chunk, 64 MiB a line):

    1000 lines of 1 KiB           within one block, with as many more as fit into 4 MiB
    a line of 5 MiB               a block of its own, joined from two reads
    a line of 10 GiB              read to its end in pieces, none of them kept: a block of one `Unreadable`
    10 MB of gzip that unpack     the same: the cap is on unpacked bytes, of which 64 KiB come at a time
    to 10 GiB without a newline
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchroute.input.row import Unreadable
from batchroute.input.unpack import MAGIC_BYTES, TornStream, Unpacked, packing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchroute.input.file import FileHead, InputFile


Line: TypeAlias = bytes | Unreadable

_BOM = b"\xef\xbb\xbf"
_BLANK_LINES = re.compile(rb"(?:[ \t\r]*+\n)++")


@contextmanager
def open_bytes(file: InputFile) -> Iterator[ByteStream]:
    """The file's stream, closed at the end."""
    with file.open() as raw:
        packing = packing_of(raw.read(MAGIC_BYTES))
        raw.seek(0)
        yield ByteStream(raw, None if packing is None else Unpacked(raw, packing))


@dataclass(frozen=True, slots=True)
class ByteStream:
    """The bytes of a file in order, unpacked where it is packed."""

    raw: FileHead
    unpacked: Unpacked | None

    def skip(self, offset: int) -> None:
        """Goes to this byte of the unpacked file; a compressed one is read up to it."""
        if self.unpacked is None:
            self.raw.seek(offset)
            return
        while offset > 0 and (block := self.read(offset)):
            offset -= len(block)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end; TornStream for what cannot be unpacked."""
        return self.raw.read(size) if self.unpacked is None else self.unpacked.read(size)


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What is one chunk: at most `rows` lines and about `chunk_bytes`; a line over `line_bytes` is not read."""

    rows: int = 4096
    chunk_bytes: int = 4 << 20
    line_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive physical lines, blank ones too; the first is no blank one. `offset` and `end` are bytes."""

    first: int
    offset: int
    end: int
    lines: Sequence[Line]


@dataclass(slots=True)
class LineSplitter:
    """Cuts a stream into blocks; where one ends depends on the bytes behind its start alone.

    `read(n)` returns up to n bytes, none at the end, and may raise TornStream; it stands at `offset`, the start of
    line `row`.
    """

    read: Callable[[int], bytes]
    limits: ChunkLimits
    row: int = 0
    offset: int = 0
    _buffer: bytes = b""
    _ended: bool = False
    _torn: str | None = None

    def __iter__(self) -> Iterator[LineBlock]:
        self._fill()
        if self.offset == 0 and self._buffer.startswith(_BOM):
            self._drop(len(_BOM))
        while self._next_line():
            yield self._block()

    def _next_line(self) -> bool:
        """Goes to the next line that is not blank; False behind the last one."""
        self._fill()
        while blank := _BLANK_LINES.match(self._buffer):
            self.row += blank[0].count(b"\n")
            self._drop(blank.end())
            self._fill()
        return bool(self._buffer) or self._torn is not None

    def _block(self) -> LineBlock:
        if b"\n" in self._buffer or (self._ended and self._torn is None):
            return self._whole_lines()
        return self._last_line() if self._ended else self._long_line()

    def _whole_lines(self) -> LineBlock:
        lines, size = self._buffer.split(b"\n", self.limits.rows), len(self._buffer)
        is_last = self._ended and self._torn is None and len(lines) <= self.limits.rows
        # What split leaves last is no line yet, unless nothing can come behind it.
        self._buffer = b"" if is_last and lines[-1] else lines.pop()
        return self._block_of(lines, size - len(self._buffer))

    def _long_line(self) -> LineBlock:
        """One line that is longer than a block; what is too long even for a line is skipped, not held."""
        parts, size, end = [self._buffer], len(self._buffer), -1
        self._buffer = b""
        while end < 0 and (block := self._read(self.limits.chunk_bytes)):
            end = block.find(b"\n")
            piece, self._buffer = (block, b"") if end < 0 else (block[:end], block[end + 1 :])
            size += len(piece)
            parts = [*parts, piece] if size <= self.limits.line_bytes else []
        newline = int(end >= 0)
        if size > self.limits.line_bytes:
            return self._block_of([Unreadable(f"longer than {self.limits.line_bytes >> 20} MiB")], size + newline)
        if self._torn is not None and not newline:
            self._buffer = b"".join(parts)
            return self._last_line()
        return self._block_of([b"".join(parts)], size + newline)

    def _last_line(self) -> LineBlock:
        """What stands before a fault: the line that it tore, or a whole one that only lacks its newline."""
        if not self._buffer.rstrip().endswith(b"}"):
            return self._torn_line(len(self._buffer))
        line, self._buffer = self._buffer, b""
        return self._block_of([line], len(line))

    def _torn_line(self, size: int) -> LineBlock:
        block = self._block_of([Unreadable(f"{self._torn}; the lines from here on are lost")], size)
        self._buffer, self._torn = b"", None
        return block

    def _block_of(self, lines: Sequence[Line], size: int) -> LineBlock:
        block = LineBlock(self.row, self.offset, self.offset + size, lines)
        self.row += len(lines)
        self.offset += size
        return block

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self.offset += size

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
