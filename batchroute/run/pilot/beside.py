"""What a run's endpoints are asked beside their own rows: for the pilot, and of watched rows; nothing without one.

The one face of both to the rows of a run, which know nothing of grades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from batchroute.run.pilot.asking import Asking
    from batchroute.run.pilot.watch import WatchedRows
    from batchroute.send.request import Delivery, Outcome, Request, Spent
    from batchroute.types import StopReason


@dataclass(frozen=True, slots=True)
class Beside:
    """`asking` is the pilot's, `watch` that of later rows; None: there is none."""

    asking: Asking | None = None
    watch: WatchedRows | None = None

    async def requests(self, name: str, delivery: Delivery[Request]) -> AsyncGenerator[Request, None]:
        """What an endpoint is asked before its rows."""
        if self.asking is not None:
            async for request in self.asking.requests(name, delivery):
                yield request

    def wants(self, name: str, request: Request) -> bool:
        """Whether a watched row is to be asked."""
        return self.watch is not None and self.watch.wants(name, request)

    def has(self, name: str, request: Request) -> bool:
        """Whether a row's answer is there, to be taken."""
        return self.asking is not None and self.asking.has(name, request)

    def take(self, name: str, request: Request) -> Outcome | None:
        """That answer; None where the row has to be asked."""
        return None if self.asking is None else self.asking.take(name, request)

    def seen(self, name: str, request: Request, outcome: Outcome) -> None:
        """A row comes to this end, which is about to be its result."""
        if self.watch is not None:
            self.watch.seen(name, request, outcome)

    def settle(self, name: str, request: Request, outcome: Outcome) -> StopReason | None:
        """An answer that is no result by itself; a reason where the endpoint, or the budget, can do no more."""
        asks = self._of(request)
        return None if asks is None else asks.settle(name, request, outcome)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """Such a request stays undone."""
        asks = self._of(request)
        if asks is not None:
            asks.leave(name, request, spent)

    def ended(self, name: str) -> None:
        """Nothing more comes from an endpoint."""
        if self.asking is not None:
            self.asking.ended(name)

    def _of(self, request: Request) -> Asking | WatchedRows | None:
        return self.asking if request.beside == "pilot" else self.watch
