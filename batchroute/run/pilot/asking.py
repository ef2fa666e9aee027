"""The rows of a pilot on their way to both sides and back: through the run's lanes, once each, into the journal.

Knows neither grades nor what is decided by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchroute.run.feed import RequestWriter
from batchroute.run.pilot.answers import PilotAnswers
from batchroute.run.pilot.judge import AnsweredRow
from batchroute.run.pilot.queue import RequestQueue
from batchroute.run.settle import never_sent, settled
from batchroute.send.classify import stop_reason
from batchroute.send.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.send.request import Delivery, Outcome, Request, Spent
    from batchroute.store.pilot import PilotStore
    from batchroute.types import Result, StopReason


class Asking:
    """Of one run; belongs to its event loop."""

    def __init__(
        self, endpoints: Endpoints, targets: Mapping[str, Target], store: PilotStore, *, reserves: bool
    ) -> None:
        """`reserves`: a budget has to hold for each request."""
        self._targets = targets
        self._answers = PilotAnswers(store, targets, "pilot")
        self._writers = {
            name: RequestWriter(spec, targets[name].pricing if reserves else None)
            for name, spec in endpoints.items()
        }
        self.queues = {name: RequestQueue() for name in endpoints.names}
        self._asked: set[tuple[str, str, int]] = set()  # by this run

    async def ask(self, rows: Sequence[SampledRow]) -> bool:
        """Whether all of them came to their ends on both sides; what is on file is not asked."""
        for name, queue in self.queues.items():
            for row in rows:
                request = self._request(name, row)
                place = (name, row.prompt.file, row.prompt.row)
                if place in self._asked or request.prompt.refusal or self._answers.has_ended(name, request):
                    continue
                self._asked.add(place)
                queue.put(request)
        return all([await queue.drained() for queue in self.queues.values()])

    def answered(self, row: SampledRow) -> AnsweredRow:
        """The row with what both sides said."""
        return AnsweredRow(row, self._result("strong", row), self._result("weak", row))

    def requests(self, name: str, delivery: Delivery[Request]) -> AsyncGenerator[Request, None]:
        """What an endpoint is to be asked, until no more is wanted."""
        return self.queues[name].requests(delivery)

    def settle(self, name: str, request: Request, outcome: Outcome) -> StopReason | None:
        """Puts an answer on file; a reason where the endpoint, or the budget, can do no more."""
        self._answers.put(name, request, outcome)
        if outcome.status != "open":
            self.queues[name].done()
            return None
        self.queues[name].left()
        return stop_reason(outcome.answer)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """A request stays undone."""
        self._answers.leave(name, request, spent)
        self.queues[name].left()

    def close(self) -> None:
        """No more is wanted of either side."""
        for queue in self.queues.values():
            queue.close()

    def ended(self, name: str) -> None:
        """Nothing more comes from an endpoint."""
        self.queues[name].ended()

    def has(self, name: str, request: Request) -> bool:
        """Whether there is an answer to take."""
        return self._answers.can_take(name, request)

    def take(self, name: str, request: Request) -> Outcome | None:
        """The answer on file, to be settled as the row's result; None where it has to be asked."""
        return self._answers.take(name, request)

    def _request(self, name: str, row: SampledRow) -> Request:
        tokens = int(estimate_tokens(row.chars))
        write = self._writers[name]
        request = write(row.prompt, row.score, "score", chars=row.chars, tokens=tokens, attempts=0)
        earlier = self._answers.find(name, request)
        attempts = 0 if earlier is None else earlier.attempts
        return msgspec.structs.replace(request, attempts=attempts, beside="pilot")

    def _result(self, name: str, row: SampledRow) -> Result:
        request, target = self._request(name, row), self._targets[name]
        outcome = self._answers.find(name, request)
        if outcome is None:
            return never_sent(request, target, None, 0)
        return settled(request, outcome, target, None, 0, raw=False)
