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
# any payoff whose price is 1 (Black and Scholes); the best test for a known n pays 1/alpha where the sum of values
# is among its alpha highest. With the part u = alpha * capital of that in hand and the deviation s of the sum
# that is still to come, that is the bet
#
#     phi(Phi^-1(u)) / u / s
#
# found anew each round from the capital there is (as Voracek and Orabona 2025, "STaR-Bets", do). Any bet is valid.
#
# Which order. The rows of a stratum come in any order, and for a sample near the goal the order decides. So
# several orders are bet on, drawn at random, and of the first, the first two, ... all of them the mean capital may
# come to the goal: with orders as exchangeable as these that is no likelier than for one (Ramdas and Manole 2023,
# "Randomized and exchangeable improvements of Markov's, Chebyshev's and Chernoff's inequalities"). Each order aims
# above the goal, so that it makes up for some that fall short.
#
# alpha = .08, 400 rows, a mean of 2.5 standard errors: shown in 77 % of samples, by a z-test in 86 %, by the best
# constant bet, whose size takes the variance to be known, in 71 %; a mean of zero in 5 %.

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

ORDERS = 8
AIM = 1.5  # times the goal, where an order stops
MOST_ROUNDS = 50  # more of them cost time and show nothing more
BOLDEST_BET = 0.97  # of the bet at which the worst value would take all capital
# What is guessed of values before any is seen, and how many rows the guess weighs.
FIRST_VARIANCE = 0.1
FIRST_ROWS = 20.0
CENTER_ROWS = 4.0  # of all strata, that a stratum's own mean is averaged with,
SPREAD_ROWS = 2.0  # and its own variance
CELLS_AT_A_TIME = 4_000_000  # values of rows in several orders
ROUNDING = 1e-9  # of a sum that is exactly zero but for rounding


@dataclass(frozen=True, slots=True)
class Rounds:
    """How n rows of H strata are bet on: in R rounds that have rows of every stratum, in several orders.

    `orders` [ORDERS, n] have the rows round by round and stratum by stratum, `rows` [R, H] how many a round has of
    each. `left` [R + 1, H] is how many rows of the job stand behind each stratum before each round, those of
    earlier rounds taken off; with `endless` it is only their proportion, and stays what it is.
    """

    orders: Ints
    rows: Ints
    left: Floats
    endless: bool

    @property
    def strata(self) -> Ints:
        """[n] of the rows in each order."""
        rounds, strata = self.rows.shape
        return np.repeat(np.tile(np.arange(strata), rounds), self.rows.ravel())

    @property
    def stands_for(self) -> Floats:
        """[n] the part of the job that a row stands for, in the order of the sample itself."""
        part = self.left[0] / max(self.left[0].sum(), 1) / np.maximum(self.rows.sum(axis=0), 1)
        stands_for = np.empty(self.orders.shape[1])
        stands_for[self.orders[0]] = part[self.strata]
        return stands_for

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
    def growth(self) -> Floats:
        """[R] by how much a mean of the whole job shows more in what is left of it."""
        left = self.left.sum(axis=1)
        growth: Floats = np.ones(len(self.rows)) if self.endless else left[0] / left[:-1]
        return growth


def deal(strata: Ints, sizes: Floats, random: np.random.Generator, *, endless: bool) -> Rounds:
    """Rounds of the sampled rows, each of which has a stratum of 0 to H - 1, in orders that `random` draws.

    `sizes` [H]: rows of the job by stratum. Every stratum needs a sampled row. Unless `endless`, the rows were
    drawn without replacement, and no more of them than there are.
    """
    counts = np.bincount(strata, minlength=len(sizes))
    count = int(min(counts.min(), MOST_ROUNDS))
    by_stratum = np.sort(strata)
    place = np.arange(len(strata)) - (np.cumsum(counts) - counts)[by_stratum]
    number = place * count // np.maximum(counts, 1)[by_stratum]
    rows = np.zeros((count, len(sizes)), np.int64)
    np.add.at(rows, (number, by_stratum), 1)
    shuffled = random.permuted(np.tile(np.arange(len(strata)), (ORDERS, 1)), axis=1)
    sorted_rows = np.take_along_axis(shuffled, np.argsort(strata[shuffled], axis=1, kind="stable"), axis=1)
    gone = np.zeros((1, len(sizes))) if endless else np.pad(np.cumsum(rows, axis=0), ((1, 0), (0, 0)))
    left = np.broadcast_to(sizes - gone, (count + 1, len(sizes)))
    return Rounds(sorted_rows[:, np.argsort(number, kind="stable")], rows, left, endless)


