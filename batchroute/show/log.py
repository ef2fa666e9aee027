"""What is said while something works: the one logger, and messages that do not come more often than they are read.

Gives the logger no handler: a command does, or whoever calls the library.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("batchroute")
_EVERY_S = 5.0


def log_now_and_then(*, first: bool = False) -> Callable[[str], None]:
    """Logs the messages it is given, but one in five seconds at most; the very first only if asked for."""
    last = -math.inf if first else time.monotonic()

    def say(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            log.info(message)

    return say
