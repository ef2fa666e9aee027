"""The locks of a run directory, and who holds them.

    lock                 a run's own; processes that work on shares of the shards hold it together
    workers/0-of-3/lock  one of these
    shards/00017/lock    whoever works on the shard
    job.lock             for the moment in which one of them writes what is everybody's
    shards.lock          for the time in which one of them cuts the input

The kernel's flock on the file is the truth, as it dies with the process, however that ends. What stands in the
file says whose it is: pid, host and start. It is emptied when the lock is given back in order, so that a file that
is not empty, of a lock that is free, belongs to a process that was killed.
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
from batchroute.store.files import PRIVATE, make_directory, refuse_file_in_the_way, saving
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchroute.errors import BatchrouteError

# Whoever only looks holds a shared lock for some microseconds. A process that begins just then must not take that
# for another run, so it tries again for a while.
_PATIENCE_S = 0.5
_NEXT_TRY_S = 0.02
_LONGEST_TURN_S = 60
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

    `holder`: whose it is, or of a lock that is free, whose it was that was killed. None: not known. `shares` is
    how many processes hold it together, of which `holder` is one; 0: it is one process's own.
    """

    held: bool | None
    holder: Holder | None = None
    shares: int = 0


def lock_state(run: Path) -> LockState:
    """Looks without keeping a run from beginning; changes nothing, also in a directory that is read-only.

    Where processes share the directory, it is held as long as any of them works.
    """
    layout = RunLayout(run)
    alone = file_state(layout.lock)
    if alone.held is not False:
        return alone
    shares = [file_state(share.lock) for share in layout.shares()]
    working = [state for state in shares if state.held]
    if working:
        return LockState(True, working[0].holder, len(working))
    return next((state for state in shares if state.holder is not None), alone)


def file_state(lock: Path) -> LockState:
    """The same of one lock."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
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


def forget_killed(lock: Path) -> None:
    """What a killed process left in a lock that is free goes: another one has taken its work."""
    with _opened_file(lock, PRIVATE) as handle:
        if _is_taken(handle, fcntl.LOCK_EX):
            _write(handle, b"")


@contextlib.contextmanager
def locked(path: Path, mode: int, who: str = "a run") -> Iterator[None]:
    """Makes the directory, and makes it this process's own; Stopped where another process has it.

    `who` else would be at work there.
    """
    with _opened(path, mode) as handle, _taken(handle, fcntl.LOCK_EX, lambda: _at_work(path, who)), _named(handle):
        yield


@contextlib.contextmanager
def joined(path: Path, mode: int) -> Iterator[None]:
    """The same together with others that join it; Stopped where a process has the directory for itself."""
    with _opened(path, mode) as handle, _taken(handle, fcntl.LOCK_SH, lambda: _at_work(path, "a run")):
        _write(handle, b"")  # whoever was killed while it was its own: this is known no more
        yield


@contextlib.contextmanager
def held(file: Path, mode: int, taken: Callable[[str], BatchrouteError]) -> Iterator[None]:
    """Another lock than a run's, of this process alone; `taken` makes an error of the words for who has it."""
    with (
        _opened_file(file, mode) as handle,
        _taken(handle, fcntl.LOCK_EX, lambda: taken(_words(_read(handle)))),
        _named(handle),
    ):
        yield


@contextlib.contextmanager
def turn(run: RunLayout) -> Iterator[None]:
    """The moment in which one process alone writes what all write; waits for others, who are as quick.

    Stopped where one keeps it for as long as no process does that is well.
    """
    with (
        _opened_file(run.turn, PRIVATE) as handle,
        _taken(handle, fcntl.LOCK_EX, lambda: _hung(run.turn, _read(handle)), _LONGEST_TURN_S),
        _named(handle),
    ):
        yield


@contextlib.contextmanager
def cutting(run: RunLayout) -> Iterator[None]:
    """The time in which one process cuts the input; waits for another one that does, however long it takes."""
    with _opened_file(run.cutting, PRIVATE) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with _named(handle):
            yield


def _hung(file: Path, holder: Holder | None) -> Stopped:
    return Stopped(f"{file}: for {_LONGEST_TURN_S} s another process has not let go of it: {_words(holder)}")


def _at_work(path: Path, who: str) -> Stopped:
    holder = lock_state(path).holder
    return Stopped(f"{path}: {who} is at work here: {_words(holder)}; wait for it, or stop it")


def _words(holder: Holder | None) -> str:
    return "another process has locked the directory" if holder is None else holder.words()


@contextlib.contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    """The lock of the directory, which is made where it is not there."""
    refuse_file_in_the_way(path)
    with saving(path):
        make_directory(path, mode)
    with _opened_file(RunLayout(path).lock, mode) as handle:
        yield handle


@contextlib.contextmanager
def _opened_file(file: Path, mode: int) -> Iterator[int]:
    with saving(file.parent):
        # Who may read the directory may see whose it is.
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, (mode & 0o666) | 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _taken(
    handle: int, kind: int, refusal: Callable[[], BatchrouteError], patience_s: float = _PATIENCE_S
) -> Iterator[None]:
    """The lock, until the file is closed; the refusal where it cannot be had for so long."""
    for attempt in range(int(patience_s / _NEXT_TRY_S)):
        if attempt:
            time.sleep(_NEXT_TRY_S)
        if _is_taken(handle, kind):
            yield
            return
    raise refusal()


@contextlib.contextmanager
def _named(handle: int) -> Iterator[None]:
    """Whose it is stands in the file meanwhile."""
    _write(handle, msgspec.json.encode(Holder.this_process()))
    try:
        yield
    finally:
        _write(handle, b"")


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
