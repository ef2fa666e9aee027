"""CSV: its header, its records, and the cells of one.

As Python's csv module reads it, but in bytes first, so that every record has a place to begin at:

    a quote         opens a cell only at its beginning; within, `""` is a quote, a delimiter or a newline is text
    an empty cell   is null; `""` is an empty text
    a line          ends at `\\n`, with or without `\\r` before it; an empty one is no record
    the delimiter   is the one of `,` `;` tab `|` that the header has most of, and the records below as many of;
                    or as a first line `sep=;` says

Knows nothing of what the columns mean.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import InputFault
from batchroute.input.mistaken import as_what
from batchroute.input.row import Unreadable
from batchroute.input.split import BOM, START, Cut, Record, State, cut_at, past
from batchroute.input.stream import open_bytes
from batchroute.input.unpack import TornStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.input.chunk import Fields
    from batchroute.input.file import InputFile
    from batchroute.input.row import Values
    from batchroute.input.text import Replaced

_DELIMITERS = ",;\t|"
_MOST_HEADER_BYTES = 256 << 10
_COMPARED_RECORDS = 10
_SEP = re.compile(rb"sep=([^\r\n])\r?\n", re.IGNORECASE)
_NO_RECORD = re.compile(rb"(?:\r?\n)*+")
_QUOTED = re.compile(r'"[^"]*+"')
_IN_QUOTES = re.compile(rb'[^"]*+(?:""[^"]*+)*+')
# Within what a record stands that has not ended.
_CELL_BEGINS, _PLAIN, _QUOTES, _AT_QUOTE = range(4)
_LEGACY = "; if it was saved as Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the first record: the columns' names, "" where one has none; `size` in bytes."""

    names: tuple[str, ...]
    delimiter: str
    size: int


def read_header(file: InputFile) -> Header:
    """The header of a file, without names where the file is empty; InputFault where it cannot be one."""
    data, torn = b"", None
    with open_bytes(file) as stream:
        try:
            while len(data) < _MOST_HEADER_BYTES and (block := stream.read(_MOST_HEADER_BYTES - len(data))):
                data += block
        except TornStream as error:
            torn = error
    if torn is not None and b"\n" not in data:
        raise InputFault(f"{file.path}: not one line can be read: {torn}") from torn
    try:
        return header_of(data)
    except ValueError as error:
        raise InputFault(f"{file.path}: {error}") from error


def header_of(data: bytes) -> Header:
    """The header that a file begins with; ValueError where it has none that can be read."""
    if (mistake := as_what(data)) is not None:
        raise ValueError(f"no CSV: {mistake}")
    at = len(BOM) if data.startswith(BOM) else 0
    separator = _SEP.match(data, at)
    at = past(_NO_RECORD, data, at if separator is None else separator.end())
    delimiter = _delimiter_of(data[at:]) if separator is None else separator[1].decode("latin-1")
    end, state = delimited(delimiter, 0).end(data[at:], START)
    if end < 0 and (len(data) >= _MOST_HEADER_BYTES or state[1] == _QUOTES):
        raise ValueError("its header has no end; look for a quote that is not closed")
    record = data[at:] if end < 0 else data[at : at + end]
    if not record:
        return Header((), delimiter, at)
    try:
        names = tuple(cell or "" for cell in cells(delimiter).of(record))
    except UnicodeDecodeError as error:
        raise ValueError(f"its header is not UTF-8 at byte {error.start + 1}{_LEGACY}") from error
    _refuse_names(names)
    return Header(names, delimiter, at + len(record))


def _delimiter_of(data: bytes) -> str:
    """What divides the header, and the first records into as many cells; else what the header has most of."""
    text = data.decode("utf-8", "replace")
    unquoted = _QUOTED.sub("", text.partition("\n")[0])
    by_count = sorted(_DELIMITERS, key=unquoted.count, reverse=True)
    even = (each for each in by_count if each in unquoted and len(_widths(text.encode(), each)) == 1)
    return next(even, by_count[0])


def _widths(data: bytes, delimiter: str) -> set[int]:
    """How many cells each of the first records has."""
    records = delimited(delimiter, 0).cut(data, _COMPARED_RECORDS).records
    return {len(cells(delimiter).of(record)) for record in records}


def _refuse_names(names: tuple[str, ...]) -> None:
    """ValueError where columns cannot be told apart by them."""
    if not any(names):
        raise ValueError("its header names no column; the first line must hold the columns' names")
    twice = [name for name, times in Counter(filter(None, names)).items() if times > 1]
    if twice:
        raise ValueError(f"several columns are called {', '.join(map(repr, twice))}; rename all but one of each")
    if any("\r" in name for name in names):
        raise ValueError("its lines end with \\r alone; write them anew: tr '\\r' '\\n' < OLD > NEW")


