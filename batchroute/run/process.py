"""What a run wants of its own process: a fast event loop, a collector that rarely looks, enough open files."""

from __future__ import annotations

import contextlib
import gc
import resource
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

SPARE_FILES = 64  # handles for everything that is no connection


def raise_file_limit(connections: int) -> None:
    """Lets the process open as many connections as the job may; UsageFault where the system does not."""
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
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


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop
