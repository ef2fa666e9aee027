"""Is the mean of a job's bounded values at least zero? Shown by betting on a sample of them, drawn in rounds.

A gambler bets that the mean is positive, at odds that are fair if it is zero: capital is multiplied by
1 + bet * value. If the mean is zero or less, no way of betting makes capital reach 1/alpha with a probability
above alpha (Ville's inequality). So where it gets there, the mean is shown to be positive, at any finite n,
whatever the values' distribution within its bounds: Waudby-Smith and Ramdas 2024, "Estimating means of bounded
random variables by betting", JRSS B 86(1), 1-27, which calls it (hedged) capital; without replacement as in
their "Confidence sequences for sampling without replacement", NeurIPS 2020.

Knows values, strata and sizes; nothing of grades, scores or thresholds.
"""

# One bet a round. A round has rows of all strata, and one bet is laid on each of them before it is looked at. Let
# stratum h have the mean mu_h and let c_h be any centers, guessed from earlier rounds, whose mean over the strata
# is zero. With strata of equal size and a row of each,
#
#     E[ prod_h (1 + bet * (value_h - c_h)) ] = prod_h (1 + bet * (mu_h - c_h)) <= (1 + bet * mean(mu))^10 <= 1
#
# as a geometric mean is at most the arithmetic one. The centers take out what strata differ by, which is what
# strata are for; and as it is one factor a row, not one for the round's mean, a bet is limited by a row's worst
# value. With strata of other sizes a row counts by size / rows of its stratum in the round; several rows of a
# stratum drawn without replacement are worth no more than with it (Maclaurin's inequality).
#
# Without replacement. What is left of a job of N rows of which A were looked at, with the sum S, has the mean
# -S / (N - A) where the job's is zero. So a round is bet on the rows that are left: strata weigh what is left of
# them, and -S / (N - A) is what a value must exceed. Of 10 rows with the sum 2 after 9 of them, a job's mean is
# negative only if the last is below -2: where values are at least -1 it is shown without looking.
#
# How much. The sample's size is known, so the bets aim at its end. In the limit of many small bets, capital can be
# any payoff whose price is 1 (Black and Scholes); the best test for a known n is the payoff 1/alpha where the sum
# of values is among its alpha highest. With the part u = alpha * capital of the goal in hand and the deviation s
# of the sum that is still to come, that is the bet
#
#     phi(Phi^-1(u)) / u / s
#
# which is found anew each round from the capital there is (as Voracek and Orabona 2025, "STaR-Bets", do). Any bet
# is valid; these reach nearly the power of a z-test. alpha = .08 and 400 rows: a mean of 2.5 standard errors is
# shown in 88 % of samples, by a z-test in 86 %, by the best constant bet in 60 %.

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.types import Floats

    Ints: TypeAlias = NDArray[np.int64]
    Bools: TypeAlias = NDArray[np.bool_]

MOST_ROUNDS = 50  # more of them cost time and show nothing more
BOLDEST_BET = 0.9  # of the bet at which the worst value would take all capital
OVERSHOOT = 1.1  # how far above the goal bets aim, so that it is passed and not approached
# What is guessed of values before any is seen, and how many rows the guess weighs.
FIRST_VARIANCE = 0.1
FIRST_ROWS = 20.0
CENTER_ROWS = 10.0  # of all strata, which a stratum's own rows are averaged with
SPREAD_ROWS = 2.0
ROUNDING = 1e-9  # of a sum that is exactly zero but for rounding


