"""A training at work: a bar of its epochs on a terminal, a plain line now and then elsewhere; and what came of it.

Knows nothing of how the figures come about.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from batchroute.show.log import log_now_and_then
from batchroute.show.words import count, digits, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from batchroute.learn.train.build import Trained
    from batchroute.learn.train.fit import Epoch


@contextlib.contextmanager
def epochs_shown(console: Console) -> Iterator[Callable[[Epoch], None]]:
    """What to call after every epoch; the bar is gone when training ends, which is often before its last epoch."""
    if not console.is_interactive:
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
