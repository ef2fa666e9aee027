"""Workers as processes of this machine, each with a socket to the driver.

They get the job over the socket and their keys by the environment, so that neither stands in a process list. Each
has a session of its own: a Ctrl-C reaches the driver alone. Knows what the bytes are for, not what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

from batchroute.run.workers.frames import read_frame, write_frame

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

    from batchroute.run.workers.messages import Exchanges

_CHILD = "batchroute.run.workers.child"


class ProcessWorkers:
    """See `Workers`."""

    def __init__(self, driver: Exchanges, order: bytes, environ: Mapping[str, str]) -> None:
        """`order` is what each is begun with."""
        self._driver = driver
        self._order = order
        # What can be imported here can be imported there: a router may be a class beside the job file.
        self._environ = {**os.environ, **environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._running: dict[str, Process] = {}

    async def serve(self, name: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _CHILD,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=self._environ,
                start_new_session=True,
            )
        self._running[name] = process
        self._driver.begun(name)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            with contextlib.suppress(ConnectionError):
                await write_frame(writer, self._order)
                while (said := await read_frame(reader)) is not None:
                    await write_frame(writer, self._driver.exchange(name, said))
            await process.wait()
        finally:
            writer.close()
            del self._running[name]

    def kill(self, name: str) -> None:
        if (process := self._running.get(name)) is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
