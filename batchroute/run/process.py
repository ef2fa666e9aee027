"""What a command needs of its own process: a fast event loop, signals, few garbage collections, open files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from batchroute.errors import UsageFault
from batchroute.run.streams import open_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

Value = TypeVar("Value")

SPARE_FILES = 64  # handles for everything that is no connection


def run_loop(main: Coroutine[Any, Any, Value]) -> Value:
    """As `asyncio.run`, on the faster event loop and with rare garbage collections."""
    open_standard_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, rare_collections:
        return runner.run(main)


@contextlib.contextmanager
def on_signals(received: Callable[[int], None]) -> Iterator[None]:
    """Gives each SIGINT or SIGTERM to `received`, in the running loop; none ends the process meanwhile.

    In another than the main thread no signal arrives, and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def raise_file_limit(connections: int | None) -> None:
    """Lets the process open so many connections, each of which is a file; None: as many as the system allows.

    UsageFault where the system does not allow them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if connections is None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return
    needed = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageFault(
            f"max_concurrency adds up to {connections}, but this system allows {hard} open files; "
            "lower it, or raise the limit (ulimit -Hn)"
        )
    if needed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class _Collections:
    """Makes the process's garbage collections rare as long as any run wants that; runs may overlap, in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._usual = gc.get_threshold()

    def __enter__(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._usual = gc.get_threshold()
                gc.collect()
                gc.freeze()
                gc.set_threshold(100_000, 20, 100)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                gc.set_threshold(*self._usual)
                gc.unfreeze()


# Rows in flight are many long-lived objects; the collector's many looks at them would double their cost.
rare_collections = _Collections()
