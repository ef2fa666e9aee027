"""A job and its scores on disk -> what it will cost at any threshold, and the threshold that it asks for.

Every row is routed twice, as if its score reached the threshold and as if it did not; a threshold chooses between
the two. Rows that have no choice, since they demand a side or are too long for one, go the same way both times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import UsageFault
from batchroute.quality.ranks import threshold_for_share
from batchroute.route.forecast.assumptions import NANO, assume
from batchroute.route.forecast.evidence import Band, earlier_answers, pilot_answers, token_ratio
from batchroute.route.sides import STRONG, route
from batchroute.route.threshold import lowest_fitting
from batchroute.store.scores import read_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints, Job, RoutingSpec
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.sides import Routes
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Floats


# What is added up of the rows on an endpoint, the last axis of every table of sums below: rows, those sent, their
# characters, their low, mid and high cost in nano-dollars, and the scores of all.
_LINES = 7


def in_usd(nano: Band) -> Band:
    return Band(*(cost / NANO for cost in nano))


@dataclass(frozen=True, slots=True)
class EndpointTotals:
    """An endpoint's rows at a threshold; `sent` leaves out those too long for any, `chars` are those of `sent`."""

    rows: int
    sent: int
    chars: int
    cost_nano: Band

    @property
    def cost_usd(self) -> Band:
        return in_usd(self.cost_nano)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a threshold does with a whole input; `win_mass` sums the scores of the strong rows."""

    threshold: float
    endpoints: Mapping[str, EndpointTotals]
    win_mass: float

    @property
    def cost_nano(self) -> Band:
        return Band(*map(sum, zip(*(totals.cost_nano for totals in self.endpoints.values()), strict=True)))

    @property
    def cost_usd(self) -> Band:
        # Divided once, the sum is as exact as a float can be, and no two ways to a threshold differ in it.
        return in_usd(self.cost_nano)


@dataclass(frozen=True, slots=True)
class Whole:
    """What does not depend on the threshold; `refused` rows are those that the input makes unusable.

    `all_usd` is by endpoint what all usable rows cost there, in the standard tier, whatever their length.
    """

    rows: int
    refused: int
    win_mass: float
    all_usd: Mapping[str, float]


def totals_at(
    thresholds: Sequence[float],
    parts: Iterable[ScoredRows],
    endpoints: Endpoints,
    assumed: Mapping[str, Assumptions],
) -> tuple[list[Totals], Whole]:
    """The totals at each threshold, in their order; one pass over the parts, in the memory of one.

    With thresholds 0.3 < 0.5 < 0.8 a score of 0.6 reaches two. Its row is added to entry 2 of `if_strong` and of
    `if_weak`; at ordered[j] a row is strong if it reaches more than j, so the totals at 0.5 (j = 1) are entries 2
    and 3 of `if_strong` and entries 0 and 1 of `if_weak`.
    """
    ordered = np.unique(np.array(thresholds, np.float64))
    if_strong, if_weak = np.zeros((2, len(ordered) + 1, len(assumed), _LINES))
    rows, usable, wins, everywhere = 0, 0, 0.0, np.zeros(len(assumed))
    for part in parts:
        chars = np.stack([assumed[name].chars(part) for name in endpoints.names])
        costs = np.stack([assumed[name].costs(chars[place]) for place, name in enumerate(endpoints.names)])
        reached = np.searchsorted(ordered, part.score, side="right")
        _add(if_strong, part, route(part, -math.inf, endpoints), chars, costs, reached)
        _add(if_weak, part, route(part, math.inf, endpoints), chars, costs, reached)
        is_usable = ~np.isnan(part.score)
        rows, usable = rows + len(part.score), usable + int(np.count_nonzero(is_usable))
        listed = np.stack([assumed[name].list_cost(chars[place]) for place, name in enumerate(endpoints.names)])
        wins, everywhere = wins + float(np.nansum(part.score)), everywhere + (listed * is_usable).sum(axis=1)
    strong = if_strong[::-1].cumsum(axis=0)[::-1][1:]
    weak = if_weak.cumsum(axis=0)[:-1]
    found = {
        threshold: _totals(threshold, endpoints.names, sums)
        for threshold, sums in zip(ordered.tolist(), strong + weak, strict=True)
    }
    all_usd = dict(zip(endpoints.names, (everywhere / NANO).tolist(), strict=True))
    return [found[threshold] for threshold in thresholds], Whole(rows, rows - usable, wins, all_usd)


def _add(
    sums: Floats,
    rows: ScoredRows,
    routes: Routes,
    chars: NDArray[np.int64],
    costs: Floats,
    reached: NDArray[np.int64],
) -> None:
    """Adds n rows to `sums` [thresholds + 1, endpoints, lines].

    `chars` is [endpoints, n], `costs` [endpoints, low mid high, n].
    """
    usable = ~np.isnan(rows.score)
    sent = usable & ~routes.too_long
    each = np.arange(len(usable))
    own_chars, own_costs = chars[routes.to, each], costs[routes.to, :, each].T
    lines = (usable, sent, sent * own_chars, *(sent * own_costs), np.where(usable, rows.score, 0.0))
    bins, endpoints, _ = sums.shape
    place = reached * endpoints + routes.to
    for line, weights in enumerate(lines):
        added = np.bincount(place, weights=weights, minlength=bins * endpoints)
        sums[:, :, line] += added.reshape(bins, endpoints)


def _totals(threshold: float, names: Sequence[str], sums: Floats) -> Totals:
    endpoints = {}
    for name, (rows, sent, chars, low, mid, high, _) in zip(names, sums.tolist(), strict=True):
        endpoints[name] = EndpointTotals(int(rows), int(sent), int(chars), Band(low, mid, high))
    return Totals(threshold, endpoints, win_mass=float(sums[STRONG, -1]))


def _cost(routes: Routes, costs: Floats) -> Floats:
    """[n] the cost of each row on the endpoint where it goes, of [endpoints, n]; 0 where it fits on none."""
    cost: Floats = costs[routes.to, np.arange(len(routes.to))] * ~routes.too_long
    return cost


@dataclass(frozen=True, slots=True)
class Estimator:
    """What is assumed of each endpoint, for one input that is scored. Its answers depend on nothing else."""

    endpoints: Endpoints
    assumed: Mapping[str, Assumptions]
    parts: Sequence[ScorePart]

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
        threshold = lowest_fitting(self._gains, least.cost_nano.mid, _whole_nano(budget_usd))
        if threshold is None:
            least_usd = Decimal(min(most.cost_usd.mid, least.cost_usd.mid))
            shown = least_usd.quantize(Decimal("0.0001"), ROUND_CEILING)
            raise UsageFault(
                f"a budget of ${budget_usd} is not enough: even with no row on the more expensive side "
                f"this input is predicted to cost ${shown}; raise it to that, or lower the answers' max_tokens"
            )
        return threshold

    def _gains(self) -> Iterator[tuple[Floats, Floats]]:
        """Score, and nano-dollars more for going strong, of the rows that a threshold decides; by parts."""
        for part in self.parts:
            rows = read_scores(part)
            free = ~np.isnan(rows.score) & (rows.forced == None)  # noqa: E711 - element by element
            costs = np.stack(
                [self.assumed[name].mid_cost(self.assumed[name].chars(rows)) for name in self.endpoints.names]
            )
            if_strong = _cost(route(rows, -math.inf, self.endpoints), costs)
            if_weak = _cost(route(rows, math.inf, self.endpoints), costs)
            yield rows.score[free], (if_strong - if_weak)[free]


def _whole_nano(usd: Decimal) -> float:
    """The most nano-dollars that are not above an amount, which may be a sum of them rounded to a float."""
    nano = float(round(usd * Decimal(NANO)))
    return nano if nano / NANO <= float(usd) else nano - 1


def make_estimator(
    job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[ScorePart]
) -> Estimator:
    """Looks for the job's own pilot, or an earlier run, and measures the tokens of a sample of the input."""
    return Estimator(job.endpoints, assume_endpoints(job, targets, source, parts), parts)


def assume_endpoints(
    job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[ScorePart]
) -> dict[str, Assumptions]:
    """What to assume of both sides; `parts`: the scores, where there are some already."""
    output = Path(job.output.path)
    earlier = {**earlier_answers(job, output), **pilot_answers(output)}
    return {
        name: assume(spec, targets[name].list_price, token_ratio(spec.model, source, parts), earlier.get(name))
        for name, spec in job.endpoints.items()
    }


def resolve_threshold(routing: RoutingSpec, scores: Iterable[Floats], estimator: Callable[[], Estimator]) -> float:
    """The threshold that a job asks for: its own, that of a share of all `scores`, or the lowest for its budget.

    The estimator is only made for a budget. Raises UsageFault where the budget fits nothing, and where the pilot
    is to decide, which knows no threshold before it is asked.
    """
    if routing.threshold is not None:
        return routing.threshold
    if routing.strong_fraction is not None:
        return threshold_for_share(scores, routing.strong_fraction)[0]
    if routing.budget_usd is not None:
        return estimator().budget_threshold(routing.budget_usd)
    raise UsageFault(
        "routing.quality has no threshold before its pilot was asked: `batchroute pilot JOB` does that alone, "
        "`batchroute run JOB` with all the rest"
    )
