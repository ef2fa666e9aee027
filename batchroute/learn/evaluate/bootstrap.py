"""What a router's figures would be on other prompts of the same kind: prompts drawn again, with replacement.

One draw is a count for every prompt, shared by all routers, so that two routers can be compared pair by pair.
Knows arrays of scores and outcomes, as `metrics` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from batchroute.types import Floats

    Counts: TypeAlias = NDArray[np.int64]  # [draws, n]

DRAWS = 1000
CELLS_AT_A_TIME = 2_000_000  # counts held at once
INTERVAL = (2.5, 97.5)
# Draws in which the strong side is no better have no APGR; beyond this share of them the rest say nothing.
MOST_WITHOUT_GAP = 0.05


@dataclass(frozen=True, slots=True)
class Ranking:
    """Prompts in the order in which a score sends them strong: `order` [n], ties from first[i] to first[i + 1]."""

    order: NDArray[np.int64]
    first: NDArray[np.int64]


def rank(scores: Floats) -> Ranking:
    order = np.argsort(-scores, kind="stable")
    return Ranking(order, np.unique(-scores[order], return_index=True)[1])


def draws(n: int, seed: int, count: int = DRAWS) -> Iterator[Counts]:
    """Parts of [count, n]: how often each of n prompts is in each draw; the same for the same n and seed."""
    random = np.random.default_rng(seed)
    step = max(1, CELLS_AT_A_TIME // n)
    for start in range(0, count, step):
        rows = min(step, count - start)
        cells = random.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n)


def drawn_apgr(ranking: Ranking, gain: Floats, counts: Counts) -> Floats:
    """[draws] APGR, the area taken exactly; NaN where the strong side is no better."""
    size, gained = _grouped(ranking, gain, counts)
    total, gap = size.sum(axis=1), gained.sum(axis=1)
    area = ((np.cumsum(gained, axis=1) - gained / 2) * size).sum(axis=1)
    has_gap = gap > 0
    apgr: Floats = np.divide(area, total * gap, out=np.full(len(gap), np.nan), where=has_gap)
    return apgr


def drawn_curves(ranking: Ranking, gain: Floats, counts: Counts, shares: Floats) -> Floats:
    """[draws, shares] mean gain over all-weak when these shares go strong; every draw needs a prompt."""
    size, gained = (np.pad(np.cumsum(part, axis=1), ((0, 0), (1, 0))) for part in _grouped(ranking, gain, counts))
    curves = [np.interp(shares * n[-1], n, g) / n[-1] for n, g in zip(size, gained, strict=True)]
    return np.array(curves)


def interval(values: Floats) -> tuple[float, float] | None:
    """The middle 95 % of drawn figures; None where too many of them are unknown."""
    known = values[~np.isnan(values)]
    if len(known) < (1 - MOST_WITHOUT_GAP) * len(values):
        return None
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)


def _grouped(ranking: Ranking, gain: Floats, counts: Counts) -> tuple[Floats, Floats]:
    """How many prompts, and what gain, each group of tied scores has in each draw."""
    size = counts[:, ranking.order].astype(np.float64)
    gained = size * gain[ranking.order]
    if len(ranking.first) == len(ranking.order):
        return size, gained
    return np.add.reduceat(size, ranking.first, axis=1), np.add.reduceat(gained, ranking.first, axis=1)
