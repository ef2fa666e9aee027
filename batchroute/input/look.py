"""What text must show before the first row is asked: each file a record that is a row, the input every column.

A usual file shows both with its first record, and no more of it is read. What does not show there is looked for to
the end of the input, once, so that a fault is certain, and a column that only a late row has is none:

    all columns in the files' first rows    a record of each file is read, and the run begins
    `topic` first in row 1,200,000          the records up to that row are read once more than else
    `topics` in no row                      all records are read, and the run does not begin

The columns of Parquet and CSV stand before their rows. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import InputFault
from batchroute.input.file import JSON
from batchroute.input.forms import form_of
from batchroute.input.keep import WHOLE_LINE
from batchroute.input.mistaken import as_lines, as_what, by_columns, with_rows_in
from batchroute.input.names import instead_of
from batchroute.input.row import BATCH_FIELDS, Unreadable, shown
from batchroute.input.split import BOM, ChunkLimits, Splitter
from batchroute.input.stream import open_bytes
from batchroute.input.text import Replaced, is_json, loads_slowly
from batchroute.input.unpack import TornStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.input.file import InputFile
    from batchroute.input.forms import Form
    from batchroute.input.open import Source
    from batchroute.input.split import Record

_LIMITS = ChunkLimits(chunk_bytes=64 << 10)
_SHOWN_BYTES = 40
_MOST_NAMES = 1000  # that are remembered for a suggestion
_SHOWN_FAULTS = 5
_OBJECT = re.compile(rb"[ \t\r\n]*\{")
# An array as tools print it, line by line. A last object without a comma would pass for a row.
_ARRAY = re.compile(rb"\s*\[\s*(\{|$)")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def refuse_unreadable(source: Source) -> None:
    """InputFault for files of text without a single row, and for columns of the job that no row of JSON has."""
    looks = [_Look(file, form_of(file, source.fields)) for file in source.files if file.format != "parquet"]
    given = BATCH_FIELDS if source.format == "openai-batch" else ()
    missing = set(source.fields.names) - {WHOLE_LINE, *given}
    faults, rows = [], False
    for look in looks:
        columns, fault = look.first_row()
        rows, missing = rows or columns is not None, missing - set(columns or ())
        fault = fault or (None if columns is None else look.without_rows_of(columns, source.reader.columns))
        if fault is not None:
            faults.append(f"{look.file.path}: {fault}")
    if faults:
        raise InputFault("\n".join(faults[:_SHOWN_FAULTS]))
    if rows and missing:
        _look_for(missing, [look for look in looks if look.file.format in JSON])


@dataclass(frozen=True, slots=True)
class _Look:
    """A file of text, whose records are read in small blocks."""

    file: InputFile
    form: Form

    def records(self) -> Iterator[Record]:
        with open_bytes(self.file) as stream:
            for block in Splitter(stream.read, _LIMITS, self.form.framing):
                yield from block.records

    def columns(self, record: Record) -> list[str] | None:
        """Those of a row; None for a record that is no row."""
        if self.file.format in JSON:
            return columns_of(record)
        values = self.form.decoder.values(record, Replaced())
        return None if isinstance(values, Unreadable) else self.form.decoder.fields.names

    def first_row(self) -> tuple[list[str] | None, str | None]:
        """The columns of the first record that is a row; where there are records and none is, why."""
        if self.file.format == "json" and (words := self._no_array()) is not None:
            return None, words
        first: Record | None = None
        for record in self.records():
            if (columns := self.columns(record)) is not None:
                return columns, None
            if first is None and self._is_printed_array(record):
                return None, self._without_rows(record)
            first = record if first is None else first
        return None, None if first is None else self._without_rows(first)

    def without_rows_of(self, columns: Sequence[str], wanted: Sequence[str]) -> str | None:
        """Why a file called .json has no rows though it is an object on a line: it describes or holds them."""
        is_called_json = ".json" in Path(self.file.path.lower()).suffixes
        if self.file.format != "jsonl" or not is_called_json or sum(1 for _ in islice(self.records(), 2)) > 1:
            return None
        cure = by_columns(self._head())
        if cure is None and not set(wanted).isdisjoint(columns):
            return None
        if (cure := cure or with_rows_in(self._head())) is not None:
            return f"one object and no rows; {cure}"
        if not wanted:
            return None
        name, meant = wanted[0], instead_of(wanted[0], columns)
        return f"one object without the column {name!r}; {meant}; if it is no row, take it out of input.path"

    def _is_printed_array(self, record: Record) -> bool:
        if self.file.format != "jsonl" or isinstance(record, Unreadable):
            return False
        return _ARRAY.match(record) is not None and not is_json(record)

    def _no_array(self) -> str | None:
        head = self._head()
        if not head.strip() or head.lstrip().startswith(b"["):
            return None
        cure = as_what(head) or with_rows_in(head) or 'if each line is an object, set input.format = "jsonl"'
        return f"no array, it begins {_shown(head)}; {cure}"

    def _head(self) -> bytes:
        """What the file begins with; nothing where it cannot be unpacked."""
        with open_bytes(self.file) as stream, suppress(TornStream):
            return stream.read(_LIMITS.chunk_bytes).removeprefix(BOM)
        return b""

    def _without_rows(self, first: Record) -> str:
        """Why none of the file's records is a row, by the first one."""
        kind = {"csv": "line", "json": "element"}.get(self.file.format, "line")
        if isinstance(first, Unreadable):
            cure = by_columns(self._head()) or with_rows_in(self._head()) if self.file.format == "jsonl" else None
            return f"not one {kind} can be read: {cure or first.why}"
        if self.file.format != "jsonl":
            values = self.form.decoder.values(first, Replaced())
            why = values.why if isinstance(values, Unreadable) else "no row"
            return f"not one {kind} is a row, the first begins {_shown(first)}: {why}"
        head = self._head()
        cure = as_what(first) or by_columns(head) or with_rows_in(head) or as_lines(first)
        return f"not one line is a row, the first begins {_shown(first)}; {cure}"


def _look_for(missing: set[str], looks: Sequence[_Look]) -> None:
    """InputFault for those that no row has."""
    there: dict[str, None] = {}
    for record in (record for look in looks for record in look.records()):
        columns = columns_of(record) or []
        missing -= set(columns)
        if not missing:
            return
        if len(there) < _MOST_NAMES:
            there |= dict.fromkeys(columns)
    path = looks[0].file.path
    where = path if len(looks) == 1 else f"{path} and {len(looks) - 1} more"
    raise InputFault(
        "\n".join(f"{where}: no row has a column {name!r}; {instead_of(name, there)}" for name in sorted(missing))
    )


def columns_of(record: Record) -> list[str] | None:
    """The names of a JSON object's fields; None for what is none."""
    if isinstance(record, Unreadable) or not _OBJECT.match(record):
        return None
    try:
        if not record.isascii():
            record.decode()
        return list(_decode(record))
    except (ValueError, RecursionError):
        return _columns_slowly(record)


def _columns_slowly(record: bytes) -> list[str] | None:
    try:
        return list(loads_slowly(record, Replaced()))
    except ValueError:
        return None


def _shown(text: bytes) -> str:
    return shown(text[:_SHOWN_BYTES].decode("utf-8", "replace"))