@dataclass(frozen=True, slots=True)
class Delimited:
    """See `split.Framing`. `header` is the number of bytes before the first record."""

    header: int
    record: re.Pattern[bytes]
    plain: re.Pattern[bytes]
    counts_lines: bool = False

    def opening(self, _data: bytes) -> int:
        """See `split.Framing`."""
        return self.header

    def gap(self, data: bytes, at: int) -> int:
        """See `split.Framing`: empty lines."""
        return past(_NO_RECORD, data, at)

    def cut(self, data: bytes, most: int) -> Cut:
        """See `split.Framing`."""
        starts: list[int] = []
        ends: list[int] = []
        start = 0
        while len(ends) < most and (found := self.record.match(data, start)) is not None:
            starts.append(start)
            ends.append(found.end())
            start = self.gap(data, found.end())
        return cut_at(data, starts, ends)

    def end(self, data: bytes, state: State) -> tuple[int, State]:
        """See `split.Framing`: what `record` matches, in pieces."""
        at, within = 0, state[1]
        while at < len(data):
            if within == _QUOTES:
                at = past(_IN_QUOTES, data, at)
                within = _QUOTES if at == len(data) else _AT_QUOTE
                at += 1
            elif within != _PLAIN and data[at : at + 1] == b'"':  # opens a cell, or is the second of two
                within = _QUOTES
                at += 1
            else:
                at = past(self.plain, data, at)
                if data[at : at + 1] == b"\n":
                    return at + 1, START
                within = _PLAIN if at == len(data) else _CELL_BEGINS
                at += 1
        return -1, (0, within)

    def last(self, data: bytes, fault: str | None) -> Record | None:
        """See `split.Framing`: a record without its newline."""
        if fault is not None:
            return Unreadable(f"{fault}; the rows from here on are lost")
        _, (_, within) = self.end(data, START)
        if within == _QUOTES:
            return Unreadable("a quote that opens a cell is not closed; the rows from here on are lost")
        return data if data.strip(b"\r") else None


def delimited(delimiter: str, header: int) -> Delimited:
    """The framing of records whose cells this character divides."""
    stop = re.escape(delimiter).encode()
    cell = rb'(?:"[^"]*+(?:""[^"]*+)*+"[^%b\n]*+|(?!")[^%b\n]*+)' % (stop, stop)
    return Delimited(header, re.compile(rb"%b(?:%b%b)*+\n" % (cell, stop, cell)), re.compile(rb"[^%b\n]*+" % stop))


@dataclass(frozen=True, slots=True)
class Cells:
    """Reads the cells of a record; `pattern` finds them where there are quotes among them."""

    delimiter: str
    pattern: re.Pattern[str]

    def of(self, record: bytes) -> list[str | None]:
        """None for an empty cell without quotes; UnicodeDecodeError where they are no text."""
        text = record.decode().removesuffix("\n").removesuffix("\r")
        if '"' not in text:
            return [cell or None for cell in text.split(self.delimiter)]
        return [
            quoted.replace('""', '"') + behind if quote else plain or None
            for quote, quoted, behind, plain in self.pattern.findall(text)
        ]


def cells(delimiter: str) -> Cells:
    """The cells that this character divides."""
    stop = re.escape(delimiter)
    return Cells(delimiter, re.compile(rf'(?:\A|{stop})(?:(")([^"]*+(?:""[^"]*+)*+)"([^{stop}]*+)|([^{stop}]*+))'))


@dataclass(frozen=True, slots=True)
class CellDecoder:
    """Picks the cells that a job reads of a record, by where its header has them; see `records.Decoder`."""

    fields: Fields
    cells: Cells
    width: int
    columns: Sequence[int | None]
    keep: Sequence[int | None]

    def values(self, record: Record, _replaced: Replaced) -> Values | Unreadable:
        """See `records.Decoder`."""
        found = self._cells(record)
        return found if isinstance(found, Unreadable) else _picked(found, self.columns)

    def vector_of(self, record: Record) -> list[float] | None:
        """See `records.Decoder`: a cell holds none."""

    def kept(self, record: Record) -> list[str | None]:
        """See `records.Decoder`."""
        found = self._cells(record)
        return [None] * len(self.keep) if isinstance(found, Unreadable) else _picked(found, self.keep)

    def label(self, _row: int, line: int) -> str:
        """See `records.Decoder`: lines are counted as editors do, those of the header and within cells too."""
        return f"line {line + 1}"

    def _cells(self, record: Record) -> list[str | None] | Unreadable:
        if isinstance(record, Unreadable):
            return record
        try:
            found = self.cells.of(record)
        except UnicodeDecodeError as error:
            return Unreadable(f"not UTF-8 at byte {error.start + 1}{_LEGACY}")
        if len(found) == self.width:
            return found
        return Unreadable(
            f"has {len(found)} cells where the header has {self.width}; "
            f"a cell that holds {self.cells.delimiter!r} or a line break stands in double quotes"
        )


def cell_decoder(fields: Fields, header: Header) -> CellDecoder:
    """The decoder for these fields below this header; a column that it lacks is null."""
    at = {name: index for index, name in enumerate(header.names)}
    columns, keep = [at.get(name) for name in fields.columns], [at.get(name) for name in fields.keep.columns]
    return CellDecoder(fields, cells(header.delimiter), len(header.names), columns, keep)


def _picked(found: Sequence[str | None], at: Sequence[int | None]) -> list[str | None]:
    return [None if index is None else found[index] for index in at]