@dataclass(frozen=True, slots=True)
class Rounds:
    """The order in which n rows of H strata are bet on, in R rounds that have rows of every stratum.

    `order` [n] has the rows round by round and stratum by stratum, `rows` [R, H] how many a round has of each.
    `left` [R + 1, H] is how many rows of the job stand behind each stratum before each round, those of earlier
    rounds taken off; with `endless` it is only their proportion, and stays what it is.
    """

    order: Ints
    rows: Ints
    left: Floats
    endless: bool

    @property
    def share(self) -> Floats:
        """[R, H] of each stratum in what is left."""
        share: Floats = self.left[:-1] / self.left[:-1].sum(axis=1, keepdims=True)
        return share

    @property
    def weight(self) -> Floats:
        """[R, H] what a row counts for in its round, 1 on average."""
        weight: Floats = self.share * self.rows.sum(axis=1, keepdims=True) / self.rows
        return weight

    @property
    def stands_for(self) -> Floats:
        """[n] the part of the job that a row stands for, in the order of the sample itself."""
        rounds, strata = self.rows.shape
        stratum = np.repeat(np.tile(np.arange(strata), rounds), self.rows.ravel())
        part = self.left[0] / max(self.left[0].sum(), 1) / np.maximum(self.rows.sum(axis=0), 1)
        stands_for = np.empty(len(self.order))
        stands_for[self.order] = part[stratum]
        return stands_for

    @property
    def growth(self) -> Floats:
        """[R] by how much a mean of the whole job shows more in what is left of it."""
        left = self.left.sum(axis=1)
        growth: Floats = np.ones(len(self.rows)) if self.endless else left[0] / left[:-1]
        return growth


def deal(strata: Ints, sizes: Floats, random: np.random.Generator, *, endless: bool) -> Rounds:
    """Rounds of the sampled rows, each of which has a stratum of 0 to H - 1, in an order that `random` draws.

    `sizes` [H]: rows of the job by stratum. Every stratum needs a sampled row. Unless `endless`, the rows were
    drawn without replacement, and no more of them than there are.
    """
    counts = np.bincount(strata, minlength=len(sizes))
    count = int(min(counts.min(), MOST_ROUNDS))
    shuffled = random.permutation(len(strata))
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    place = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    number = place * count // np.repeat(counts, counts)
    rows = np.zeros((count, len(sizes)), np.int64)
    np.add.at(rows, (number, strata[order]), 1)
    gone = np.zeros((1, len(sizes))) if endless else np.pad(np.cumsum(rows, axis=0), ((1, 0), (0, 0)))
    left = np.broadcast_to(sizes - gone, (count + 1, len(sizes)))
    return Rounds(order[np.argsort(number, kind="stable")], rows, left, endless)


def is_shown(values: Floats, least: Floats, alpha: Floats, rounds: Rounds) -> Bools:
    """[claims] where the job's mean is shown to be at least zero, wrongly with a probability of at most alpha.

    `values` [claims, n] of the sampled rows, the least that a row of each stratum can have `least` [claims, H],
    `alpha` [claims]. Claims do not know of each other.
    """
    values = values[:, rounds.order]
    sums, squares = _before(values, rounds), _before(values**2, rounds)
    past = _Past(sums[:, :-1], squares[:, :-1], np.cumsum(rounds.rows, axis=0) - rounds.rows)
    hurdle = past.centers(rounds.share) + _mean_left_at_zero(past.sums, rounds)[:, :, None]
    most = BOLDEST_BET / np.maximum((rounds.weight * (hurdle - least[:, None, :])).max(axis=2), ROUNDING)
    eager = rounds.growth / past.deviation_ahead(least, rounds)
    reached = _plays(values, hurdle, most, eager, -np.log(alpha), rounds)
    return reached | _is_certain(sums[:, -1], least, rounds)


def _plays(values: Floats, hurdle: Floats, most: Floats, eager: Floats, goal: Floats, rounds: Rounds) -> Bools:
    """[claims] whose capital comes to its goal, which is given as a logarithm."""
    capital = np.zeros(len(values))
    ends = np.cumsum(rounds.rows.sum(axis=1))
    for number, (end, rows) in enumerate(zip(ends, rounds.rows, strict=True)):
        still = capital < goal
        bet = np.minimum(eager[:, number] * _boldness(capital - goal - np.log(OVERSHOOT)), most[:, number])
        stratum = np.repeat(np.arange(len(rows)), rows)
        gains = rounds.weight[number, stratum] * (values[:, end - len(stratum) : end] - hurdle[:, number, stratum])
        capital += np.where(still, np.log1p(bet[:, None] * gains).sum(axis=1), 0)
    return capital >= goal