def is_shown(values: Floats, least: Floats, alpha: Floats, rounds: Rounds) -> Bools:
    """[claims] where the job's mean is shown to be at least zero, wrongly with a probability of at most alpha.

    `values` [claims, n] of the sampled rows, the least that a row of each stratum can have `least` [claims, H],
    `alpha` [claims]. Claims do not know of each other.
    """
    step = max(1, CELLS_AT_A_TIME // (ORDERS * max(1, values.shape[1])))
    parts = [slice(start, start + step) for start in range(0, len(values), step)]
    return np.concatenate([_is_reached(values[part], least[part], alpha[part], rounds) for part in parts])


def _is_reached(values: Floats, least: Floats, alpha: Floats, rounds: Rounds) -> Bools:
    ordered = np.concatenate([values.T[order] for order in rounds.orders], axis=1)  # a game is a claim in an order
    lowest = np.tile(least.T, ORDERS)
    guess = _Guess.of(ordered, lowest, rounds)
    hurdle = guess.hurdle(rounds)
    gains = _by_row(rounds.weight[:, :, None], rounds) * (ordered - _by_row(hurdle, rounds))
    worst = (rounds.weight[:, :, None] * (hurdle - lowest)).max(axis=1)
    aim = np.log(AIM / alpha)
    capital = _played(
        gains,
        most=BOLDEST_BET / np.maximum(worst, ROUNDING),
        eager=rounds.growth[:, None] / guess.deviation_ahead(rounds),
        aim=np.tile(aim, ORDERS),
        rounds=rounds,
    )
    capitals = np.exp(capital.reshape(ORDERS, -1)).cumsum(axis=0) / np.arange(1, ORDERS + 1)[:, None]
    reached: Bools = capitals.max(axis=0) >= 1 / alpha
    return reached | _is_certain(values, least, rounds)


def _played(gains: Floats, most: Floats, eager: Floats, aim: Floats, rounds: Rounds) -> Floats:
    """[games] the logarithm of capital at the end, or where it first came to its aim.

    `gains` [n, games] is what a bet of 1 on each row wins; bets are `eager` [R, games] times as bold as the aim
    asks for, and at most `most` [R, games].
    """
    missing = aim.copy()
    start = 0
    for number, rows in enumerate(rounds.rows.sum(axis=1)):
        bet = np.minimum(eager[number] * _boldness(-missing), most[number])
        missing -= np.log1p(bet * gains[start : start + rows]).sum(axis=0)
        start += rows
    return aim - missing


@dataclass(frozen=True, slots=True)
class _Guess:
    """What is expected of each stratum before each round, by the rounds before: means, variances [R, H, games].

    `total` [R, games] is the sum of all values by then.
    """

    means: Floats
    variances: Floats
    total: Floats

    @classmethod
    def of(cls, values: Floats, least: Floats, rounds: Rounds) -> _Guess:
        """`values` [n, games] in the order of the rounds, `least` [H, games].

        What a stratum's few rows do not say yet is taken from the others, and what these do not say from FIRST_.
        """
        sums, squares = _sums_before(values, rounds), _sums_before(values**2, rounds)
        seen = (np.cumsum(rounds.rows, axis=0) - rounds.rows)[:, :, None]
        rows = np.maximum(seen, 1)
        total = sums.sum(axis=1)
        overall = (total / rows.sum(axis=1))[:, None]
        own = sums / rows
        spread = squares - own * sums
        first = FIRST_ROWS * FIRST_VARIANCE * np.maximum(-least, 0.02).mean(axis=0)
        common = ((spread.sum(axis=1) + first) / ((rows - 1).sum(axis=1) + FIRST_ROWS))[:, None]
        means = (sums + CENTER_ROWS * overall) / (seen + CENTER_ROWS)
        spread += seen * (own - means) ** 2
        return cls(means, (spread + SPREAD_ROWS * common) / (seen + SPREAD_ROWS), total)

    def hurdle(self, rounds: Rounds) -> Floats:
        """[R, H, games] what values must exceed: in the mean the most they can be where the job's mean is zero."""
        hurdle: Floats = self.means - np.einsum("rhg,rh->rg", self.means, rounds.share)[:, None]
        if not rounds.endless:
            hurdle -= (self.total / rounds.left[:-1].sum(axis=1)[:, None])[:, None]
        return hurdle

    def deviation_ahead(self, rounds: Rounds) -> Floats:
        """[R, games] standard deviation of the weighed sum of the values to come."""
        each = rounds.growth[:, None] ** 2 * rounds.rows * rounds.weight**2
        ahead = np.cumsum(each[::-1], axis=0)[::-1]
        deviation: Floats = np.sqrt(np.einsum("rhg,rh->rg", self.variances, ahead))
        return deviation


def _sums_before(values: Floats, rounds: Rounds) -> Floats:
    """[R, H, games] sums of values [n, games] by stratum before each round."""
    flat = rounds.rows.ravel()
    sums = np.add.reduceat(values, np.cumsum(flat) - flat, axis=0).reshape(*rounds.rows.shape, values.shape[1])
    return np.cumsum(sums, axis=0) - sums


def _by_row(figures: Floats, rounds: Rounds) -> Floats:
    """[n, games] of rows in the order of the rounds, from figures [R, H, games] of a round's strata."""
    by_row: Floats = np.repeat(figures.reshape(rounds.rows.size, figures.shape[2]), rounds.rows.ravel(), axis=0)
    return by_row


def _is_certain(values: Floats, least: Floats, rounds: Rounds) -> Bools:
    """[claims] where even the least that is left leaves the job's sum at zero or above."""
    certain: Bools = values.sum(axis=1) + least @ rounds.left[-1] >= -ROUNDING
    return certain & (not rounds.endless)


def _boldness(log_part: Floats) -> Floats:
    """phi(Phi^-1(u)) / u for the part u of its aim that capital has come to, as log(u); 0 beyond it."""
    logs, boldness = _boldness_table()
    return np.interp(log_part, logs, boldness)


@cache
def _boldness_table() -> tuple[Floats, Floats]:
    normal = NormalDist()
    logs = -np.concatenate((np.geomspace(100, 1e-4, 400), np.zeros(1)))
    parts = np.exp(logs[:-1])
    boldness = [normal.pdf(normal.inv_cdf(part)) / part for part in parts.tolist()]
    return logs, np.array([*boldness, 0.0])
