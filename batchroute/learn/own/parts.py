"""The rows of a pilot in two parts, and the rows of one part in folds: at random, each like the whole.

Knows strata and scores; nothing of grades, so that no part is chosen by how its rows turned out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.types import Floats

LEARNT_FROM, PROMISED = "A", "B"  # the parts: one teaches and chooses a router, the other is for the promise
PART_A = 0.4  # of every stratum
FOLDS = 5
# Streams of random numbers, so that one seed serves all of them.
_PARTS, _FOLDS = 1, 2


def split_parts(strata: NDArray[np.int64], seed: int) -> NDArray[np.str_]:
    """[n] LEARNT_FROM or PROMISED for the `strata` [n] of the rows.

    Of a stratum of m rows floor(0.4 m + 0.5) are in A: strata of one size have as many as each other.
    """
    random = np.random.default_rng((seed, _PARTS))
    parts = np.full(len(strata), PROMISED)
    for stratum in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == stratum))
        parts[rows[: int(PART_A * len(rows) + 0.5)]] = LEARNT_FROM
    return parts


def deal_folds(scores: Floats, seed: int) -> NDArray[np.int64]:
    """[n] numbers below FOLDS: of rows that are next to each other by score, each fold gets one."""
    random = np.random.default_rng((seed, _FOLDS))
    count = len(scores)
    folds = np.empty(count, np.int64)
    rounds = np.tile(np.arange(FOLDS), (-(-count // FOLDS), 1))
    folds[np.lexsort((random.random(count), scores))] = random.permuted(rounds, axis=1).ravel()[:count]
    return folds
