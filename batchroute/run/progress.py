"""What a run has done so far, as counters that a display reads. Draws nothing."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchroute.types import LaneState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.job.spec import Job
    from batchroute.types import Result


@dataclass(slots=True)
class LaneProgress:
    """One lane's rows of this run, and what is known of their bill.

    `rows` is how many it has to settle; None until all scores are known.
    """

    rows: int | None = None
    ok: int = 0
    refused: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    in_flight: Callable[[], int] = int
    state: Callable[[], LaneState] = lambda: LaneState("waiting")
    last_error: str | None = None  # of any attempt, whether or not a retry helped

    @property
    def settled(self) -> int:
        return self.ok + self.refused + self.failed


@dataclass(slots=True)
class Progress:
    """`rows` is None until the whole input is known; `done_before` rows were done by earlier runs.

    Those of input.reuse are among them. `simulated`: no money is really spent on one side at least. `spent_usd` is
    what is known of the bill of the whole directory, which `max_cost_usd` limits.
    """

    rows: int | None = None
    scored: Callable[[], int] = int
    done_before: int = 0
    simulated: bool = False
    spent_usd: Callable[[], float] = float
    max_cost_usd: float | None = None
    started_s: float = field(default_factory=time.monotonic)
    lanes: Mapping[str, LaneProgress] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of(job: Job, scored: Callable[[], int], done_before: int) -> Progress:
        """Before anything is asked."""
        endpoints, limits = job.endpoints, job.limits
        return Progress(
            scored=scored,
            done_before=done_before,
            max_cost_usd=None if limits.max_cost_usd is None else float(limits.max_cost_usd),
            simulated=any(spec.simulate is not None for _, spec in endpoints.items()),
            lanes={name: LaneProgress() for name in endpoints.names},
        )

    @property
    def settled(self) -> int:
        return sum(lane.settled for lane in self.lanes.values())

    @property
    def cost_usd(self) -> float:
        return sum(lane.cost_usd for lane in self.lanes.values())

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    @property
    def rows_per_s(self) -> float:
        return self.settled / max(self.elapsed_s, 1e-3)

    @property
    def eta_s(self) -> float | None:
        """Time left at each lane's speed so far, the slower lane's; None while nothing is known to go by."""
        left_s = [0.0]
        for lane in self.lanes.values():
            if lane.rows is None or (lane.settled == 0 < lane.rows):
                return None
            if lane.rows > lane.settled:
                left_s.append((lane.rows - lane.settled) * self.elapsed_s / lane.settled)
        return max(left_s)

    def add(self, name: str, result: Result) -> None:
        lane = self.lanes[name]
        lane.cost_usd += result.cost_usd or 0.0
        if result.status == "ok":
            lane.ok += 1
        elif result.status == "refused":
            lane.refused += 1
        elif result.status == "failed":
            lane.failed += 1
        if result.error_type is not None and result.status != "open":
            self.errors[result.error_type] += 1
