"""The requests that a lane is given as they come up, until no more are wanted."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from batchroute.send.request import Delivery, Request


class RequestQueue:
    """First in, first out. Belongs to one event loop; it is drained when all that was put has come to its end."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self.wanted = 0  # all that was put
        self._open = 0
        self._closed = False
        self._ended = False
        self._is_whole = True
        self._changed = asyncio.Event()

    def put(self, request: Request) -> None:
        self._waiting.append(request)
        self._open += 1
        self.wanted += 1
        self._changed.set()

    @property
    def settled(self) -> int:
        """How many of them came to their end."""
        return self.wanted - self._open

    def close(self) -> None:
        """No more is to come."""
        self._closed = True
        self._changed.set()

    def done(self) -> None:
        """One of the requests was settled."""
        self._open -= 1
        self._changed.set()

    def left(self) -> None:
        """One of the requests stays undone, as the delivery stops."""
        self._is_whole = False
        self.done()

    def ended(self) -> None:
        """The delivery takes no more, whatever it was given."""
        self._ended = True
        self._changed.set()

    async def requests(self, delivery: Delivery[Request]) -> AsyncGenerator[Request, None]:
        """All that is put, for the delivery, until the queue is closed."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            with delivery.starved():
                await self._next_change()

    async def drained(self) -> bool:
        """Waits for the end of all that was put; False where the delivery ended before, or left some of it."""
        while self._open and not self._ended:
            await self._next_change()
        return self._is_whole and not self._open

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
