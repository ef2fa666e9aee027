"""Several runs side by side: one column a run, the first is what the others are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchroute.report.drift import Drift, drift
from batchroute.report.figures import Report  # noqa: TC001  # msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Sequence


class Comparison(msgspec.Struct, frozen=True):
    """The runs in the order asked for; entry i of `drifts` compares run i + 1 with the first."""

    runs: list[Report]
    drifts: list[Drift | None]


def compare(reports: Sequence[Report]) -> Comparison:
    first, *others = reports
    return Comparison([first, *others], [drift(first.score_histogram, other.score_histogram) for other in others])
