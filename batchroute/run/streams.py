"""The standard streams of the process: there from the start, and what follows when no one takes what is written.

    stderr                     decides nothing: what it does not take is dropped
    stdout, its reader gone    (`| head`) the command goes on and ends as it would have; `score -` reads no further
    stdout, anything else      (a full disk) what the command was to print is lost: an error, and exit 4 for 0
    ... of run, train, serve   a warning: what they do stands elsewhere

Daemons and crons start jobs with descriptor 0, 1 or 2 closed. The next file that is opened gets the lowest free
number: a journal would be descriptor 1, and whatever prints would write into it; and uvloop aborts a process in
which one of its own files is among them.

All that is written passes here, also what click, rich and logging write. Knows nothing of what it says.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from typing import Any, TextIO, cast

_STANDARD = range(3)
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN})


class StandardStream:
    """stdout or stderr, of which no write fails: `loss` is why it is lost, where that is not that no one reads."""

    buffer = None  # else click writes past it where the encoding is ASCII

    def __init__(self, stream: TextIO) -> None:
        self.is_lost = False
        self.loss: str | None = None
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.is_lost = True
        self.loss = None if _is_reader_gone(error, self._stream) else error.strerror
        _discard(self._stream)


def _is_reader_gone(error: OSError, stream: TextIO) -> bool:
    """A terminal that hung up says EIO, as a disk does that fails."""
    if error.errno == errno.EIO:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    return error.errno in _GONE


def _discard(stream: TextIO) -> None:
    """Lets everything that is still to come, what stands in buffers too, go nowhere."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def open_standard_descriptors() -> None:
    """Opens /dev/null as each of the three that is closed; to be called before anything else is opened."""
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # is given the lowest free number, which is this one
            os.set_inheritable(descriptor, True)


def open_standard_streams() -> None:
    """Makes all three usable, for the rest of the process; to be called before anything is opened."""
    open_standard_descriptors()
    for descriptor in _STANDARD:
        with contextlib.suppress(OSError):
            os.set_blocking(
                descriptor, True
            )  # as a parent may have left it otherwise, where a slow reader is no loss
    if cast("TextIO | None", sys.stdin) is None:
        sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = _guarded(sys.stdout, 1)
    sys.stderr = _guarded(sys.stderr, 2)


def _guarded(stream: TextIO | StandardStream | None, descriptor: int) -> TextIO:
    if isinstance(stream, StandardStream):
        return cast("TextIO", stream)
    if stream is None:
        stream = os.fdopen(descriptor, "w", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a character that the terminal lacks is no error either
    return cast("TextIO", StandardStream(stream))


def is_stdout_lost() -> bool:
    """Whether nothing that is printed arrives any more."""
    return isinstance(sys.stdout, StandardStream) and sys.stdout.is_lost


def take_loss() -> str | None:
    """Why what was printed is lost, in words, and once; None where it is not, or was of no use to anyone."""
    sys.stdout.flush()
    if not isinstance(sys.stdout, StandardStream) or sys.stdout.loss is None:
        return None
    why, sys.stdout.loss = sys.stdout.loss, None
    return f"what is printed is lost, as stdout does not take it ({why}); make room, or send it elsewhere"
