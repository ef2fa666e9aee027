"""Work in a thread of its own, which may have an event loop where the caller has one; Ctrl-C meanwhile.

Neither the caller's event loop nor its policy is touched. Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

Value = TypeVar("Value")


def in_thread(work: Callable[[], Value], interrupt: Callable[[int], None]) -> Value:
    """What `work` returns or raises; blocks.

    In the main thread each SIGINT or SIGTERM meanwhile goes to `interrupt`. The work is then awaited in any case,
    and the first signal goes on to whoever would have got it: Ctrl-C ends as KeyboardInterrupt, SIGTERM as ever.
    """
    with _signals_taken(interrupt), _pool() as pool:
        future = _begun(pool, work)
        try:
            return future.result()
        except BaseException:
            if not future.done():  # raised here and not there: by a caller's alarm, say
                interrupt(signal.SIGINT)
            raise


async def in_thread_async(work: Callable[[], Value], interrupt: Callable[[int], None]) -> Value:
    """The same without blocking the event loop, whose signals stay its own; a cancellation is an interrupt."""
    with _pool() as pool:
        future = asyncio.wrap_future(_begun(pool, work))
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                interrupt(signal.SIGINT)
        if cancelled is not None:
            raise cancelled
        return future.result()


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "batchroute")


def _begun(pool: ThreadPoolExecutor, work: Callable[[], Value]) -> Future[Value]:
    # By the context a notebook finds the cell that an output belongs to.
    return pool.submit(contextvars.copy_context().run, work)


# What happens at Ctrl-C in a script, one line a step:
#
#     main thread    waits in future.result(); `take` gets SIGINT, and calls interrupt(2)
#     other thread   the run drains for up to drain_s, seals, and returns
#     main thread    has the result, puts Python's own handler back, and raises the signal again: KeyboardInterrupt
@contextlib.contextmanager
def _signals_taken(interrupt: Callable[[int], None]) -> Iterator[None]:
    """Signals only reach the main thread, and only there may they be taken; one that is ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def take(number: int, _frame: object) -> None:
        received.append(number)
        interrupt(number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: old for number, old in handlers.items() if old not in {None, signal.SIG_IGN}}
    for number in taken:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)
        if received:
            signal.raise_signal(received[0])
