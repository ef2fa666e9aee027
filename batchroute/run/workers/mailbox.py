"""Renewals for a driver that fetches them, and its grants: where a worker can be called, but calls nobody.

    worker                            driver
    exchange(renewal) ............... fetch(0, None)      -> (1, renewal)
              -> grant .............. fetch(1, grant)     -> (2, next renewal), as soon as there is one
    end() ........................... fetch(2, grant)     -> None

A call that was lost is made again with the same words: a grant counts for the renewal whose number it has, and a
renewal is there until it is answered or a newer one takes its place. Knows nothing of what the bytes say.
"""

from __future__ import annotations

import asyncio


class Mailbox:
    """Of one worker; both sides are in one event loop."""

    def __init__(self) -> None:
        self._number = 0
        self._renewal = b""
        self._grant: asyncio.Future[bytes] | None = None
        self._ended = False
        self._changed = asyncio.Event()

    async def exchange(self, renewal: bytes) -> bytes:
        """The worker's: its renewal -> the driver's grant. Whoever stops waiting may come with a newer one."""
        self._number += 1
        self._renewal = renewal
        grant: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._grant = grant
        self._wake()
        return await grant

    async def fetch(self, number: int, grant: bytes | None) -> tuple[int, bytes] | None:
        """The driver's: what it grants to the renewal `number` -> the next one, numbered; None: it ended."""
        if grant is not None and number == self._number and self._grant is not None and not self._grant.done():
            self._grant.set_result(grant)
        while not self._ended and self._number <= number:
            await self._changed.wait()
        return None if self._ended else (self._number, self._renewal)

    def end(self) -> None:
        """No more renewals come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
