"""The lock that makes a run directory one process's own, and who holds it.

The kernel's flock on the file `lock` is the truth, as it dies with the process, however that ends. What stands in
the file says whose it is: pid, host and start. It is emptied when the lock is given back in order, so that a file
that is not empty, of a lock that is free, belongs to a process that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import Stopped
from batchroute.store.files import make_directory, refuse_file_in_the_way, saving
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Whoever only looks holds a shared lock for some microseconds. A process that begins just then must not take that
# for another run, so it tries again for a while.
_TRIES = 25
_NEXT_TRY_S = 0.02
_MOST_BYTES = 1000


class Holder(msgspec.Struct, frozen=True):
    """The process that has the lock, or had it when it was killed; the start with its UTC offset."""

    pid: int
    host: str
    started_at: datetime

    @staticmethod
    def this_process() -> Holder:
        return Holder(os.getpid(), socket.gethostname(), datetime.now().astimezone().replace(microsecond=0))

    def words(self) -> str:
        """As "pid 4711 on mill-3 since 05:12", with the day where that is not today, in local time."""
        here = self.started_at.astimezone()
        is_today = here.date() == datetime.now().astimezone().date()
        return f"pid {self.pid} on {self.host} since {here:{'%H:%M' if is_today else '%Y-%m-%d %H:%M'}}"


@dataclass(frozen=True, slots=True)
class LockState:
    """Whether a directory's lock is held; None: it cannot be seen, as the file is another user's.

    `holder`: whose it is, or of a lock that is free, whose it was that was killed. None: not known.
    """

    held: bool | None
    holder: Holder | None = None


def lock_state(run: Path) -> LockState:
    """Looks without keeping a run from beginning; changes nothing, also in a directory that is read-only."""
    try:
        handle = os.open(RunLayout(run).lock, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return LockState(None)
    except OSError:
        return LockState(held=False)
    try:
        return LockState(not _is_taken(handle, fcntl.LOCK_SH), _read(handle))
    except OSError:  # a file system without such locks
        return LockState(None, _read(handle))
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, mode: int, who: str = "a run") -> Iterator[None]:
    """Makes the directory, and makes it this process's own; Stopped where another process has it.

    `who` else would be at work there.
    """
    refuse_file_in_the_way(path)
    with saving(path):
        make_directory(path, mode)
        # Who may read the directory may see whose it is.
        handle = os.open(RunLayout(path).lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, (mode & 0o666) | 0o600)
    try:
        _lock(handle, path, who)
        try:
            yield
        finally:
            _write(handle, b"")
    finally:
        os.close(handle)


def _lock(handle: int, path: Path, who: str) -> None:
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_NEXT_TRY_S)
        if _is_taken(handle, fcntl.LOCK_EX):
            _write(handle, msgspec.json.encode(Holder.this_process()))
            return
    holder = _read(handle)
    whose = "another process has locked the directory" if holder is None else holder.words()
    raise Stopped(f"{path}: {who} is at work here: {whose}; wait for it, or stop it")


def _is_taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> Holder | None:
    """None where nothing stands there, or what an older version left, or half of it."""
    try:
        return msgspec.json.decode(os.pread(handle, _MOST_BYTES, 0), type=Holder)
    except (OSError, ValueError):
        return None


def _write(handle: int, content: bytes) -> None:
    """A disk that is full is no reason to do without a lock."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)
