"""Messages over a stream of bytes: each behind its length, as four bytes, the first the highest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

_LENGTH_BYTES = 4


async def read_frame(reader: StreamReader) -> bytes | None:
    """The next message; None where the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def write_frame(writer: StreamWriter, message: bytes) -> None:
    """Raises ConnectionError where the other side is gone."""
    writer.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    await writer.drain()
