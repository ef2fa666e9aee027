"""A plan as one value; None stands for unknown, never 0. Money in USD, times in seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.route.forecast.band import Band
    from batchroute.types import Side


@dataclass(frozen=True, slots=True)
class LanePlan:
    """One side's part; `rows` are all that are routed there, too long ones too; tokens are estimates."""

    side: Side
    model: str
    simulated: bool
    price_known: bool
    rows: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: Band | None
    time_s: float
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """The job at another share of strong rows, overrides not counted in it."""

    strong_fraction: float
    threshold: float
    cost_usd: float | None
    time_s: float
    win_mass_kept: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the job will do at its threshold, and what it would at others.

    `rows` counts those too that will be `refused` because the input makes them unusable. `all_strong_usd` and
    `all_weak_usd` are for every usable row, wherever its length or an override would send it.
    """

    name: str
    threshold: float
    rows: int
    refused: int
    too_long: int
    lanes: Sequence[LanePlan]
    cost_usd: Band | None
    all_strong_usd: float | None
    all_weak_usd: float | None
    time_s: float
    win_mass_kept: float | None
    frontier: Sequence[FrontierPoint]

    @property
    def strong_rows(self) -> int:
        return sum(lane.rows for lane in self.lanes if lane.side == "strong")

    @property
    def savings_usd(self) -> float | None:
        """Against all strong."""
        if self.all_strong_usd is None or self.cost_usd is None:
            return None
        return self.all_strong_usd - self.cost_usd.mid


def plan_json(plan: Plan) -> bytes:
    """SPEC's keys, and no others; a threshold over no rows at all is infinite, which JSON writes as null."""
    unknown = dict.fromkeys(("low", "mid", "high"))
    shown = {
        "threshold": plan.threshold,
        "rows": plan.rows,
        "strong_rows": plan.strong_rows,
        "cost_usd": unknown if plan.cost_usd is None else asdict(plan.cost_usd),
        "all_strong_usd": plan.all_strong_usd,
        "all_weak_usd": plan.all_weak_usd,
        "time_s": plan.time_s,
        "frontier": plan.frontier,
    }
    return msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n"
