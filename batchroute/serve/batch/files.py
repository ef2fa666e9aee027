"""Files that clients upload, and files made for them: on disk under random names, within a total size.

`files/ID.json` says what a file is, `files/ID.data` is its content; the first is written last, so what has no
description is no file. What a client calls its file is text in the description and never part of a path.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from batchroute.store.files import saving, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO, Literal, TypeAlias

    Kind: TypeAlias = Literal["file", "batch"]

LARGEST_FILE = 512 << 20  # bytes
_ID = re.compile(r"(file-|batch_)[0-9a-f]{32}")
_STARTS = {"file": "file-", "batch": "batch_"}


class ApiError(Exception):
    """A request that cannot be served as the store is: not found, no room, in use. `status` is that of HTTP."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class FileObject(msgspec.Struct, frozen=True):
    """A file, with OpenAI's fields."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"


def new_id(kind: Kind) -> str:
    """An id that cannot be guessed."""
    return f"{_STARTS[kind]}{secrets.token_hex(16)}"


def checked_id(text: str, kind: Kind) -> str:
    """An id as `new_id` makes them; ApiError for anything else, which then never becomes a path."""
    if _ID.fullmatch(text) is None or not text.startswith(_STARTS[kind]):
        raise ApiError(404, f"there is no {kind} {text[:80]!r}", "not_found")
    return text


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in a folder, also while some come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 0 if path.is_dir() else path.stat().st_size
        except FileNotFoundError:
            continue
    return total


class FileStore:
    """The files of a state directory; all methods block."""

    def __init__(self, state: Path, most_bytes: int) -> None:
        self.state = state
        self._folder = state / "files"
        self.most_bytes = most_bytes
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def tidy(self) -> None:
        """Removes uploads that a crash cut short; for a server that starts."""
        for left in self._folder.glob(".*"):
            left.unlink()

    def room(self) -> int:
        """Bytes that may still be stored, over everything in the state directory."""
        return self.most_bytes - disk_bytes(self.state)

    def path(self, file_id: str) -> Path:
        """Where the content of a file is, or will be."""
        return self._folder / f"{checked_id(file_id, 'file')}.data"

    def begin(self) -> tuple[str, IO[bytes]]:
        """An id and a place to write to, which `finish` turns into a file."""
        file_id = new_id("file")
        handle = os.open(self._unfinished(file_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return file_id, os.fdopen(handle, "wb")

    def finish(self, file_id: str, written: IO[bytes], filename: str, purpose: str) -> FileObject:
        with written:
            written.flush()
            os.fsync(written.fileno())
        self._unfinished(file_id).replace(self.path(file_id))
        return self.describe(file_id, filename, purpose)

    def drop(self, file_id: str, written: IO[bytes]) -> None:
        """Removes what `begin` began."""
        written.close()
        self._unfinished(file_id).unlink()

    def describe(self, file_id: str, filename: str, purpose: str) -> FileObject:
        """Turns content that is in its place already into a file."""
        size = self.path(file_id).stat().st_size
        found = FileObject(file_id, size, int(time.time()), filename, purpose)
        with saving(self._folder):
            write_whole(self._description(file_id), msgspec.json.encode(found))
        return found

    def get(self, file_id: str) -> FileObject:
        try:
            content = self._description(file_id).read_bytes()
        except FileNotFoundError:
            raise ApiError(404, f"there is no file {file_id!r}", "not_found") from None
        return msgspec.json.decode(content, type=FileObject)

    def listed(self) -> list[FileObject]:
        """The newest first."""
        return sorted(self._all(), key=lambda file: (file.created_at, file.id), reverse=True)

    def delete(self, file_id: str) -> None:
        self.get(file_id)
        self._description(file_id).unlink()
        self.path(file_id).unlink(missing_ok=True)

    def _all(self) -> Iterator[FileObject]:
        for path in self._folder.glob("file-*.json"):
            yield self.get(path.stem)

    def _description(self, file_id: str) -> Path:
        return self._folder / f"{checked_id(file_id, 'file')}.json"

    def _unfinished(self, file_id: str) -> Path:
        return self._folder / f".{file_id}"
