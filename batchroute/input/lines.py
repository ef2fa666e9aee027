"""A file of lines -> blocks of lines, unpacked where it is compressed, in bounded memory whatever it holds.

Lines end at `\\n` and nowhere else. Knows nothing of JSON.

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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from batchroute.errors import Stopped
from batchroute.input.row import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchroute.input.files import InputFile


Line: TypeAlias = bytes | Unreadable

# A read that fails loses all that it had unpacked. Of a file whose download broke off after 1 GB of text, all but
# the last 64 KiB is read; with reads of 4 MiB, up to 4 MiB of good lines would be lost with the torn one.
_UNPACKED_AT_ONCE = 64 << 10
_BOM = b"\xef\xbb\xbf"
_BLANK_LINES = re.compile(rb"(?:[ \t\r]*+\n)++")


@contextmanager
def open_bytes(file: InputFile) -> Iterator[ByteStream]:
    """The file's stream, closed at the end."""
    with ExitStack() as stack:
        raw = stack.enter_context(file.open())
        codec = file.codec
        unpacked = raw if codec is None else stack.enter_context(pa.CompressedInputStream(raw, codec))
        yield ByteStream(file, unpacked)


@dataclass(frozen=True, slots=True)
class ByteStream:
    """The unpacked bytes of a file, in order."""

    file: InputFile
    unpacked: pa.NativeFile

    def skip(self, offset: int) -> None:
        """Goes to this byte of the unpacked file; a compressed one is read up to it."""
        if self.file.codec is None:
            self.unpacked.seek(offset)
            return
        while offset > 0 and (block := self.read(offset)):
            offset -= len(block)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. TornStream for what cannot be unpacked, Stopped for the rest."""
        try:
            block: bytes = self.unpacked.read(size if self.file.codec is None else min(size, _UNPACKED_AT_ONCE))
        except OSError as error:
            if self.file.codec is not None and error.errno is None:
                raise TornStream(f"the compressed file is damaged or ends early ({error})") from error
            raise Stopped(f"{self.file.path}: cannot be read any further: {error}; run again to go on") from error
        return block


class TornStream(Exception):
    """The stream ends before its end, or turns into what its codec cannot read."""


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
        return self._torn_line(len(self._buffer)) if self._ended else self._long_line()

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
        if self._torn is not None and not newline:
            return self._torn_line(size)
        if size > self.limits.line_bytes:
            return self._block_of([Unreadable(f"longer than {self.limits.line_bytes >> 20} MiB")], size + newline)
        return self._block_of([b"".join(parts)], size + newline)

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
