"""What a run has done so far, as counters that a display reads. Draws nothing, and knows no speeds."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchroute.send.open import endpoint_limits
from batchroute.types import LaneState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.job.spec import Job
    from batchroute.types import PilotProgress, Result


@dataclass(slots=True)
class LaneProgress:
    """One lane's rows of this run, and what is known of their bill.

    `rows` is how many it has to settle; None until all scores are known. `tokens` are those of its answers, `sent`
    its attempts; the limits are the lane's. `is_beside`: it answers no rows of the job, but gives
    verdicts on answers, which is what it settles.
    """

    rows: int | None = None
    ok: int = 0
    refused: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    tokens: int = 0
    in_flight: Callable[[], int] = int
    sent: Callable[[], int] = int
    state: Callable[[], LaneState] = lambda: LaneState("waiting")
    last_error: str | None = None  # of any attempt, whether or not a retry helped
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    is_beside: bool = False

    @property
    def settled(self) -> int:
        return self.ok + self.refused + self.failed

    @property
    def left(self) -> int | None:
        """Rows still to settle."""
        return None if self.rows is None else max(0, self.rows - self.settled)


@dataclass(frozen=True, slots=True)
class Money:
    """USD of the whole directory; None is unknown.

    `unconfirmed_usd` counts against a limit, too. `all_strong_usd` is an estimate of what the answers so far would
    have cost at the strong endpoint.
    """

    spent_usd: float | None = None
    unconfirmed_usd: float = 0.0
    all_strong_usd: float | None = None

    @property
    def saved_usd(self) -> float | None:
        """About what was saved against all rows strong."""
        if self.all_strong_usd is None or self.spent_usd is None:
            return None
        return self.all_strong_usd - self.spent_usd


@dataclass(frozen=True, slots=True)
class Crew:
    """Of a run by several: how many workers there are, how many were lost, and shards that are left of all."""

    workers: int
    lost: int
    shards_left: int
    shards: int


@dataclass(slots=True)
class Progress:
    """`rows` is None until the whole input is known; `done_before` rows were done by earlier runs.

    Those of input.reuse are among them. `simulated`: no money is really spent on one side at least. `stops_in_s`
    says, once the run is ended early, how long answers in flight are still awaited. `pilot` is None but while the
    pilot is at work; `crew` where the work is done by workers.
    """

    rows: int | None = None
    scored: Callable[[], int] = int
    done_before: int = 0
    simulated: bool = False
    max_cost_usd: float | None = None
    money: Callable[[], Money] = Money
    stops_in_s: Callable[[], float | None] = lambda: None
    pilot: Callable[[], PilotProgress | None] = lambda: None
    crew: Callable[[], Crew | None] = lambda: None
    started_s: float = field(default_factory=time.monotonic)
    lanes: Mapping[str, LaneProgress] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of(job: Job, scored: Callable[[], int], done_before: int) -> Progress:
        """Before anything is asked."""
        endpoints, most = job.endpoints, job.limits.max_cost_usd
        return Progress(
            scored=scored,
            done_before=done_before,
            max_cost_usd=None if most is None else float(most),
            simulated=any(spec.simulate is not None for _, spec in endpoints.items()),
            lanes={
                name: LaneProgress(
                    is_beside=name not in endpoints.names,
                    requests_per_minute=limits.requests_per_minute,
                    tokens_per_minute=limits.tokens_per_minute,
                )
                for name, limits in ((name, endpoint_limits(spec)) for name, spec in job.asked.items())
            },
        )

    @property
    def row_lanes(self) -> list[LaneProgress]:
        """Those that answer rows of the job."""
        return [lane for lane in self.lanes.values() if not lane.is_beside]

    @property
    def settled(self) -> int:
        """Rows of the job."""
        return sum(lane.settled for lane in self.row_lanes)

    @property
    def done(self) -> int:
        """Rows that have ended, over all runs."""
        return self.done_before + self.settled

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight() for lane in self.lanes.values())

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def add(self, name: str, result: Result, earlier: Result | None) -> None:
        """A result, which has what an `earlier` one of the same row had: that was counted where it came up."""
        lane = self.lanes[name]
        lane.cost_usd += result.cost_usd or 0.0
        lane.tokens += _tokens(result)
        if earlier is not None:
            lane.cost_usd -= earlier.cost_usd or 0.0
            lane.tokens -= _tokens(earlier)
        if result.status == "ok":
            lane.ok += 1
        elif result.status == "refused":
            lane.refused += 1
        elif result.status == "failed":
            lane.failed += 1
        if result.error_type is not None and result.status != "open":
            self.errors[result.error_type] += 1


def _tokens(result: Result) -> int:
    return (result.prompt_tokens or 0) + (result.completion_tokens or 0)
