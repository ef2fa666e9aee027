"""The process of one worker on this machine: `python -m batchroute.run.workers.child FD`.

FD is its end of a pair of sockets; the driver has the other. The order comes first, then renewals go and grants
come. Keys are in the environment. Where the driver dies the socket ends, and the worker drains.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from batchroute.run.process import run_loop
from batchroute.run.workers.frames import read_frame, write_frame
from batchroute.run.workers.worker import work


async def serve(connection: socket.socket) -> None:
    """Works for whoever is at the other end, until it is over."""
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    order = await read_frame(reader)
    if order is None:
        return
    grants: asyncio.Queue[bytes] = asyncio.Queue()
    gone = asyncio.Event()

    async def receive() -> None:
        while (grant := await read_frame(reader)) is not None:
            grants.put_nowait(grant)
        gone.set()
        grants.put_nowait(b"")

    async def exchange(renewal: bytes) -> bytes:
        await write_frame(writer, renewal)
        grant = await grants.get()
        if not grant:
            raise ConnectionResetError
        return grant

    receiving = asyncio.create_task(receive())
    try:
        await work(order, exchange, gone)
    finally:
        receiving.cancel()
        writer.close()


def main() -> None:
    """Exit 0: it ended in order, and the driver was told how; anything else is a crash."""
    logging.basicConfig(level=logging.ERROR)
    run_loop(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
