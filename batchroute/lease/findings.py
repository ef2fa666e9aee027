"""What the workers found out about one endpoint, for all of them: it answers, it is back, it is to be left alone.

All times are seconds on the driver's clock. Knows no limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchroute.lease.learnt import LearntSpeed
    from batchroute.lease.messages import LaneUse

PROBE_EVERY_S = 1.25  # all workers together; a second, and a quarter by which messages may be late


class ProbeTurn(NamedTuple):
    """The worker's place among so many that may probe an endpoint that is away."""

    place: int = 0
    of: int = 1

    def wait_s(self, now: float) -> float:
        # Worked example, 4 workers: the one in place 2 may probe at 2.5 s, 7.5 s, 12.5 s ... of the driver's
        # clock. It is told so in every grant, as lengths of time, so that nothing has to be said when an endpoint
        # fails.
        return (self.place * PROBE_EVERY_S - now) % self.every_s

    @property
    def every_s(self) -> float:
        return self.of * PROBE_EVERY_S


@dataclass(slots=True)
class _Account:
    """What a worker said last: when, how many good answers it had, and since when its breaker is open."""

    at: float
    good: int
    away_since: float | None = None


@dataclass(slots=True)
class LaneFindings:
    """`answered`: the lane had a good answer; `stop`: why it ended, on any worker."""

    speed: LearntSpeed
    answered: bool = False
    stop: str | None = None
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _good_since: float = -math.inf  # when the last time began in which a worker had a good answer

    def heard(self, worker: str, use: LaneUse, now: float) -> None:
        last = self._accounts.get(worker)
        away_since = None
        if use.away:
            away_since = now if last is None or last.away_since is None else last.away_since
        if use.good > (0 if last is None else last.good):
            self.answered = True
            self._good_since = max(self._good_since, -math.inf if last is None else last.at)
        self.stop = self.stop or use.stopped
        self.speed.heard(worker, use, now)
        self._accounts[worker] = _Account(now, use.good, away_since)

    def left(self, worker: str) -> None:
        """The worker is dead, or its lease is over."""
        self.speed.left(worker)

    def probes(self, worker: str, turn: ProbeTurn, now: float) -> tuple[float, float]:
        """No sooner than when, and then no closer together than what, the worker may probe, in seconds."""
        # Worked example: the endpoint is away. A says so at 100 s, B at 101 s, and they take turns. B's probe is
        # answered, and B says at 140 s that it has had good answers since it renewed at 138 s. So A, which is away
        # since 100 s, may probe as it likes. What B said at 100.5 s of answers before does not count for A.
        account = self._accounts.get(worker)
        if account is not None and account.away_since is not None and self._good_since >= account.away_since:
            return 0.0, 0.0
        return turn.wait_s(now), turn.every_s
