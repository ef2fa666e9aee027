"""What is seen of a run at work: drawn in place on a terminal or in a notebook's cell, log lines elsewhere.

How it looks is said in show/frame; here only where it goes.
"""

from __future__ import annotations

import asyncio
import io
import time
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from batchroute.show.frame import Screen, frame
from batchroute.show.progress import watcher
from batchroute.show.speed import SpeedMeter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.run.progress import Progress
    from batchroute.show.speed import Speed

REFRESH_S = 0.5
_CELL = Screen(100, 40)
_CODE = '<pre style="font-family:monospace;line-height:1.25">{code}</pre>'


def watch(*, progress: bool) -> Callable[[Progress], Awaitable[None]] | None:
    """What a run is watched by; nothing where no progress is wanted."""
    if not progress:
        return None
    console = Console(stderr=True, highlight=False)
    return _in_cell if console.is_jupyter else watcher(console, lines=False)


async def _in_cell(progress: Progress) -> None:
    """Drawn anew in the output of the cell that began the run, and gone when that ends."""
    from IPython.display import HTML, display  # noqa: PLC0415 - a notebook has it

    cell, meter = display(HTML(""), display_id=True), SpeedMeter()
    try:
        while True:
            cell.update(HTML(_html(progress, meter.read(progress, time.monotonic()))))
            await asyncio.sleep(REFRESH_S)
    finally:
        cell.update(HTML(""))


def _html(progress: Progress, now: Speed) -> str:
    console = Console(width=_CELL.width, record=True, file=io.StringIO(), force_jupyter=False)
    console.print(frame(progress, now, _CELL, datetime.now().astimezone()))
    return console.export_html(inline_styles=True, code_format=_CODE)
