"""What JSON lines must show before the first row is asked: each file a line that is a row, the input every column.

A usual file shows both with its first line, and no more of it is read. What does not show there is looked for to
the end of the input, once, so that a fault is certain, and a column that only a late row has is none:

    all columns in the files' first rows    a line of each file is read, and the run begins
    `topic` first in row 1,200,000          the lines up to that row are read once more than else
    `topics` in no row                      all lines are read, and the run does not begin

Knows nothing of what the columns mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import InputFault
from batchroute.input.keep import WHOLE_LINE
from batchroute.input.lines import Lines
from batchroute.input.names import instead_of
from batchroute.input.row import BATCH_FIELDS, Unreadable, shown
from batchroute.input.split import ChunkLimits, Splitter
from batchroute.input.stream import open_bytes
from batchroute.input.text import Replaced, loads_slowly

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.input.file import InputFile
    from batchroute.input.open import Source
    from batchroute.input.split import Record

_LIMITS = ChunkLimits(chunk_bytes=64 << 10)
_SHOWN_BYTES = 40
_MOST_NAMES = 1000  # that are remembered for a suggestion
_SHOWN_FAULTS = 5
_OBJECT = re.compile(rb"[ \t\r]*\{")
# An array of objects as tools print it, line by line. A last object without a comma would pass for a row.
_ARRAY = re.compile(rb"\s*\[\s*(\{|$)")
# What a file without a row begins with, and what to do about it.
_CURES = [
    (re.compile(rb"PAR1"), 'it is a Parquet file: name it .parquet, or set input.format = "parquet"'),
    (re.compile(rb"\x1f\x8b|\x28\xb5\x2f\xfd"), "it was packed twice: unpack it once"),
    (
        re.compile(rb"BZh|\xfd7zXZ|PK\x03\x04|\x04\x22\x4d\x18|7z\xbc\xaf"),
        "unpack it: only gzip and zstd are read",
    ),
    (re.compile(rb"\x00\x00"), "it holds zeros: write it again"),
    (re.compile(rb"\xff\xfe|\xfe\xff|.?\x00", re.DOTALL), "it is UTF-16: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
    (re.compile(rb"\s*\["), "an array is no JSON lines, write one object a line: jq -c '.[]' OLD > NEW"),
    (re.compile(rb"\s*\{\s*'"), "Python's dicts are no JSON: write each with json.dumps"),
    (re.compile(rb"\s*\{"), "write each object on a line of its own, as UTF-8: jq -c . OLD > NEW"),
    (re.compile(rb""), 'write one JSON object a line, such as {"prompt": "..."}'),
]
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def refuse_unreadable(source: Source) -> None:
    """InputFault for files of lines without a single row, and for columns of the job that no row of them has."""
    files = [file for file in source.files if file.format == "jsonl"]
    given = BATCH_FIELDS if source.format == "openai-batch" else ()
    missing = set(source.fields.names) - {WHOLE_LINE, *given}
    faults, rows = [], False
    for file in files:
        line, columns = _first_row(file)
        if columns is not None:
            rows, missing = True, missing - columns
        elif line is not None:
            faults.append(f"{file.path}: {_without_rows(line)}")
    if faults:
        raise InputFault("\n".join(faults[:_SHOWN_FAULTS]))
    if rows and missing:
        _look_for(missing, files)


def _first_row(file: InputFile) -> tuple[Record | None, set[str] | None]:
    """Its first line that is not blank, and the columns of the first that is a row; None where there is none."""
    first: Record | None = None
    for line in _lines(file):
        if (columns := _columns(line)) is not None:
            return first, columns
        if first is None and isinstance(line, bytes) and _ARRAY.match(line) and not _is_json(line):
            return line, None
        first = line if first is None else first
    return first, None


def _look_for(missing: set[str], files: Sequence[InputFile]) -> None:
    """InputFault for those that no row has."""
    there: dict[str, None] = {}
    for line in (line for file in files for line in _lines(file)):
        columns = _columns(line) or set()
        missing -= columns
        if not missing:
            return
        if len(there) < _MOST_NAMES:
            there |= dict.fromkeys(columns)
    where = files[0].path if len(files) == 1 else f"{files[0].path} and {len(files) - 1} more"
    raise InputFault(
        "\n".join(f"{where}: no row has a column {name!r}; {instead_of(name, there)}" for name in sorted(missing))
    )


def _lines(file: InputFile) -> Iterator[Record]:
    """Those that are not blank."""
    with open_bytes(file) as stream:
        for block in Splitter(stream.read, _LIMITS, Lines()):
            yield from block.records


def _columns(line: Record) -> set[str] | None:
    """The names of a row's columns; None for a line that is no row."""
    if isinstance(line, Unreadable) or not _OBJECT.match(line):
        return None
    try:
        if not line.isascii():
            line.decode()
        return set(_decode(line))
    except (ValueError, RecursionError):
        return _columns_slowly(line)


def is_row(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    return _columns(line) is not None


def _columns_slowly(line: bytes) -> set[str] | None:
    try:
        return set(loads_slowly(line, Replaced()))
    except ValueError:
        return None


def _is_json(line: bytes) -> bool:
    try:
        loads_slowly(line, Replaced())
    except ValueError:
        return False
    return True


def _without_rows(first: Record) -> str:
    """Why none of a file's lines is a row, by the first one."""
    if isinstance(first, Unreadable):
        return f"not one line can be read: {first.why}"
    cure = next(words for pattern, words in _CURES if pattern.match(first))
    return (
        f"not one line is a row, the first begins {shown(first[:_SHOWN_BYTES].decode('utf-8', 'replace'))}; {cure}"
    )
