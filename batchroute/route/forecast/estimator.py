"""A job and its scores -> what it will cost at any threshold, and the threshold for a budget."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.route.forecast.assumptions import NANO, assume
from batchroute.route.forecast.earlier import earlier_answers
from batchroute.route.forecast.fitting import lowest_fitting
from batchroute.route.forecast.tokens import token_ratio
from batchroute.route.forecast.totals import Gains, totals_at
from batchroute.store.scores import read_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints, Job
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.forecast.totals import Totals, Whole
    from batchroute.store.scores import Shard


@dataclass(frozen=True, slots=True)
class Estimator:
    """What is assumed of each endpoint, for one input that is scored. Its answers depend on nothing else."""

    endpoints: Endpoints
    assumed: Mapping[str, Assumptions]
    parts: Sequence[Shard]

    @property
    def unpriced(self) -> list[str]:
        """The endpoints whose price is unknown; while there is one, so is the cost of the whole."""
        return [name for name, assumptions in self.assumed.items() if assumptions.pricing is None]

    def totals(self, thresholds: Sequence[float]) -> tuple[list[Totals], Whole]:
        return totals_at(thresholds, map(read_scores, self.parts), self.endpoints, self.assumed)

    def time_s(self, totals: Totals) -> float:
        """All lanes run at once, so the slowest one's time."""
        return max(self.assumed[name].time_s(of.sent, of.chars) for name, of in totals.endpoints.items())

    def budget_threshold(self, budget_usd: Decimal) -> float:
        """The lowest threshold whose mid cost fits; UsageFault naming the least cost where none does."""
        if self.unpriced:
            names = ", ".join(f"endpoints.{name}.price" for name in self.unpriced)
            raise UsageFault(f"a budget needs prices: set {names}, in USD per million tokens")
        (most, least), _ = self.totals([-float("inf"), float("inf")])
        gains = Gains(self.parts, self.endpoints, self.assumed)
        threshold = lowest_fitting(gains, least.cost_nano.mid, _whole_nano(budget_usd))
        if threshold is None:
            least_usd = Decimal(min(most.cost_usd.mid, least.cost_usd.mid))
            shown = least_usd.quantize(Decimal("0.0001"), ROUND_CEILING)
            raise UsageFault(
                f"a budget of ${budget_usd} is not enough: even with no row on the more expensive side "
                f"this input is predicted to cost ${shown}; raise it to that, or lower the answers' max_tokens"
            )
        return threshold


def _whole_nano(usd: Decimal) -> float:
    """The most nano-dollars that are not above an amount, which may be a sum of them rounded to a float."""
    nano = float(round(usd * Decimal(NANO)))
    return nano if nano / NANO <= float(usd) else nano - 1


def make_estimator(job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[Shard]) -> Estimator:
    """Looks for an earlier run, and measures the tokens of a sample of the input."""
    earlier = earlier_answers(job, Path(job.output.path))
    assumed = {
        name: assume(spec, targets[name].pricing, token_ratio(spec.model, source, parts), earlier.get(name))
        for name, spec in job.endpoints.items()
    }
    return Estimator(job.endpoints, assumed, parts)