@dataclass(frozen=True, slots=True)
class _Past:
    """What is known before each round: sums and squares of values [claims, R, H], and of how many rows [R, H]."""

    sums: Floats
    squares: Floats
    rows: Ints

    def _means(self) -> Floats:
        """[claims, R, H], those of few rows drawn to that of all."""
        mean = self.sums.sum(axis=2) / np.maximum(self.rows.sum(axis=1), 1)
        means: Floats = (self.sums + CENTER_ROWS * mean[:, :, None]) / (self.rows + CENTER_ROWS)
        return means

    def centers(self, share: Floats) -> Floats:
        """[claims, R, H] by how much strata are guessed to differ from the mean of all."""
        means = self._means()
        centers: Floats = means - (means * share).sum(axis=2, keepdims=True)
        return centers

    def deviation_ahead(self, least: Floats, rounds: Rounds) -> Floats:
        """[claims, R] standard deviation of the weighed sum of the values to come, as guessed by now."""
        means = self._means()
        spread = self.squares - 2 * means * self.sums + self.rows * means**2
        first = FIRST_VARIANCE * np.maximum(-least, 0.02).mean(axis=1)
        common = (spread.sum(axis=2) + FIRST_ROWS * first[:, None]) / (self.rows.sum(axis=1) + FIRST_ROWS)
        variance = (spread + SPREAD_ROWS * common[:, :, None]) / (self.rows + SPREAD_ROWS)
        each = rounds.growth[:, None] ** 2 * rounds.rows * rounds.weight**2
        ahead = np.cumsum(each[::-1], axis=0)[::-1]
        deviation: Floats = np.sqrt((variance * ahead).sum(axis=2))
        return deviation


def _before(values: Floats, rounds: Rounds) -> Floats:
    """[claims, R + 1, H] sums of values before each round, and of all; values in the order of the rounds."""
    flat = rounds.rows.ravel()
    sums = np.add.reduceat(values, np.cumsum(flat) - flat, axis=1).reshape(len(values), *rounds.rows.shape)
    return np.pad(np.cumsum(sums, axis=1), ((0, 0), (1, 0), (0, 0)))


def _mean_left_at_zero(sums: Floats, rounds: Rounds) -> Floats:
    """[claims, R] the most that the mean of what is left can be if that of the job is at most zero."""
    if rounds.endless:
        return np.zeros(sums.shape[:2])
    mean: Floats = -sums.sum(axis=2) / rounds.left[:-1].sum(axis=1)
    return mean


def _is_certain(sums: Floats, least: Floats, rounds: Rounds) -> Bools:
    """[claims] where even the least that is left leaves the job's sum at zero or above."""
    if rounds.endless:
        return np.zeros(len(sums), np.bool_)
    certain: Bools = (sums + rounds.left[-1] * least).sum(axis=1) >= -ROUNDING
    return certain


def _boldness(log_part: Floats) -> Floats:
    """phi(Phi^-1(u)) / u for the part u of the goal that capital has come to, given as log(u)."""
    logs, boldness = _boldness_table()
    return np.interp(log_part, logs, boldness)


@cache
def _boldness_table() -> tuple[Floats, Floats]:
    normal = NormalDist()
    logs = -np.concatenate((np.geomspace(100, 1e-4, 400), np.zeros(1)))
    parts = np.exp(logs[:-1])
    boldness = [normal.pdf(normal.inv_cdf(part)) / part for part in parts.tolist()]
    return logs, np.array([*boldness, 0.0])
