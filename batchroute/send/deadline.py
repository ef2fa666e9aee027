"""One timer for all exchanges with an endpoint, instead of one for each: a tenth of what a request costs.

All may take equally long, so they run out in the order in which they began. Knows tasks and a clock.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """Cancels a task that does not `end` within `timeout_s` of its `begin`."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._began: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._began[task] = now = loop.time()
        if self._timer is None:
            self._timer = loop.call_at(now + self._timeout_s, self._look)

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task's time ran out and nothing else cancelled it: the cancellation is ours, and over."""
        self._began.pop(task, None)
        if task not in self._expired:
            return False
        self._expired.remove(task)
        return task.uncancel() == 0

    def _look(self) -> None:
        """Cancels what has run out, and comes again when the next one may."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._began:
            task, began = next(iter(self._began.items()))
            if began + self._timeout_s > loop.time():
                self._timer = loop.call_at(began + self._timeout_s, self._look)
                return
            del self._began[task]
            self._expired.add(task)
            task.cancel()
