"""A job and its scores -> what it will cost at any threshold, and the threshold for a budget."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.route.forecast.earlier import earlier_lanes
from batchroute.route.forecast.fitting import lowest_fitting
from batchroute.route.forecast.lane import NANO, assumed
from batchroute.route.forecast.tokens import token_ratio
from batchroute.route.forecast.totals import Gains, each_choice, totals_at
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints, Job
    from batchroute.route.forecast.lane import Lane
    from batchroute.route.forecast.totals import Totals, Whole
    from batchroute.store.scores import ScorePart
    from batchroute.types import Side


@dataclass(frozen=True, slots=True)
class Estimator:
    """What is reckoned with, for one input that is scored. Its answers depend on nothing else."""

    endpoints: Endpoints
    lanes: Mapping[Side, Lane]
    parts: Sequence[ScorePart]

    @property
    def unpriced(self) -> list[Side]:
        """The sides whose price nobody knows; while there is one, money is not to be reckoned with."""
        return [side for side, lane in self.lanes.items() if lane.pricing is None]

    def totals(self, thresholds: Sequence[float]) -> tuple[list[Totals], Whole]:
        return totals_at(thresholds, each_choice(self.parts, self.endpoints, self.lanes))

    def time_s(self, totals: Totals) -> float:
        """Both lanes run at once, so the slower one's time."""
        sides = {"strong": totals.strong, "weak": totals.weak}
        return max(lane.time_s(sides[side].sent, sides[side].chars) for side, lane in self.lanes.items())

    def budget_threshold(self, budget_usd: Decimal) -> float:
        """The lowest threshold whose mid cost fits; UsageFault naming the least cost where none does."""
        if self.unpriced:
            names = ", ".join(f"endpoints.{side}.price" for side in self.unpriced)
            raise UsageFault(f"a budget needs prices: set {names}, in USD per million tokens")
        (most, least), _ = self.totals([-float("inf"), float("inf")])
        base = least.strong.cost_nano.mid + least.weak.cost_nano.mid
        gains = Gains(self.parts, self.endpoints, self.lanes)
        threshold = lowest_fitting(gains, base, _whole_nano(budget_usd))
        if threshold is None:
            least_usd = Decimal(min(most.cost_usd.mid, least.cost_usd.mid))
            shown = least_usd.quantize(Decimal("0.0001"), ROUND_CEILING)
            raise UsageFault(
                f"a budget of ${budget_usd} is not enough: even with no row on the dearer side this input is "
                f"predicted to cost ${shown}; raise it to that, or lower the answers' max_tokens"
            )
        return threshold


def _whole_nano(usd: Decimal) -> float:
    """The most nano-dollars that are not above an amount, which may be a sum of them rounded to a float."""
    nano = float(round(usd * Decimal(NANO)))
    return nano if nano / NANO <= float(usd) else nano - 1


def make_estimator(
    job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[ScorePart]
) -> Estimator:
    """Looks for an earlier run, and measures the tokens of a sample of the input."""
    earlier = earlier_lanes(job, Path(job.output.path))
    lanes = {}
    for side in SIDES:
        spec, pricing = job.endpoints[side], targets[side].pricing
        lanes[side] = assumed(spec, pricing, token_ratio(spec.model, source, parts), earlier.get(side))
    return Estimator(job.endpoints, lanes, parts)
