"""The least share of strong answers that keeps a part of the strong side's quality, with a stated confidence.

A sample of the job's rows was answered by both sides and graded. A share is tested by whether the mean of
routed - quality * strong is at least zero (`bound`). The shares are fixed by the scores alone and tested in one
order, 95, 90, ... 0 % strong, until the first that is not shown: so the confidence holds for the share that is
chosen, however many were tested (fixed-sequence testing: Maurer, Hothorn and Lehmacher 1995). All weak is tested
by itself before that, with a fifth of the error budget: a score that ranks badly may end the sequence early where
no score is needed at all.

Knows arrays of scores and grades; nothing of rows, files, prices or judges.
"""

# Confidence .9 is an error budget of .1: .02 for all weak, .08 for the sequence. Of 400 rows, quality .95:
#
#     share     kept     interval       shown
#     100 %    100.0 %                  by definition
#      95 %     99.6 %   98.9  100.2    yes
#      90 %     98.9 %   97.8  100.0    yes
#      85 %     97.1 %   95.4   98.6    yes          <- the choice
#      80 %     96.4 %   94.5   98.1    no
#      75 %     97.2 %   94.9   99.3    not tested, whatever it looks like
#
# A choice by estimates would take 75 %: the luckiest of many, and broken in up to half of the jobs.

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.bound import BOLDEST_BET
from batchroute.quality.graded import Graded
from batchroute.quality.kept import Kept
from batchroute.quality.shares import SHARES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.quality.bound import Bools, Ints
    from batchroute.quality.kept import Routings
    from batchroute.quality.shares import JobScores
    from batchroute.types import Floats, Verdict

ALL_WEAK = len(SHARES) - 1  # its place
ALL_WEAK_PART = 0.2  # of the error budget
IN_SIGHT = 100  # times the rows asked: an estimate of more is none


