"""The pilot within a plan: what it adds to the bill, before it is asked and after.

Sends nothing. Money in USD, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.report.quality import read_quality
from batchroute.route.forecast.evidence import Band
from batchroute.route.forecast.pilot import NOTHING
from batchroute.run.pilot.cost import forecast_pilot
from batchroute.run.pilot.found import paid_beside
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.run.prepare import ScoredInput


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """`rows` are asked on both sides, and cost `cost_usd` beside their own answers, at most `most_usd`.

    None is unknown. `time_s` is the pilot's own; `found`: what it measured, where it is at its end, and its cost
    is what was paid then. `watch_usd` is for `watch_rows` later ones, on both sides, too.
    """

    rows: int
    cost_usd: Band | None
    most_usd: float | None
    time_s: float
    watch_rows: int
    watch_usd: Band | None
    found: Quality | None = None

    @property
    def total_usd(self) -> Band | None:
        """Of the pilot and of the watched rows."""
        if self.cost_usd is None or self.watch_usd is None:
            return None
        return self.cost_usd.plus(self.watch_usd)

    def as_it_was(self, usd: float | None) -> PilotPlan:
        """Of a run that is over, whose pilot and watched rows cost so much."""
        cost_usd = None if usd is None else Band(usd, usd, usd)
        return replace(self, cost_usd=cost_usd, most_usd=usd, time_s=0.0, watch_rows=0, watch_usd=NOTHING)


def plan_pilot(
    job: Job, targets: Mapping[str, Target], scored: ScoredInput, threshold: float | None, limit: int | None
) -> PilotPlan | None:
    """None where the job has no pilot; `threshold` None: the pilot is yet to choose one."""
    forecast = forecast_pilot(job, targets, scored.source, scored.scores.parts, limit)
    if forecast is None:
        return None
    run = Path(job.output.path)
    cost, found = forecast.cost, read_quality(run)
    if found is None:
        return PilotPlan(cost.rows, cost.cost_usd, forecast.most_usd, cost.time_s, cost.watch_rows, cost.watch_usd)
    paid = paid_beside(RunLayout(run), threshold)
    return PilotPlan(
        rows=found.asked,
        cost_usd=paid,
        most_usd=None if paid is None else paid.high,
        time_s=0.0,
        watch_rows=cost.watch_rows,
        watch_usd=cost.watch_usd,
        found=found,
    )
