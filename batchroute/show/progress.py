"""A run at work, for people: drawn anew in place on a terminal, a plain line every few seconds elsewhere.

Knows when something is shown and where it goes; not what it says.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from batchroute.report.lanes import lane_words
from batchroute.show.frame import Screen, frame_with_hint, up_over_wrapped
from batchroute.show.log import log, logged_above
from batchroute.show.run_words import (
    crew_words,
    ended_words,
    lane_rows_words,
    left_words,
    money_words,
    pilot_words,
    rows_words,
    speed_words,
    whole_percent,
)
from batchroute.show.speed import SpeedMeter
from batchroute.show.words import count, one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from batchroute.run.progress import LaneProgress, Progress
    from batchroute.show.speed import Speed

REFRESH_S = 0.25
LINE_EVERY_S = 5.0


def watcher(console: Console, *, lines: bool) -> Callable[[Progress], Awaitable[None]]:
    """Redrawn in place on a terminal; log lines in a file or a pipe, or where `lines` asks for them."""
    return _live(console) if console.is_interactive and not lines else _lines


def _live(console: Console) -> Callable[[Progress], Awaitable[None]]:
    async def draw(progress: Progress) -> None:
        meter = SpeedMeter()

        def drawn() -> Text:
            screen = Screen(console.width, console.height, ascii_only=console.options.ascii_only)
            return frame_with_hint(
                progress, meter.read(progress, time.monotonic()), screen, datetime.now().astimezone()
            )

        # What is drawn changes only here; a refresh in between would draw the same again. What others print while
        # it stands comes above it, too, but a stdout that is no terminal is somebody's data.
        live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            vertical_overflow="crop",
        )
        last = Text()
        with live, logged_above(console):
            console.show_cursor()  # a run that is killed must not leave a terminal without one
            while True:
                console.control(up_over_wrapped(last, console.width))
                last = drawn()
                # Not in the event loop: a terminal that is halted by Ctrl-S takes nothing, and the run goes on.
                await asyncio.to_thread(live.update, last, refresh=True)
                await asyncio.sleep(REFRESH_S)

    return draw


async def _lines(progress: Progress) -> None:
    meter = SpeedMeter()
    meter.read(progress, time.monotonic())
    if progress.done_before:
        log.info(f"{count(progress.done_before)} rows were done before; the run goes on from there")
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        log.info(progress_line(progress, meter.read(progress, time.monotonic()), datetime.now().astimezone()))


def progress_line(progress: Progress, now: Speed, local: datetime) -> str:
    """All that matters in one line."""
    pilot = progress.pilot()
    share = "" if progress.rows is None else f" ({whole_percent(progress.done, progress.rows)})"
    far = f"{rows_words(progress)}{share}" if pilot is None else pilot_words(pilot)
    left = "" if pilot is not None and progress.stops_in_s() is None else left_words(progress, now.eta_s)
    lanes = ", ".join(_lane(name, lane, local) for name, lane in progress.lanes.items())
    speed, money = speed_words(progress, now), ", ".join(money_words(progress))
    ended, crew = ", ".join(ended_words(progress)), crew_words(progress)
    parts = [far, lanes, crew, speed, money, left, ended]
    return "; ".join(filter(None, parts))


def _lane(name: str, lane: LaneProgress, local: datetime) -> str:
    """The rows of a lane; what it does where that is not what it is there for."""
    state = lane.state()
    doing = "" if state.doing == "sending" else f" ({one_line(lane_words(state, local))})"
    return f"{name} {lane_rows_words(lane)}{doing}"
