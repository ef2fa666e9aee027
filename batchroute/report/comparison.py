"""Several runs side by side, and whether they had the same kind of prompts, judged by their score histograms.

The measure is the population stability index: the sum over bins of (a - b) · ln(a / b) for the shares a and b of
the rows. By custom less than 0.1 is no change and more than 0.25 a clear one; but between two samples of one
population it is (bins - 1) · (1/n + 1/m) on average (B. Yurdakul, 2018), so small runs need a wider margin. Bins
are joined until each holds a twentieth of the rows: a thin one says little, and adds much.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import msgspec

from batchroute.report.figures import Report, sum_if_known

if TYPE_CHECKING:
    from collections.abc import Sequence

# Example: 100 rows in two bins, 50 and 50, against 40 and 60 of another 100. The index is
#     (0.4 - 0.5) * ln(0.4 / 0.5) + (0.6 - 0.5) * ln(0.6 / 0.5) = 0.022 + 0.018 = 0.04: no change.
# At 20 and 80 it is 0.42, a clear one. But of 10 rows each the same shares say nothing: chance alone brings
# (2 - 1) * (1/10 + 1/10) = 0.2 on average, and 0.42 is less than three times that.
STABLE_BELOW = 0.10
SHIFTED_ABOVE = 0.25
_THINNEST = 0.05  # share of all rows
_SHIFTED_SOMEWHAT = "the prompts have shifted somewhat"
_SHIFTED = "other prompts than before: choose the threshold anew"
# Chance alone hardly ever exceeds three times its average.
_CHANCE = 3.0


class Drift(msgspec.Struct, frozen=True):
    """The stability index against the run compared with, and what it means."""

    psi: float
    verdict: str

    @property
    def is_shift(self) -> bool:
        """Whether the prompts have changed, so that the threshold is to be thought over."""
        return self.verdict in {_SHIFTED_SOMEWHAT, _SHIFTED}


class Comparison(msgspec.Struct, frozen=True):
    """The runs in the order asked for; entry i of `drifts` compares run i + 1 with the first."""

    runs: list[Report]
    drifts: list[Drift | None]


@dataclass(frozen=True, slots=True)
class Totals:
    """What several runs come to; an amount that one of them does not know is None."""

    ok: int
    refused: int
    failed: int
    strong_rows: int
    weak_rows: int
    total_usd: float | None
    unconfirmed_usd: float | None
    all_strong_usd: float | None
    savings_usd: float | None
    cost_unknown_rows: int

    @property
    def strong_fraction(self) -> float | None:
        routed = self.strong_rows + self.weak_rows
        return self.strong_rows / routed if routed else None

    @property
    def savings_fraction(self) -> float | None:
        if self.savings_usd is None or not self.all_strong_usd:
            return None
        return self.savings_usd / self.all_strong_usd


def add_up(reports: Sequence[Report]) -> Totals:
    return Totals(
        ok=sum(report.ok for report in reports),
        refused=sum(report.refused for report in reports),
        failed=sum(report.failed for report in reports),
        strong_rows=sum(report.strong_rows for report in reports),
        weak_rows=sum(report.weak_rows for report in reports),
        total_usd=sum_if_known(report.total_usd for report in reports),
        unconfirmed_usd=sum_if_known(report.unconfirmed_usd for report in reports),
        all_strong_usd=sum_if_known(report.all_strong_usd for report in reports),
        savings_usd=sum_if_known(report.savings_usd for report in reports),
        cost_unknown_rows=sum(report.cost_unknown_rows for report in reports),
    )


def compare(reports: Sequence[Report]) -> Comparison:
    first, *others = reports
    return Comparison([first, *others], [drift(first.score_histogram, other.score_histogram) for other in others])


def drift(before: Sequence[int], after: Sequence[int]) -> Drift | None:
    """Compares the rows per bin of two histograms; None where one of them is empty."""
    if not sum(before) or not sum(after):
        return None
    before, after = _joined(before, after)
    psi = _stability_index(before, after)
    chance = _CHANCE * (len(before) - 1) * (1 / sum(before) + 1 / sum(after))
    return Drift(psi, _verdict(psi, chance))


def _joined(before: Sequence[int], after: Sequence[int]) -> tuple[list[int], list[int]]:
    """The histograms with neighbouring bins joined, the last ones with those before them."""
    bins: list[tuple[int, int]] = []
    rows = (0, 0)
    for b, a in zip(before, after, strict=True):
        rows = (rows[0] + b, rows[1] + a)
        if rows[0] / sum(before) + rows[1] / sum(after) >= 2 * _THINNEST:
            bins.append(rows)
            rows = (0, 0)
    bins[-1] = (bins[-1][0] + rows[0], bins[-1][1] + rows[1])
    return [b for b, _ in bins], [a for _, a in bins]


def _stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    return sum((a - b) * log(a / b) for b, a in zip(_shares(before), _shares(after), strict=True))


def _shares(bins: Sequence[int]) -> list[float]:
    # Half a row more in every bin: an empty one has no logarithm.
    total = sum(bins) + len(bins) / 2
    return [(rows + 0.5) / total for rows in bins]


def _verdict(psi: float, chance: float) -> str:
    if psi < STABLE_BELOW:
        return "the same kind of prompts"
    if psi < chance:
        return "too few rows to tell a change from chance"
    if psi <= SHIFTED_ABOVE:
        return _SHIFTED_SOMEWHAT
    return _SHIFTED
