"""Files that another process goes on writing: what of them belongs to a run, and what is another one's.

The size of a file is taken once, when the first run of a directory begins, and stands in the directory's identity.
By example, a run that begins when `a.jsonl` has 1000 bytes, of 5000 that it will have:

    the run itself                 reads 1000 bytes, and says at its end that 4000 more came
    the same command, later        knows the 1000 bytes by their hashes, reads no more, and says the same
    a file that begins otherwise   is another one, whatever its size: the directory belongs to another job

A last line that was cut short by the very moment is left to those who read the rest, if the rest comes within a
second. If it does not, the file may as well be torn, and the line is a refused row as any other. A record of CSV
does not show that it is cut short: one without a newline is waited for where the file was written to in the last
minute. An array that is being written has no end yet, which is a refused row behind the elements that it has.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pyarrow import fs

from batchroute.input.delimited import delimited, read_header
from batchroute.input.look import columns_of
from batchroute.input.split import ChunkLimits, Splitter
from batchroute.input.stream import open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchroute.input.file import Fingerprint, InputFile
    from batchroute.input.split import RecordBlock

_LOOKS = 10
_LOOK_EVERY_S = 0.1
_TAIL_BYTES = 64 << 10
_CSV_JUST_WRITTEN_S = 60.0
_SHOWN_FILES = 3


def as_begun(files: Iterable[InputFile], begun: Mapping[str, Fingerprint]) -> list[InputFile]:
    """The files as long as the run found them that began with these, by name; changed ones as they are."""
    return [_cut(file, begun.get(file.name)) for file in files]


def _cut(file: InputFile, known: Fingerprint | None) -> InputFile:
    if known is None or file.size <= known.size:
        return file
    cut = replace(file, size=known.size)
    return cut if cut.fingerprint() == known else file


def without_torn_ends(files: Sequence[InputFile]) -> list[InputFile]:
    """The files without a last row that is just being written; waits up to a second to see that it is."""
    torn = {at for at, file in enumerate(files) if _may_be_torn(file)}
    for _ in range(_LOOKS if torn else 0):
        if all(files[at].appended() for at in torn):
            break
        time.sleep(_LOOK_EVERY_S)
    return [_up_to_last_row(file) if at in torn and file.appended() else file for at, file in enumerate(files)]


def _may_be_torn(file: InputFile) -> bool:
    """Whether the last row of a file has no newline, and may be the beginning of a longer one."""
    last = _behind_last_newline(file)
    if not last.strip():
        return False
    if file.format == "jsonl":
        return columns_of(last) is None
    return time.time() - file.changed_at_s() < _CSV_JUST_WRITTEN_S


def _behind_last_newline(file: InputFile) -> bytes:
    """The end of a file whose end could be torn by its being written; nothing of any other."""
    if file.format not in {"jsonl", "csv"} or not _is_local(file):
        return b""
    with open_bytes(file) as stream:
        if stream.unpacked is not None:
            return b""
        stream.skip(max(file.size - _TAIL_BYTES, 0))
        _, newline, last = stream.read(_TAIL_BYTES).rpartition(b"\n")
    return last if newline else b""


def _up_to_last_row(file: InputFile) -> InputFile:
    """The file up to the end of its last row that has one; in CSV only its beginning says where rows end."""
    if file.format == "jsonl":
        return replace(file, size=file.size - len(_behind_last_newline(file)))
    header = read_header(file)
    with open_bytes(file) as stream:
        blocks = Splitter(stream.read, ChunkLimits(), delimited(header.delimiter, header.size))
        ends = [int(block.ends[-1]) for block in blocks if _is_ended(block)]
    return replace(file, size=max(ends, default=header.size))


def _is_ended(block: RecordBlock) -> bool:
    last = block.records[-1] if block.records else None
    return isinstance(last, bytes) and last.endswith(b"\n")


def appended(files: Iterable[InputFile]) -> str | None:
    """What was appended to files since their size was taken, in words; None where nothing was."""
    grown = [(file.path, size) for file in files if _is_local(file) and (size := file.appended())]
    if not grown:
        return None
    shown = ", ".join(f"{path} by {size:,} bytes" for path, size in grown[:_SHOWN_FILES])
    more = f" and {len(grown) - _SHOWN_FILES} more" if len(grown) > _SHOWN_FILES else ""
    return f"the input has grown since the run began, which leaves that to another job: {shown}{more}"


def _is_local(file: InputFile) -> bool:
    """Objects in a store are written whole, and each look at one takes its time."""
    return isinstance(file.system, fs.LocalFileSystem)
