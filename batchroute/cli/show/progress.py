"""A run's progress for people: a live table on a terminal, a plain line every few seconds elsewhere.

Reads the counters of `progress` and writes to stderr. Knows nothing of how the figures come about.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from batchroute.run.progress import Progress

REFRESH_S = 0.25
LINE_EVERY_S = 5.0
_MOST_ERRORS = 4

log = logging.getLogger("batchroute")


def watcher(console: Console, *, lines: bool) -> Callable[[Progress], Awaitable[None]]:
    """Redrawn in place on a terminal; log lines in a file or a pipe, or where `lines` asks for them."""
    return _live(console) if console.is_terminal and not lines else _lines


def _live(console: Console) -> Callable[[Progress], Awaitable[None]]:
    async def show(progress: Progress) -> None:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(progress_table(progress), refresh=True)
                await asyncio.sleep(REFRESH_S)

    return show


async def _lines(progress: Progress) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        log.info(progress_line(progress))


def progress_line(progress: Progress) -> str:
    """All that matters in one line."""
    lanes = ", ".join(f"{side} {_lane_words(progress, side)}" for side in SIDES)
    return (
        f"{_share(progress)} rows; {lanes}; {progress.rows_per_s:,.1f} rows/s; "
        f"${progress.cost_usd:.4f}; {_left(progress)}{_errors(progress)}"
    )


def _lane_words(progress: Progress, side: str) -> str:
    lane = progress.lanes["strong" if side == "strong" else "weak"]
    return f"{lane.settled:,} (+{lane.in_flight()} in flight)"


def progress_table(progress: Progress) -> Group:
    """The same with a line per lane."""
    table = Table(caption=_errors(progress).lstrip("; ") or None)
    for heading in ("lane", "ok", "refused", "failed", "in flight", "rows/s", "spent"):
        table.add_column(heading, justify="left" if heading == "lane" else "right")
    for side in SIDES:
        lane = progress.lanes[side]
        counts = (lane.ok, lane.refused, lane.failed, lane.in_flight())
        speed = f"{lane.settled / max(progress.elapsed_s, 1e-3):,.1f}"
        table.add_row(side, *(f"{count:,}" for count in counts), speed, f"${lane.cost_usd:,.4f}")
    return Group(_title(progress), table)


def _title(progress: Progress) -> Text:
    elapsed = timedelta(seconds=int(progress.elapsed_s))
    mark = "SIMULATED: " if progress.simulated else ""
    return Text(f"{mark}{_share(progress)} rows in {elapsed}, ${progress.cost_usd:,.4f}, {_left(progress)}")


def _share(progress: Progress) -> str:
    settled = progress.done_before + progress.settled
    if progress.rows is None:
        return f"{settled:,} of {progress.scored():,} scored"
    return f"{settled:,} of {progress.rows:,}"


def _left(progress: Progress) -> str:
    if progress.rows is None:
        return "still scoring"
    if progress.eta_s is None:
        return "starting"
    return f"about {timedelta(seconds=round(progress.eta_s))} left"


def _errors(progress: Progress) -> str:
    most = progress.errors.most_common(_MOST_ERRORS)
    return "; " + ", ".join(f"{name} {count:,}" for name, count in most) if most else ""
