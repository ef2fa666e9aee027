"""What goes on beside the work of a run, as long as that lasts: the clock, its status file, the display.

Knows nothing of the work.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from batchroute.run.progress import Progress


@contextlib.asynccontextmanager
async def in_background(works: Iterable[Awaitable[None]]) -> AsyncIterator[asyncio.TaskGroup]:
    """Runs all of these as long as the block works, which is cancelled where one of them fails.

    Gives the group that they are in: what is added to it is awaited, and not cancelled, after the block.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(work)) for work in works]
        yield group
        for task in tasks:
            task.cancel()


class Display:
    """What shows the progress of a run. One that fails ends no run that is paid for: its fault is kept."""

    def __init__(self, watch: Callable[[Progress], Awaitable[None]] | None, progress: Progress) -> None:
        self._watch = watch
        self._progress = progress
        self._fault: Exception | None = None

    async def show(self) -> None:
        """Until it is cancelled, or fails."""
        try:
            if self._watch is not None:
                await self._watch(self._progress)
        except Exception as fault:
            self._fault = fault

    def raise_fault(self) -> None:
        """To be called when all is on file."""
        if self._fault is not None:
            raise self._fault


async def _awaited(work: Awaitable[None]) -> None:
    await work
