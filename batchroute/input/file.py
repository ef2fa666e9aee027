"""One input file: its bytes, as long as it was when the run began, and what tells it from another.

Knows nothing of what the bytes say.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from batchroute.errors import InputFault, Stopped

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

Format = Literal["parquet", "jsonl", "csv", "json"]

JSON: frozenset[Format] = frozenset({"jsonl", "json"})  # either ending may hold lines or one array

_MIB = 1 << 20


class Fingerprint(msgspec.Struct, frozen=True):
    """Shows whether a file is the same and unchanged; `head` and `tail` are SHA-256 of its first and last MiB."""

    name: str
    size: int
    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file as its file system knows it: `path` is what the user sees, `inner` the same inside the file system.

    `name` is what the results call it: relative to the fixed part of the whole input, `/`-separated. `size` is in
    bytes: as many are read, whatever is appended later.
    """

    path: str
    name: str
    size: int
    format: Format
    system: fs.FileSystem
    inner: str

    def open(self) -> FileHead:
        """Its first `size` bytes; InputFault where they cannot be reached."""
        return FileHead(self, self.open_whole())

    def open_whole(self) -> pa.NativeFile:
        """All the raw bytes there are by now, seekable; InputFault where they cannot be reached."""
        try:
            return self.system.open_input_file(self.inner)
        except OSError as error:
            raise InputFault(f"{self.path}: cannot be read: {error}") from error

    def fingerprint(self) -> Fingerprint:
        """Reads at most two MiB."""
        with self.open() as head:
            first = head.read(_MIB)
            head.seek(max(self.size - _MIB, 0))
            last = head.read(_MIB)
        digests = (hashlib.sha256(part).hexdigest() for part in (first, last))
        return Fingerprint(self.name, self.size, *digests)

    def changed_at_s(self) -> float:
        """When it was last written to, in seconds of Unix time; 0 where its file system does not say."""
        return float(self.system.get_file_info(self.inner).mtime_ns or 0) / 1e9

    def appended(self) -> int:
        """How many bytes it has got since its size was taken."""
        return max(self.system.get_file_info(self.inner).size or 0, self.size) - self.size


class FileHead:
    """The bytes of a file up to the size it is read to; a binary file object, for reading."""

    def __init__(self, file: InputFile, whole: pa.NativeFile) -> None:
        self._file = file
        self._whole = whole
        self.close = whole.close
        self.tell = whole.tell

    @property
    def closed(self) -> bool:
        return bool(self._whole.closed)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end; Stopped where it fails, InputFault where the file has lost some."""
        left = max(self._file.size - self.tell(), 0)
        wanted = left if size < 0 else min(size, left)
        try:
            block: bytes = self._whole.read(wanted)
        except OSError as error:
            raise Stopped(f"{self._file.path}: cannot be read any further: {error}; run again to go on") from error
        if wanted and not block:
            raise InputFault(
                f"{self._file.path}: has become shorter since the run began; restore it, or score it again"
            )
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file object."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._file.size}[whence]
        return int(self._whole.seek(base + offset))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
