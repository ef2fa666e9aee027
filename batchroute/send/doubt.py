"""Is a request to blame for its failures, or the endpoint? What a lane's open requests show of each other.

The decision itself is the breaker's; here it is found out what it needs to know, and who waits for it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from batchroute.send.breaker import Failure
from batchroute.send.request import AnyRequest
from batchroute.send.retry import NO_MORE, Attempts, RetryDecision

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.send.backend import Backend
    from batchroute.send.classify import Answer, Presence
    from batchroute.send.gate import Admission, Gate
    from batchroute.send.request import Sink
    from batchroute.send.retry import RetryPolicy
    from batchroute.send.room import Room


@dataclass(slots=True, eq=False)
class OpenRequest(Generic[AnyRequest]):
    """A request that is neither settled nor left yet; `admission` is what it holds, `decision` what comes next.

    `failed`: once or more as all do when the endpoint is away; `overtaken`: one that left later was answered well.
    `standard`: at the standard tier from now on. `failed_at` are the addresses that did not answer it well,
    `avoids` those of them that are not to be asked again before the others.
    """

    request: AnyRequest
    sink: Sink[AnyRequest]
    attempts: Attempts
    admission: Admission[OpenRequest[AnyRequest]] | None = None
    begun: bool = False
    ended: bool = False
    in_flight: bool = False
    failed: bool = False
    overtaken: bool = False
    standard: bool = False
    failed_at: tuple[Backend[OpenRequest[AnyRequest]], ...] = ()
    avoids: tuple[Backend[OpenRequest[AnyRequest]], ...] = ()
    decision: RetryDecision = NO_MORE

    def fails_at(self, backend: Backend[OpenRequest[AnyRequest]]) -> None:
        """An attempt there was in vain; where that is so for the second time, the others are to be asked again."""
        self.avoids = (backend,) if backend in self.avoids else (*self.avoids, backend)
        if backend not in self.failed_at:
            self.failed_at = (*self.failed_at, backend)


class Doubt(Generic[AnyRequest]):
    """Of one lane: which of its requests have failed, and which wait to hear what becomes of others."""

    def __init__(
        self, gate: Gate[OpenRequest[AnyRequest]], room: Room, policy: RetryPolicy, is_fed: Callable[[], bool]
    ) -> None:
        """`is_fed`: whether more requests may come."""
        self.undecided: dict[OpenRequest[AnyRequest], asyncio.Future[None]] = {}
        self._unfailed = 0  # open requests
        self._gate = gate
        self._room = room
        self._policy = policy
        self._is_fed = is_fed

    def opened(self) -> None:
        """A request is open that has not failed."""
        self._unfailed += 1

    def ended(self, row: OpenRequest[AnyRequest]) -> None:
        """A request is settled or left."""
        if row.failed:
            self._gate.fleet.ended(row)
        else:
            self._unfailed -= 1
        self.review()

    def failed(
        self,
        row: OpenRequest[AnyRequest],
        admission: Admission[OpenRequest[AnyRequest]],
        answer: Answer,
        *,
        overtaken: bool,
    ) -> None:
        """An attempt failed as `may_be_away` says; `overtaken`: one that left later was answered well there.

        What left before and was answered meanwhile shows nothing: an endpoint may go away between the two.
        """
        first, row.failed = not row.failed, True
        self._unfailed -= first
        row.overtaken = row.overtaken or overtaken
        row.fails_at(admission.backend)
        probe, breaker = self._gate.is_probe(admission), admission.backend.breaker
        last_rows = self._policy.excuse_outages and not self._others_may_tell()
        probes = breaker.probes
        failure = Failure(row, _presence(row, answer), probe, first, last_rows, answer.error or "")
        forgiven = self._gate.failed(admission.backend, failure)
        for excused, failures in forgiven.items():
            excused.attempts.forgive(failures)
        if breaker.probes > probes:
            self._room.go_ahead(probes)

    def lasts_s(self, row: OpenRequest[AnyRequest], answer: Answer) -> float:
        """How long a request has to fail before it has for good.

        No longer than its attempts take, unless it is one of the last and nothing tells whether it is to blame.
        """
        if not (may_be_away(answer) and self._policy.excuse_outages) or self._others_may_tell():
            return 0.0
        presence = _presence(row, answer)
        if presence == "unconnected":
            return math.inf
        if self._gate.fleet.blames(row):
            return 0.0
        since = row.attempts.failing_since or 0.0
        before_s = max(0.0, self._gate.passed_at - since)  # until the last success, so that the time began anew
        return math.inf if presence == "silent" else before_s + self._policy.last_rows_s

    def is_undecided(self, row: OpenRequest[AnyRequest]) -> bool:
        """Whether a request at the end of its attempts has to wait for what becomes of others.

        If they fail, too, it was the beginning of an outage, which uses up no attempts: five requests fail once
        each, with one attempt allowed. The first four wait here; the fifth opens the breaker, and a probe fails as
        well, so all five are forgiven, and asked again when the endpoint is back. Had the fifth been answered
        well, or the probe, the others would have failed for themselves.
        """
        is_last = row.decision.counts and not row.decision.again
        suspects = self._gate.fleet.suspects
        return is_last and self._policy.excuse_outages and suspects(row) and self._others_may_tell()

    async def hear_others(self, row: OpenRequest[AnyRequest]) -> None:
        """Until it is decided what becomes of the request."""
        self.undecided[row] = asyncio.get_running_loop().create_future()
        self._count_undecided()
        self.review()
        try:
            await self.undecided[row]
        finally:
            del self.undecided[row]
            self._count_undecided()

    def review(self) -> None:
        """Lets those go on that need to hear no more; few ever wait."""
        for row, decided in self.undecided.items():
            if not decided.done() and not self.is_undecided(row):
                decided.set_result(None)

    def _others_may_tell(self) -> bool:
        """Whether an answer may come of a request that has not failed yet."""
        return self._unfailed > 0 or self._is_fed()

    def _count_undecided(self) -> None:
        self._room.undecided = len(self.undecided)
        self._room.changed()


def may_be_away(answer: Answer) -> bool:
    """Whether this is what an endpoint that is away looks like: no 4xx, behind which there is one."""
    return answer.verdict == "transient" and not answer.turned_away


def _presence(row: OpenRequest[AnyRequest], answer: Answer) -> Presence:
    """How much there was of the endpoint; it was there if it answered what left later."""
    return "answered" if row.overtaken and answer.presence == "silent" else answer.presence
