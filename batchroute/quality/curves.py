"""Scores against labels: how much of the gap between two models a router recovers at every share sent strong.

The definitions are RouteLLM's (Ong et al. 2024, "RouteLLM: Learning to Route LLMs with Preference Data"). APGR is
the area between a router's curve and all-weak, over that between all-strong and all-weak; CPT(x) is the share of
strong calls at which x of the gap is recovered.

What the figures would be on other prompts of the same kind is found by the bootstrap (Efron 1979): prompts are
drawn again, with replacement; an interval lies between two percentiles of the figures. One draw is a count for
every prompt, shared by all routers, so that two routers can be compared pair by pair.

Knows arrays of scores and outcomes; nothing of routers or files.
"""

# Four prompts, in the order of their scores; the strong side is right on all of them:
#
#     score        0.9  0.6  0.4  0.1
#     weak side      0    1    0    1      all weak 0.5, all strong 1.0: a gap of 0.5
#     gain           1    0    1    0
#
#     share strong   0    1/4   1/2   3/4   1
#     mean quality  0.50  0.75  0.75  1.00  1.00
#
# The area under the curve is (0.625 + 0.75 + 0.875 + 1) / 4 = 0.8125, so APGR = (0.8125 - 0.5) / 0.5 = 0.625. An
# oracle's order has the gains 1, 1, 0, 0 and 0.75; a constant score is a straight line from 0.5 to 1, and 0.5.
# CPT(50 %): half of the gap, a quality of 0.75, is first reached at a share of 25 %.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from batchroute.types import Floats

    Counts: TypeAlias = NDArray[np.int64]  # [draws, n]
    Rows: TypeAlias = NDArray[np.int64]
    Domain: TypeAlias = str | None

RANDOM_ROUTERS = 100  # of which the control `random` is the mean
FINE_GRID = 100
COARSE_GRID = 10  # RouteLLM's
SHARES = np.linspace(0, 1, FINE_GRID + 1)  # of the prompts, sent strong
ALL = None  # the domain of all prompts
DRAWS = 1000
CELLS_AT_A_TIME = 2_000_000  # counts held at once
INTERVAL = (2.5, 97.5)
# Draws in which the strong side is no better have no APGR; beyond this share of them the rest say nothing.
MOST_WITHOUT_GAP = 0.05


def quality_curve(scores: Floats, strong: Floats, weak: Floats, shares: Floats) -> Floats:
    """Mean quality when the given shares of the prompts, highest scores first, go to the strong model.

    `scores`, `strong`, `weak` [n]; tied scores are sent in equal parts, so a constant score is a random router.
    """
    order = np.argsort(-scores, kind="stable")
    _, first, size = np.unique(-scores[order], return_index=True, return_counts=True)
    gain = np.add.reduceat((strong - weak)[order], first) / size
    gained = np.concatenate((np.zeros(1), np.cumsum(np.repeat(gain, size))))
    curve: Floats = weak.mean() + np.interp(shares * len(scores), np.arange(len(gained)), gained) / len(scores)
    return curve


def apgr(scores: Floats, strong: Floats, weak: Floats, grid: int = FINE_GRID) -> float:
    """Average performance gap recovered, over `grid` equal steps of the strong share.

    (mean quality over the shares - all weak) / (all strong - all weak); random is 0.5. NaN for equal sides.
    """
    return _recovered(scores, strong, weak, np.linspace(0, 1, grid + 1))


def coarse_apgr(scores: Floats, strong: Floats, weak: Floats) -> float:
    """APGR as RouteLLM's own evaluation takes it: at thresholds that are the scores' deciles, both ends included.

    The share that a threshold sends strong is counted, not assumed, which is what ties and small samples change.
    """
    thresholds = np.quantile(scores, np.linspace(0, 1, COARSE_GRID + 1)[:-1])
    reached = np.searchsorted(np.sort(scores), thresholds, side="left")
    shares = np.unique(np.concatenate((np.array([0.0, 1.0]), 1 - reached / len(scores))))
    return _recovered(scores, strong, weak, shares)


def _recovered(scores: Floats, strong: Floats, weak: Floats, shares: Floats) -> float:
    gap = float(strong.mean() - weak.mean())
    if gap == 0:
        return float("nan")
    area = float(np.trapezoid(quality_curve(scores, strong, weak, shares), shares))
    return (area - float(weak.mean())) / gap


def share_reaching(curve: Floats, quality: float, shares: Floats) -> float:
    """The least strong share at which a curve over `shares` reaches `quality`; NaN where it never does."""
    above = curve >= quality
    place = int(above.argmax())
    if not above[place]:
        return float("nan")
    if place == 0:
        return float(shares[0])
    below, step = curve[place - 1], curve[place] - curve[place - 1]
    return float(shares[place - 1] + (quality - below) / step * (shares[place] - shares[place - 1]))


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


def random_scores(n: int, seed: int) -> Floats:
    """[RANDOM_ROUTERS, n] scores that know nothing of the prompts."""
    scores: Floats = np.random.default_rng((seed, RANDOM_ROUTERS)).random((RANDOM_ROUTERS, n))
    return scores


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

    `domains` has the rows of each domain; ALL is one of them. Of a router with several scores, [k, n], draw d
    takes those of number d modulo k: its figures differ by the prompts drawn, and by the scores drawn, too.
    """
    ranks = {
        (name, domain): [rank(each[rows]) for each in np.atleast_2d(scores[name])]
        for name in scores
        for domain, rows in domains.items()
    }
    apgrs: dict[tuple[str, Domain], list[Floats]] = {key: [] for key in ranks}
    gains: dict[str, list[Floats]] = {name: [] for name in scores}
    weaks: list[Floats] = []
    first = 0
    for counts in parts:
        for (name, domain), rankings in ranks.items():
            rows = domains[domain]
            drawn = np.empty(len(counts))
            for ranking, mine in _dealt(rankings, first):
                drawn[mine] = drawn_apgr(ranking, gain[rows], counts[mine][:, rows])
            apgrs[name, domain].append(drawn)
        for name in scores:
            curved = np.empty((len(counts), len(SHARES)))
            for ranking, mine in _dealt(ranks[name, ALL], first):
                curved[mine] = drawn_curves(ranking, gain, counts[mine], SHARES)
            gains[name].append(curved)
        weaks.append(counts @ weak / len(gain))
        first += len(counts)
    curves = {name: np.concatenate(drawn) for name, drawn in gains.items()}
    return DrawnFigures(
        apgr={key: np.concatenate(drawn) for key, drawn in apgrs.items()},
        gain=curves,
        weak=np.concatenate(weaks),
        gap=next(iter(curves.values()))[:, -1],  # where all goes strong every router has the same gain
    )


def _dealt(rankings: Sequence[Ranking], first: int) -> Iterator[tuple[Ranking, slice]]:
    """Each of k rankings with its draws among those of a part, whose first draw has the number `first`."""
    for number, ranking in enumerate(rankings):
        yield ranking, slice((number - first) % len(rankings), None, len(rankings))


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
    return np.array(curves).reshape(len(counts), len(shares))


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
