"""Which of several routers sends a job's rows, by what each would have kept of graded ones.

A router is as good as the mean quality over all strong shares: what its order of the rows is worth before a share
is chosen. APGR is the same on another scale, one that is lost where the strong side is no better. Knows scores and
grades; nothing of where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.curves import ALL, SHARES, draw_figures, draws, quality_curve
from batchroute.quality.recovered import LEAST_GAP, Recovered, has_gap, recovered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.quality.curves import DrawnFigures
    from batchroute.types import Floats

MOST_ERRORS = 1.0  # standard errors that another router may be better by without replacing the job's


def compare(scores: Mapping[str, Floats], strong: Floats, weak: Floats, seed: int) -> dict[str, Recovered]:
    """APGR of each router with its interval; `scores` [n] by router, one or more rows with grades in [0, 1]."""
    return _figures(scores, strong, weak, _draw(scores, strong, weak, seed))


def choose(
    scores: Mapping[str, Floats], strong: Floats, weak: Floats, seed: int
) -> tuple[str, dict[str, Recovered]]:
    """The router to route with, and the figures of each; the first of `scores` is the job's own choice, and stays.

    It is replaced by the best of those that are better by more than a standard error of the difference, taken over
    the same draws of the rows. Where the strong side is no better there is nothing to choose for: it stays.
    """
    drawn = _draw(scores, strong, weak, seed)
    means = {name: float(quality_curve(each, strong, weak, SHARES).mean()) for name, each in scores.items()}
    first = chosen = next(iter(scores))
    for name in scores if has_gap(strong, weak) else ():
        error = float((drawn.gain[name] - drawn.gain[first]).mean(axis=1).std())
        is_shown = means[name] - means[first] > max(MOST_ERRORS * error, LEAST_GAP)
        if is_shown and means[name] > means[chosen]:
            chosen = name
    return chosen, _figures(scores, strong, weak, drawn)


def _draw(scores: Mapping[str, Floats], strong: Floats, weak: Floats, seed: int) -> DrawnFigures:
    count = len(strong)
    return draw_figures(scores, strong - weak, weak, {ALL: np.arange(count)}, draws(count, seed))


def _figures(
    scores: Mapping[str, Floats], strong: Floats, weak: Floats, drawn: DrawnFigures
) -> dict[str, Recovered]:
    return {name: recovered(each, strong, weak, drawn.apgr[name, ALL]) for name, each in scores.items()}
