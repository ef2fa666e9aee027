"""What is said while something works: the one logger, above what is drawn, and not more often than it is read.

Gives the logger no handler: a command does, or whoever calls the library.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

log = logging.getLogger("batchroute")
_EVERY_S = 5.0


class _Above(logging.Handler):
    """Prints what is logged above what is drawn on a console, in whole words."""

    def __init__(self, console: Console, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), markup=False, emoji=False)


@contextlib.contextmanager
def logged_above(console: Console) -> Iterator[None]:
    """Where the console is drawn anew in place, a line that went past it would tear what stands there."""
    # A caller's own file, or a collector of logs, goes on getting all.
    past = [handler for handler in log.handlers if type(handler) is logging.StreamHandler]
    above = [_Above(console, handler.formatter) for handler in past]
    _exchange(past, above)
    try:
        yield
    finally:
        _exchange(above, past)


def _exchange(old: Sequence[logging.Handler], new: Sequence[logging.Handler]) -> None:
    for handler in old:
        log.removeHandler(handler)
    for handler in new:
        log.addHandler(handler)


def log_now_and_then(*, first: bool = False) -> Callable[[str], None]:
    """Logs the messages it is given, but one in five seconds at most; the very first only if asked for."""
    last = -math.inf if first else time.monotonic()

    def say(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            log.info(message)

    return say
