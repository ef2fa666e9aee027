"""Scores on disk -> rows, tokens, money and wins on each side, at any number of thresholds in one pass.

Every row is looked at twice, as if it went strong and as if it went weak; a threshold chooses between the two.
Which rows have no choice, since they demand a side or are too long for one, is `routing`'s affair, as in a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.route.forecast.band import Band
from batchroute.route.forecast.lane import NANO
from batchroute.route.sides import STRONG, route
from batchroute.store.scores import read_scores
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from batchroute.job.spec import Endpoints
    from batchroute.route.forecast.lane import Lane
    from batchroute.route.sides import Routes
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Floats, Side


def in_usd(nano: Band) -> Band:
    return Band(nano.low / NANO, nano.mid / NANO, nano.high / NANO)


@dataclass(frozen=True, slots=True)
class LaneTotals:
    """One side's rows at a threshold; `sent` leaves out those too long for either, `chars` are those of `sent`."""

    rows: int
    sent: int
    chars: int
    cost_nano: Band

    @property
    def cost_usd(self) -> Band:
        return in_usd(self.cost_nano)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a threshold means for a whole input."""

    threshold: float
    strong: LaneTotals
    weak: LaneTotals
    win_mass: float

    @property
    def cost_usd(self) -> Band:
        # Divided once, the sum is as exact as a float can be, and no two ways to a threshold differ in it.
        strong, weak = self.strong.cost_nano, self.weak.cost_nano
        return in_usd(Band(strong.low + weak.low, strong.mid + weak.mid, strong.high + weak.high))


@dataclass(frozen=True, slots=True)
class Whole:
    """What does not depend on the threshold; `refused` rows are those that the input makes unusable."""

    rows: int
    refused: int
    win_mass: float
    all_strong_usd: float
    all_weak_usd: float


# The lines of the arrays below: five for each side, then the wins.
_ROWS, _SENT, _CHARS, _LOW, _MID, _HIGH = range(6)
_PER_SIDE = 6
_WINS = 2 * _PER_SIDE
_LINES = _WINS + 1


@dataclass(frozen=True, slots=True)
class Choices:
    """What each of a part's n rows adds to the totals: [lines, n] if it goes strong, and if it goes weak.

    `score` is NaN in rows that the input refuses; they add nothing. `alone` [2, n] is what a row costs on either
    side whatever its length, in nano-dollars.
    """

    score: Floats
    strong: Floats
    weak: Floats
    alone: Floats


def choices(rows: ScoredRows, endpoints: Endpoints, lanes: Mapping[Side, Lane]) -> Choices:
    usable = ~np.isnan(rows.score)
    costs = {side: lane.costs(rows.chars) for side, lane in lanes.items()}
    return Choices(
        score=rows.score,
        strong=_lines(rows, route(rows, -math.inf, endpoints), usable, costs),
        weak=_lines(rows, route(rows, math.inf, endpoints), usable, costs),
        alone=np.stack([costs["strong"][1], costs["weak"][1]]) * usable,
    )


def _lines(
    rows: ScoredRows,
    routes: Routes,
    usable: NDArray[np.bool_],
    costs: Mapping[Side, tuple[Floats, Floats, Floats]],
) -> Floats:
    lines = np.zeros((_LINES, len(usable)))
    for place, side in enumerate(SIDES):
        mine = lines[place * _PER_SIDE : (place + 1) * _PER_SIDE]
        mine[_ROWS] = routes.on(side) & usable
        mine[_SENT] = mine[_ROWS] * ~routes.too_long
        mine[_CHARS] = mine[_SENT] * rows.chars
        for line, price in zip((_LOW, _MID, _HIGH), costs[side], strict=True):
            mine[line] = mine[_SENT] * price
    lines[_WINS] = np.where((routes.to == STRONG) & usable, rows.score, 0.0)
    return lines


def each_choice(parts: Iterable[ScorePart], endpoints: Endpoints, lanes: Mapping[Side, Lane]) -> Iterator[Choices]:
    """The choices of one part after the other, in the memory of one."""
    for part in parts:
        yield choices(read_scores(part), endpoints, lanes)


def totals_at(thresholds: Sequence[float], parts: Iterable[Choices]) -> tuple[list[Totals], Whole]:
    """The totals at each threshold, in their order; one pass over the parts."""
    ordered = np.unique(np.array(thresholds, np.float64))
    base, moved = np.zeros(_LINES), np.zeros((len(ordered) + 1, _LINES))
    rows, usable, wins, alone = 0, 0, 0.0, np.zeros(2)
    for part in parts:
        base += part.weak.sum(axis=1)
        # Strong at ordered[j] if and only if more than j thresholds are not above the score.
        reached = np.searchsorted(ordered, part.score, side="right")
        for line, gain in enumerate(part.strong - part.weak):
            moved[:, line] += np.bincount(reached, weights=gain, minlength=len(moved))
        rows, usable = rows + len(part.score), usable + int(np.count_nonzero(~np.isnan(part.score)))
        wins, alone = wins + float(np.nansum(part.score)), alone + part.alone.sum(axis=1)
    above = base + (moved[::-1].cumsum(axis=0)[::-1])[1:]
    found = {t: _totals(t, lines) for t, lines in zip(ordered.tolist(), above, strict=True)}
    all_strong, all_weak = (float(nano) / NANO for nano in alone)
    return [found[threshold] for threshold in thresholds], Whole(rows, rows - usable, wins, all_strong, all_weak)


def _totals(threshold: float, lines: Floats) -> Totals:
    return Totals(threshold, _side(lines[:_PER_SIDE]), _side(lines[_PER_SIDE:_WINS]), float(lines[_WINS]))


def _side(lines: Floats) -> LaneTotals:
    rows, sent, chars = (int(lines[line]) for line in (_ROWS, _SENT, _CHARS))
    return LaneTotals(rows, sent, chars, Band(*(float(lines[line]) for line in (_LOW, _MID, _HIGH))))


@dataclass(frozen=True, slots=True)
class Gains:
    """Score, and extra cost of going strong in nano-dollars, of the rows that a threshold decides; by parts."""

    parts: Sequence[ScorePart]
    endpoints: Endpoints
    lanes: Mapping[Side, Lane]

    def __iter__(self) -> Iterator[tuple[Floats, Floats]]:
        for part in self.parts:
            rows = read_scores(part)
            free = ~np.isnan(rows.score) & (rows.forced == None)  # noqa: E711 - element by element
            costs = {side: lane.mid_cost(rows.chars) for side, lane in self.lanes.items()}
            if_strong = _cost(route(rows, -math.inf, self.endpoints), costs)
            if_weak = _cost(route(rows, math.inf, self.endpoints), costs)
            yield rows.score[free], (if_strong - if_weak)[free]


def _cost(routes: Routes, costs: Mapping[Side, Floats]) -> Floats:
    """[n] the cost of each row on the side where it goes; 0 where it fits on neither."""
    cost: Floats = np.where((routes.to == STRONG), costs["strong"], costs["weak"]) * ~routes.too_long
    return cost
