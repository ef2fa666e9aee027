"""What is at work, for people: drawn anew in place on a terminal, a plain line every few seconds elsewhere.

Of a run that is a table of its counters, of a training a bar of its epochs. Knows nothing of how the figures come
about.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from batchroute.show.log import log, log_now_and_then
from batchroute.show.tables import add_row, table
from batchroute.show.words import clock, count, digits, money, percent, plain, speed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rich.console import Console

    from batchroute.learn.train.build import Trained
    from batchroute.learn.train.fit import Epoch
    from batchroute.run.progress import Progress

REFRESH_S = 0.25
LINE_EVERY_S = 5.0
_MOST_ERRORS = 4


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


@contextlib.contextmanager
def epochs_shown(console: Console) -> Iterator[Callable[[Epoch], None]]:
    """What to call after every epoch; the bar is gone when training ends, which is often before its last epoch."""
    if not console.is_terminal:
        say = log_now_and_then(first=True)
        yield lambda epoch: say(_epoch_words(epoch))
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None)

        def draw(epoch: Epoch) -> None:
            bar.update(task, completed=epoch.number, total=epoch.most, description=_epoch_words(epoch))

        yield draw


def _epoch_words(epoch: Epoch) -> str:
    losses = f"loss {digits(epoch.loss, 4)}, on validation prompts {digits(epoch.validation_loss, 4)}"
    return f"epoch {epoch.number} of at most {epoch.most}, {losses}"


def trained_words(trained: Trained) -> str:
    """What was trained, how good it is, and how a job names it."""
    many = f" with {count(trained.comparisons)} comparisons" if trained.comparisons != trained.prompts else ""
    epochs = "" if trained.epochs is None else f", best after {trained.epochs} epochs"
    models = trained.models
    names = f'strong = "{models[0]}", weak = "{models[1]}"'
    return "\n".join(
        [
            f"{trained.output}: mf on {count(trained.prompts)} prompts{many}{epochs}",
            ", ".join(_held_out_words(trained)),
            f'[router] use = "mf", model = "{trained.output}", '
            + (names if len(models) == 2 else f"strong and weak = two of its {len(models)} models"),
        ]
    )


def _held_out_words(trained: Trained) -> Iterator[str]:
    figures = trained.held_out
    yield f"on {count(figures.prompts)} held-out prompts of the same kind: loss {digits(figures.loss, 4)}"
    if figures.accuracy is not None:
        yield f"names the winner in {percent(figures.accuracy)}"
    if len(trained.models) == 2:
        if figures.apgr is None or figures.length_apgr is None:
            yield "APGR unknown: the strong model is no better there"
        else:
            yield f"APGR {digits(figures.apgr, 3)} (chance 0.5, length {digits(figures.length_apgr, 3)})"
