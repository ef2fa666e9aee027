"""How many requests a lane takes in at a time: a bound on memory, with an exception."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchroute.send.fleet import Fleet


class Room:
    """Places for the open requests that a feed brings; `taken` of them, of which `undecided` wait for others.

    Those that wait to hear what becomes of others must not keep these out, and count for nothing. And a room full
    of rows that fail would be all there is to ask. So while every address is away the feed goes ahead of its room,
    1, 2, 4 ... rows after each probe that failed, and by one where it is `FARTHEST_AHEAD` already: a probe is then
    a row far from those that fail, which often stand side by side.
    """

    FARTHEST_AHEAD = 256

    def __init__(self, most_open: int, fleet: Fleet[Any]) -> None:
        self.taken = 0
        self.undecided = 0
        self._most_open = most_open
        self._fleet = fleet
        self._ahead = 0  # so many may be taken in though there is no place
        self._waiter: asyncio.Future[None] | None = None

    async def take(self) -> None:
        """Until there is a place; it is only waited for, and `taken` once the request is open."""
        while self.taken - self.undecided >= self._most_open and not self._goes_ahead():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def go_ahead(self, probes: int) -> None:
        """So many probes failed, since the breaker opened."""
        self._ahead = 1 if self.taken >= self._most_open + self.FARTHEST_AHEAD else 2**probes
        self.changed()

    def changed(self) -> None:
        """There may be a place."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _goes_ahead(self) -> bool:
        if not self._fleet.is_away or self._ahead == 0:
            return False
        self._ahead -= 1
        return True
