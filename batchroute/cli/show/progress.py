"""A run's progress for people: a live table on a terminal, a plain line every few seconds elsewhere.

Reads the counters of `progress` and writes to stderr. Knows nothing of how the figures come about.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from batchroute.cli.show.tables import add_row, table
from batchroute.cli.show.words import clock, count, money, plain, speed

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
    async def draw(progress: Progress) -> None:
        # What is drawn changes only here; a refresh in between would draw the same again.
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(progress_table(progress), refresh=True)
                await asyncio.sleep(REFRESH_S)

    return draw


async def _lines(progress: Progress) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        log.info(progress_line(progress))


def progress_line(progress: Progress) -> str:
    """All that matters in one line."""
    lanes = ", ".join(
        f"{name} {count(lane.settled)} (+{lane.in_flight()} in flight)" for name, lane in progress.lanes.items()
    )
    parts = [f"{_share(progress)} rows", lanes, speed(progress.rows_per_s), f"${money(progress.cost_usd)}"]
    return "; ".join([*parts, _left(progress), *_errors(progress)])


def progress_table(progress: Progress) -> Group:
    """The same with a line per lane."""
    lanes = table("lane", "ok", "refused", "failed", "in flight", "rows/s", "spent", framed=True)
    lanes.caption = Text("; ".join(_errors(progress)))
    for name, lane in progress.lanes.items():
        counts = map(count, (lane.ok, lane.refused, lane.failed, lane.in_flight()))
        rows_per_s = f"{lane.settled / max(progress.elapsed_s, 1e-3):,.1f}"
        add_row(lanes, name, *counts, rows_per_s, f"${money(lane.cost_usd)}")
    return Group(_title(progress), lanes)


def _title(progress: Progress) -> Text:
    mark = "SIMULATED: " if progress.simulated else ""
    rows = f"{_share(progress)} rows in {clock(progress.elapsed_s)}"
    return Text(f"{mark}{rows}, ${money(progress.cost_usd)}, {_left(progress)}")


def _share(progress: Progress) -> str:
    settled = progress.done_before + progress.settled
    if progress.rows is None:
        return f"{count(settled)} of {count(progress.scored())} scored"
    return f"{count(settled)} of {count(progress.rows)}"


def _left(progress: Progress) -> str:
    if progress.rows is None:
        return "still scoring"
    if progress.eta_s is None:
        return "starting"
    return f"about {clock(round(progress.eta_s))} left"


def _errors(progress: Progress) -> list[str]:
    """The commonest errors, as one entry if there are any."""
    most = progress.errors.most_common(_MOST_ERRORS)
    return [", ".join(f"{plain(name)} {count(rows)}" for name, rows in most)] if most else []
