"""An event loop whose time is virtual: a sleep ends at once, in its right order, and the clock jumps.

Real sockets and threads do not fit: whatever is waited for has to happen within the loop.
"""

from __future__ import annotations

import asyncio
import selectors
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from asyncio_throttle import throttler

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

Value = TypeVar("Value")

TICK_S = 1e-6  # the least by which time goes on, so that no rounding can make it stand still


class _Idle(selectors.DefaultSelector):
    """Never waits: adds to the loop's clock instead how long it would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if timeout > 0:
            self.now += timeout + TICK_S
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s."""

    def __init__(self) -> None:
        self._idle = _Idle()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now


def run_virtually(work: Coroutine[Any, Any, Value]) -> Value:
    """As `asyncio.run`, in no time; everything that was started must have ended."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, _throttled_by(runner.get_loop()):
        value = runner.run(work)
        assert not asyncio.all_tasks(runner.get_loop()), "tasks are left over"
        return value


@contextmanager
def _throttled_by(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """asyncio-throttle reads the clock by itself and has no seam for another one."""
    with pytest.MonkeyPatch.context() as world:
        world.setattr(throttler, "time", SimpleNamespace(monotonic=loop.time))
        yield