@dataclass(frozen=True, slots=True)
class Tested:
    """A share of the rows, and what is kept when those of the highest scores go strong.

    `strong_share` is the share that goes strong at `threshold`, where tied scores go together. `low` and `high`
    are the ends of a two-sided interval. `passes` is None where the sequence ended before the share; `rows_needed`
    is the estimated size of a sample that shows it, None where that is not in sight.
    """

    share: float
    strong_share: float
    threshold: float
    kept: float
    low: float
    high: float
    passes: bool | None = None
    rows_needed: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sample shows of a job. A row goes strong if and only if its score is at least `threshold`.

    `kept` is the estimated part of the strong side's quality, `low` and `high` its two-sided interval; as the
    choice was made by the same grades, only the target is warranted. `rows_needed` is that of the first share
    below all strong, 95 % but for ties. `tested` has all of SHARES.
    """

    verdict: Verdict
    threshold: float
    strong_share: float
    kept: float
    low: float
    high: float
    rows_needed: int | None
    tested: tuple[Tested, ...]

    def is_settled(self, most_rows: int) -> bool:
        """Whether a sample of up to `most_rows` is not expected to show a lower share."""
        lower = [each for each in self.tested if each.strong_share < self.strong_share]
        next_ones = (*lower[:1], *lower[-1:])  # in the sequence, and all weak
        return not any(each.rows_needed is not None and each.rows_needed <= most_rows for each in next_ones)


def quality_threshold(
    scores: Floats,
    strong: Floats,
    weak: Floats,
    *,
    quality: float,
    confidence: float = 0.9,
    job_scores: Floats | JobScores | None = None,
    look: Ints | None = None,
    looks: int = 1,
) -> Choice:
    """The least share of strong answers that keeps `quality` of the strong side's, shown with `confidence`.

        br.quality_threshold(scores, strong, weak, quality=0.95).threshold

    `scores`, `strong`, `weak` [n] are of a random sample of the job's rows, grades in [0, 1]. `job_scores` has the
    scores of all rows of the job, from which the sample was drawn without replacement, at random or in equal
    numbers from quantiles of the score; NaN is a row that is not routed by score. Without them the shares are
    those of the sample, which stands for a job without end.

    A sample that grows until it shows enough is looked at several times, `looks` at most: `look` [n] is the number
    of the look, from 0, that a row came with. The confidence holds whichever look is the last.

    ValueError: arrays of other lengths, grades outside [0, 1], NaN, a quality or confidence that is not a part.
    """
    if not (0 < quality <= 1 and 0 < confidence < 1):
        raise ValueError(
            f"quality {quality} must be above 0 and at most 1, confidence {confidence} between 0 and 1"
        )
    sample = Graded.checked(scores, strong, weak)
    shares, ways = sample.routings(job_scores)
    budget = (1 - confidence) / looks
    shown = _shown(ways, quality, budget)
    for rows in _earlier(look, len(scores), looks):
        earlier = Graded.checked(*(np.asarray(column)[rows] for column in (scores, strong, weak)))
        shown |= _shown(earlier.routings(job_scores)[1], quality, budget)
    passes, is_better = _in_sequence(shown, shares)
    is_better = is_better and sample.weak.sum() > sample.strong.sum()
    needed = _rows_needed(ways, passes, quality, budget)
    tested = tuple(_tested(shares, ways, confidence, passes, needed))
    chosen = [each for each in tested if each.passes][-1]
    if chosen.strong_share == 1:
        return _choice("all strong", tested[0], tested)
    if chosen.strong_share > 0:
        return _choice("route", chosen, tested)
    return _choice("weak is better" if is_better else "all weak", chosen, tested)


def kept_by_share(
    scores: Floats,
    strong: Floats,
    weak: Floats,
    *,
    confidence: float = 0.9,
    job_scores: Floats | JobScores | None = None,
) -> tuple[Tested, ...]:
    """What each of SHARES keeps, with a two-sided interval, by any score of a sample; nothing is tested."""
    shares, ways = Graded.checked(scores, strong, weak).routings(job_scores)
    nothing = [None] * len(SHARES)
    return tuple(_tested(shares, ways, confidence, nothing, nothing))


def _earlier(look: Ints | None, rows: int, looks: int) -> Iterator[Bools]:
    """The rows of each look but the last."""
    numbers = np.zeros(rows, np.int64) if look is None else np.asarray(look)
    if len(numbers) != rows or not set(np.unique(numbers)) <= set(range(looks)):
        raise ValueError(f"look must have the number of a look, from 0 to {looks - 1}, for each of {rows} rows")
    for last in np.unique(numbers)[:-1]:
        yield numbers <= last


# What is claimed: that 95, 90, ... 0 % keep the target, in sequence; then three things of all weak: that it keeps
# the target, tested by itself, and that it is better than all strong, by itself and at the end of the sequence.
_CLAIMED = [*range(1, ALL_WEAK + 1), ALL_WEAK, ALL_WEAK, ALL_WEAK]
_PART_OF_BUDGET = np.array([*[1 - ALL_WEAK_PART] * ALL_WEAK, ALL_WEAK_PART, ALL_WEAK_PART, 1 - ALL_WEAK_PART])


def _shown(ways: Routings, quality: float, budget: float) -> Bools:
    """[claims] that are shown."""
    qualities = np.array([*[quality] * (ALL_WEAK + 1), 1.0, 1.0])
    return ways.only(_CLAIMED).keep(qualities, budget * _PART_OF_BUDGET)


def _in_sequence(shown: Bools, shares: JobScores) -> tuple[list[bool | None], bool]:
    """Whether each of SHARES passes, None behind the first that does not; and whether all weak is better."""
    alone, better_alone, better = shown[ALL_WEAK:].tolist()
    holds = np.append(True, shown[:ALL_WEAK]) | (shares.strong_shares == 1)
    last = int(np.append(holds, False).argmin()) - 1
    passes = [*[True] * (last + 1), False, *[None] * len(SHARES)]
    return [*passes[:ALL_WEAK], alone or passes[ALL_WEAK]], (alone and better_alone) or (
        last == ALL_WEAK and better
    )


def _rows_needed(ways: Routings, passes: list[bool | None], quality: float, budget: float) -> list[int | None]:
    """For each of SHARES the size of a sample that is expected to show it."""
    values = ways.routed - quality * ways.strong
    means = values @ ways.rounds.stands_for
    deviations = np.sqrt((values - means[:, None]) ** 2 @ ways.rounds.stands_for)
    job = math.inf if ways.rounds.endless else float(ways.rounds.left[0].sum())
    asked = values.shape[1]
    in_sight = min(IN_SIGHT * asked, job / 2)  # a sample of most of the job saves nothing
    needed: list[int | None] = []
    for mean, deviation, passed in zip(means.tolist(), deviations.tolist(), passes, strict=True):
        endless = _rows_showing(mean, deviation, quality, budget * (1 - ALL_WEAK_PART))
        rows = math.ceil(endless / (1 + endless / job)) if endless < math.inf else endless
        rows = min(rows, asked) if passed else max(rows, asked + 1)
        needed.append(int(rows) if passed or rows <= in_sight else None)
    return needed


def _rows_showing(mean: float, deviation: float, quality: float, alpha: float) -> float:
    """By the deviation of values with this mean, and by what the boldest bets on them gain."""
    if mean <= 0:
        return math.inf
    return max(
        (NormalDist().inv_cdf(1 - alpha) * deviation / mean) ** 2,
        math.log(1 / alpha) / math.log1p(BOLDEST_BET * mean / quality),
    )


_ALL_STRONG = Kept(1.0, 1.0, 1.0)  # of itself, by definition


def _tested(
    shares: JobScores,
    ways: Routings,
    confidence: float,
    passes: Sequence[bool | None],
    needed: Sequence[int | None],
) -> Iterator[Tested]:
    columns = zip(
        SHARES,
        shares.strong_shares.tolist(),
        shares.thresholds.tolist(),
        ways.intervals((1 - confidence) / 2),
        passes,
        needed,
        strict=True,
    )
    for share, strong_share, threshold, estimate, passed, rows in columns:
        kept = estimate if strong_share < 1 else _ALL_STRONG
        yield Tested(share, strong_share, threshold, kept.kept, kept.low, kept.high, passed, rows)


def _choice(verdict: Verdict, chosen: Tested, tested: tuple[Tested, ...]) -> Choice:
    return Choice(
        verdict=verdict,
        threshold=chosen.threshold,
        strong_share=chosen.strong_share,
        kept=chosen.kept,
        low=chosen.low,
        high=chosen.high,
        rows_needed=next((each.rows_needed for each in tested if each.strong_share < 1), None),
        tested=tested,
    )
