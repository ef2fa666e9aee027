"""Rows that share the threshold's score: they all go strong, however small the share that was asked for.

Knows scores and shares; how a threshold is found is not known here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.types import Floats

NOTICED = 0.1  # of the rows that were asked for


class Tie(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` of one score, the `threshold`; shares are of the rows that a threshold decides.

    `asked_fraction` was to go strong, `strong_fraction` does, `without_fraction` would without these rows.
    """

    threshold: float
    rows: int
    asked_fraction: float
    strong_fraction: float
    without_fraction: float

    @property
    def words(self) -> str:
        """What happens, and the share that would keep these rows weak."""
        lower = math.floor(self.without_fraction * 10_000) / 10_000  # a share rounded up asks for one of them
        return (
            f"{self.rows:,} rows tie at the threshold {self.threshold:.5f}, and ties all go strong: "
            f"{self.strong_fraction:.1%} of the rows instead of the {self.asked_fraction:.1%} asked for "
            f"(routing.strong_fraction = {lower:g} would leave them weak)"
        ).replace("%", " %")


# Scores 0.9 0.5 0.5 0.5 0.1 and a share of 0.4: two rows are asked for, and the second highest score is 0.5. One
# row lies above it and three tie at it, so four go strong: 80 % instead of 40 %, and 20 % without the three.
#
# A threshold that is not the k-th highest, such as one found over fewer rows, has at least k rows above it, or
# fewer than k that reach it: then it is not the ties that make the difference, and nothing is said of them.
def tie_at(parts: Iterable[Floats], threshold: float | None, share: float | None) -> Tie | None:
    """The tie that sends more rows strong than this share asks for, by more than a tenth; None where none does.

    `parts` are all scores in [0, 1] that a threshold decides; NaN is a row without one. They are read once, and
    not where the threshold or the share is None: not known yet, or not what the job asks for.
    """
    if threshold is None or share is None:
        return None
    total = above = tied = 0
    for part in parts:
        total += int(np.count_nonzero(~np.isnan(part)))
        above += int(np.count_nonzero(part > threshold))
        tied += int(np.count_nonzero(part == threshold))
    wanted, reached = math.floor(share * total + 0.5), above + tied
    if above >= wanted or reached <= wanted * (1 + NOTICED):
        return None
    return Tie(
        threshold=threshold,
        rows=tied,
        asked_fraction=share,
        strong_fraction=reached / total,
        without_fraction=above / total,
    )
