"""What a command needs of its own process: a fast event loop, signals, few garbage collections, open files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, rare_collections():
        return runner.run(main)


@contextlib.contextmanager
def on_signals(received: Callable[[int], None]) -> Iterator[None]:
    """Gives each SIGINT or SIGTERM to `received`, in the running loop; none ends the process meanwhile."""
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


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Rows in flight are many long-lived objects; the collector's many looks at them would double their cost."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
