"""Which rows of a job are asked on both sides: a random sample, the same number from each tenth of the scores.

Every row has a random number of its own, by its place and the seed alone; those with the lowest of a stratum are
its sample. So rows are drawn without replacement, a larger sample begins with a smaller one, and any number of
scores is drawn from in bounded memory, in whatever parts they come.

Knows scores; nothing of rows' contents, files or grades.
"""

# 40 rows of 1,000 whose scores are 0.2 (550 rows) and 0.7 (450 rows). Strata are tenths by rank. The 550 lowest
# rows are five strata and half of the sixth: each is put in one of the six at random, in the sixth half as often.
# Round 0 has the row with the lowest number of every stratum, in a random order, then comes round 1. These strata
# have about 100 rows each; what a promise weighs are the rows of each score, which are known exactly.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.ranks import thresholds_for_shares

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from batchroute.quality.bound import Ints
    from batchroute.types import Floats

    Keys = NDArray[np.uint64]

STRATA = 10


@dataclass(frozen=True, slots=True)
class Drawn:
    """Sampled rows in the order in which they are asked, so that any beginning of them is a sample, too.

    `places` [n] counts all rows of the parts from 0, also those without a score. `strata` [n] is 0 for the lowest
    scores; a round has a row of each as long as there are any. `sizes` [STRATA] are the job's rows in each.
    """

    places: Ints
    scores: Floats
    strata: Ints
    rounds: Ints
    sizes: Ints


def draw(parts: Iterable[Floats], rows: int, seed: int) -> Drawn:
    """A sample of `rows` of the rows that have a score in [0, 1], or all where there are no more; NaN is none.

    `parts` is iterated six times and must yield the same scores each time.
    """
    tenths = _Tenths.of(parts)
    sizes = np.zeros(STRATA, np.int64)
    lowest = _Rows.none()
    first = 0
    for part in parts:
        known = np.flatnonzero(~np.isnan(part))
        places = known + first
        strata = tenths.of_scores(part[known], _numbers(places, seed, _STRATUM))
        sizes += np.bincount(strata, minlength=STRATA)
        lowest = lowest.lowest_with(_Rows(places, part[known], strata, _numbers(places, seed, _ROW)), rows)
        first += len(part)
    rounds = lowest.rounds()
    order = np.lexsort((_numbers(lowest.places, seed, _WITHIN_ROUND), rounds))[:rows]
    return Drawn(lowest.places[order], lowest.scores[order], lowest.strata[order], rounds[order], sizes)


@dataclass(frozen=True, slots=True)
class _Tenths:
    """Where each tenth of the ranks begins: at these scores, [e], each of which may be tied and fill several.

    `starts` [2e + 2] are the ranks, from below, at which begin: the scores below the first, that score, those
    between it and the next, that one, and so on; and the end of all.
    """

    scores: Floats
    starts: Ints

    @classmethod
    def of(cls, parts: Iterable[Floats]) -> _Tenths:
        found = thresholds_for_shares(parts, [1 - stratum / STRATA for stratum in range(STRATA)])
        rows = found[0][1]
        scores = np.unique([score for score, _ in found[1:]])
        below, to_top = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64)
        for part in parts:
            ordered = np.sort(part[~np.isnan(part)])
            below += np.searchsorted(ordered, scores, "left")
            to_top += np.searchsorted(ordered, scores, "right")
        return cls(scores, np.concatenate(([0], np.column_stack((below, to_top)).ravel(), [rows])))

    def of_scores(self, scores: Floats, numbers: Keys) -> Ints:
        """[n] the stratum of each; tied scores are spread over the tenths that they fill, by their numbers."""
        segment = np.searchsorted(self.scores, scores, "left") + np.searchsorted(self.scores, scores, "right")
        is_tied = segment % 2 == 1  # with a score that begins a tenth; all others of a segment are in one
        part = np.where(is_tied, numbers / 2.0**64, 0.5)
        rank = self.starts[segment] + part * np.diff(self.starts)[segment]
        strata: Ints = (rank * STRATA / self.starts[-1]).astype(np.int64).clip(max=STRATA - 1)
        return strata


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows by stratum, and by number within one."""

    places: Ints
    scores: Floats
    strata: Ints
    numbers: Keys

    @classmethod
    def none(cls) -> _Rows:
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.uint64))

    def lowest_with(self, more: _Rows, count: int) -> _Rows:
        """Up to `count` rows of each stratum, those of the lowest numbers."""
        highest = np.zeros(STRATA, np.uint64)
        np.maximum.at(highest, self.strata, self.numbers)
        open_strata = np.bincount(self.strata, minlength=STRATA) < count
        joining = open_strata[more.strata] | (more.numbers < highest[more.strata])
        both = _Rows(
            np.concatenate((self.places, more.places[joining])),
            np.concatenate((self.scores, more.scores[joining])),
            np.concatenate((self.strata, more.strata[joining])),
            np.concatenate((self.numbers, more.numbers[joining])),
        )
        ordered = both.take(np.lexsort((both.numbers, both.strata)))
        return ordered.take(np.flatnonzero(ordered.rounds() < count))

    def take(self, rows: Ints) -> _Rows:
        return _Rows(self.places[rows], self.scores[rows], self.strata[rows], self.numbers[rows])

    def rounds(self) -> Ints:
        """[n] the place of each in its stratum."""
        sizes = np.bincount(self.strata, minlength=STRATA)
        rounds: Ints = np.arange(len(self.strata)) - (np.cumsum(sizes) - sizes)[self.strata]
        return rounds


# SplitMix64 (Steele, Lea and Flood 2014): a step for every place, and the mixing of a step's bits.
_STEP, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROW, _STRATUM, _WITHIN_ROUND = range(3)  # what a number is for


def _numbers(places: Ints, seed: int, use: int) -> Keys:
    """A random number of 64 bits for every place."""
    start = _mixed(np.array([seed * 3 + use + 1], np.uint64) * np.uint64(_STEP))
    return _mixed(start + places.astype(np.uint64) * np.uint64(_STEP))


def _mixed(bits: Keys) -> Keys:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_MIX_1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_MIX_2)
    return bits ^ (bits >> np.uint64(31))
