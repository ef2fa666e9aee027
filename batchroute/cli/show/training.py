"""Training for people: a bar on a terminal, a plain line every few seconds elsewhere, and what came of it."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from batchroute.learn.train.build import Trained
    from batchroute.learn.train.fit import Epoch

LINE_EVERY_S = 5.0

log = logging.getLogger("batchroute")


@contextlib.contextmanager
def epochs_shown(console: Console) -> Iterator[Callable[[Epoch], None]]:
    """What to tell of every epoch; the bar is gone when training ends, which is often before its last epoch."""
    if not console.is_terminal:
        yield _line_teller()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None)

        def draw(epoch: Epoch) -> None:
            bar.update(task, completed=epoch.number, total=epoch.most, description=_epoch_words(epoch))

        yield draw


def _line_teller() -> Callable[[Epoch], None]:
    last = time.monotonic()

    def tell(epoch: Epoch) -> None:
        nonlocal last
        if epoch.number == 1 or time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            log.info(_epoch_words(epoch))

    return tell


def _epoch_words(epoch: Epoch) -> str:
    losses = f"loss {epoch.loss:.4f}, on validation prompts {epoch.validation_loss:.4f}"
    return f"epoch {epoch.number} of at most {epoch.most}, {losses}"


def trained_words(trained: Trained) -> str:
    """What was trained, how good it is, and how a job names it."""
    many = f" with {trained.comparisons:,} comparisons" if trained.comparisons != trained.prompts else ""
    epochs = "" if trained.epochs is None else f", best after {trained.epochs} epochs"
    lines = [f"{trained.output}: mf on {trained.prompts:,} prompts{many}{epochs}"]
    lines.append(_held_out_words(trained))
    table = f'[router] use = "mf", model = "{trained.output}"'
    if len(trained.models) == 2:
        lines.append(f'{table}, strong = "{trained.models[0]}", weak = "{trained.models[1]}"')
    else:
        lines.append(f"{table}, strong and weak = two of its {len(trained.models)} models")
    return "\n".join(lines)


def _held_out_words(trained: Trained) -> str:
    figures = trained.held_out
    parts = [f"on {figures.prompts:,} held-out prompts of the same kind: loss {figures.loss:.4f}"]
    if figures.accuracy is not None:
        parts.append(f"names the winner in {100 * figures.accuracy:.1f} %")
    if len(trained.models) == 2:
        apgr, length = figures.apgr, figures.length_apgr
        unknown = "APGR unknown: the strong model is no better there"
        parts.append(
            unknown if apgr is None or length is None else f"APGR {apgr:.3f} (chance 0.5, length {length:.3f})"
        )
    return ", ".join(parts)
