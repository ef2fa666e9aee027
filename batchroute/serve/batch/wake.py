"""Wakes the worker of a state directory, whichever server started it: a byte in a named pipe.

No signal, as one may come before the worker is ready for it, or hit a process that got the worker's number. What
the byte means is on file, so a lost or a second one does no harm. Knows no batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIPE = "worker.wake"


def wake_worker(state: Path) -> None:
    """Does nothing where no worker listens."""
    with contextlib.suppress(OSError):
        pipe = os.open(state / _PIPE, os.O_WRONLY | os.O_NONBLOCK)
        with os.fdopen(pipe, "wb", buffering=0) as listening:
            listening.write(b"\n")


@contextlib.contextmanager
def woken(state: Path) -> Iterator[asyncio.Event]:
    """Inside a running loop: an event that each `wake_worker` sets."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(state / _PIPE, 0o600)
    pipe = os.open(state / _PIPE, os.O_RDWR | os.O_NONBLOCK)  # with a writer of its own it never ends
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def read() -> None:
        os.read(pipe, 4096)
        event.set()

    loop.add_reader(pipe, read)
    try:
        yield event
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
