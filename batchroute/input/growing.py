"""Files that another process goes on writing: what of them belongs to a run, and what is another one's.

The size of a file is taken once, when the first run of a directory begins, and stands in the directory's identity.
By example, a run that begins when `a.jsonl` has 1000 bytes, of 5000 that it will have:

    the run itself                 reads 1000 bytes, and says at its end that 4000 more came
    the same command, later        knows the 1000 bytes by their hashes, reads no more, and says the same
    a file that begins otherwise   is another one, whatever its size: the directory belongs to another job

A last line that was cut short by the very moment is left to those who read the rest, if the rest comes within a
second. If it does not, the file may as well be torn, and the line is a refused row as any other.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pyarrow import fs

from batchroute.input.look import is_row
from batchroute.input.stream import open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchroute.input.file import Fingerprint, InputFile

_LOOKS = 10
_LOOK_EVERY_S = 0.1
_TAIL_BYTES = 64 << 10
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
    """The files without a last line that is just being written; waits up to a second to see that it is."""
    torn = {at: whole for at, file in enumerate(files) if (whole := _up_to_last_line(file)) is not None}
    for _ in range(_LOOKS if torn else 0):
        if all(files[at].appended() for at in torn):
            break
        time.sleep(_LOOK_EVERY_S)
    return [torn[at] if at in torn and file.appended() else file for at, file in enumerate(files)]


def _up_to_last_line(file: InputFile) -> InputFile | None:
    """The file without its last line, where that has no end and is no row; None for any other file."""
    if file.format != "jsonl" or not _is_local(file):
        return None
    with open_bytes(file) as stream:
        if stream.unpacked is not None:
            return None
        stream.skip(max(file.size - _TAIL_BYTES, 0))
        tail = stream.read(_TAIL_BYTES)
    last = tail.rpartition(b"\n")[2]
    is_torn = last.strip() and len(last) < len(tail) and not is_row(last)
    return replace(file, size=file.size - len(last)) if is_torn else None


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
