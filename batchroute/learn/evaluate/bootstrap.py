"""What a router's figures would be on other prompts of the same kind: the bootstrap (Efron 1979).

Prompts are drawn again, with replacement; an interval lies between two percentiles of the figures. One draw is a
count for every prompt, shared by all routers, so that two routers can be compared pair by pair. Knows arrays of
scores and outcomes, as `metrics` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batchroute.learn.evaluate.metrics import SHARES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from batchroute.types import Floats

    Counts: TypeAlias = NDArray[np.int64]  # [draws, n]
    Rows: TypeAlias = NDArray[np.int64]
    Domain: TypeAlias = str | None

ALL = None  # the domain of all prompts

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


@dataclass(frozen=True, slots=True)
class DrawnFigures:
    """Figures of every draw: APGR [draws] by router and domain, mean gain over all-weak [draws, SHARES] by router.

    `weak` [draws] is the mean quality of all-weak, `gap` [draws] what all-strong is better by.
    """

    apgr: Mapping[tuple[str, Domain], Floats]
    gain: Mapping[str, Floats]
    weak: Floats
    gap: Floats


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


def draw_figures(
    scores: Mapping[str, Floats],
    gain: Floats,
    weak: Floats,
    domains: Mapping[Domain, Rows],
    parts: Iterable[Counts],
) -> DrawnFigures:
    """The figures of n prompts in the draws of `parts`; `scores` [n] by router, `gain` and `weak` [n] by prompt.

    `domains` has the rows of each domain; ALL is one of them.
    """
    ranks = {(name, domain): rank(scores[name][rows]) for name in scores for domain, rows in domains.items()}
    apgrs: dict[tuple[str, Domain], list[Floats]] = {key: [] for key in ranks}
    gains: dict[str, list[Floats]] = {name: [] for name in scores}
    weaks: list[Floats] = []
    for counts in parts:
        for (name, domain), ranking in ranks.items():
            rows = domains[domain]
            apgrs[name, domain].append(drawn_apgr(ranking, gain[rows], counts[:, rows]))
        for name in scores:
            gains[name].append(drawn_curves(ranks[name, ALL], gain, counts, SHARES))
        weaks.append(counts @ weak / len(gain))
    curves = {name: np.concatenate(drawn) for name, drawn in gains.items()}
    return DrawnFigures(
        apgr={key: np.concatenate(drawn) for key, drawn in apgrs.items()},
        gain=curves,
        weak=np.concatenate(weaks),
        gap=next(iter(curves.values()))[:, -1],  # where all goes strong every router has the same gain
    )


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
