"""The addresses of one lane: which of them gets the next request, and what they show together.

A lane has one queue, and mostly one address. With several, each has its breaker and its pace, and a request goes
to the one that takes it soonest, of those the one with the fewest in flight.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from batchroute.send.backend import Backend
from batchroute.send.breaker import Breaker
from batchroute.send.share import AddressShare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from batchroute.send.allowance import EndpointLimits
    from batchroute.send.classify import Answer
    from batchroute.types import LaneState, StopReason

Row = TypeVar("Row")  # whatever tells requests apart

ADDRESSES_TO_BLAME = 5  # as many as must fail a row, or all that answer, before it has failed for good
_load = attrgetter("in_flight")


class Fleet(Generic[Row]):
    """The backends of one lane, at least one; a row that failed at one while that answered others is to blame.

    Whether a row or an address is bad is each breaker's to find out, as where there is one address. Beside that a
    row that failed goes to another address at once, so that it need not wait to hear whose fault it was.
    """

    # Worked example, three addresses, max_attempts 1. A answers 500 from now on, with rows 31 to 40 in flight:
    # they go to B and C at once, and are answered there; five of them opened A's breaker. 0.1 s later row 60 is
    # A's probe: it fails, so A was away, and row 60 goes to B. No row of B and C ever waits for A. When A is back,
    # its next probe is answered, and as it has the fewest in flight it gets the next requests.
    #
    # Row 7 makes a server fail whenever it is asked. It fails at A, at B, at C: no address is left that has not
    # failed it, and all three answer others, so it has failed for good. Of a hundred addresses five are enough, if
    # `max_attempts` does not ask for more.
    #
    # B is told to serve another model: its first 404 is no row's fault, as A and C are there. B is given up, tried
    # again every half minute, and the rows that it turned away go to A and C. Where all say so the lane stops.

    def __init__(self, addresses: Sequence[str], outage_s: float, *, per_address: bool = False) -> None:
        """`per_address`: each has an equal part of the lane's limits for itself; a single one has them all."""
        count = len(addresses)
        self.is_one = count == 1
        self.has_shares = per_address or self.is_one
        self._blamed: set[Row] = set()
        self.backends: list[Backend[Row]] = []
        for number, where in enumerate(addresses):
            breaker = Breaker(outage_s, count > 1, blamed=self._blamed)
            share = AddressShare(count) if self.has_shares else None
            self.backends.append(Backend(number, where, breaker, outage_s, share))
        self._by_turn = list(self.backends)  # the one that waits longest for a request is first

    @property
    def is_away(self) -> bool:
        """Whether every address is; asked several times for each request, and mostly the first one is there."""
        if not self.backends[0].breaker.open:
            return False
        return all(backend.breaker.open for backend in self.backends)

    @property
    def away(self) -> tuple[str, ...]:
        """Those of several addresses that are away."""
        return () if self.is_one else tuple(each.where for each in self.backends if each.breaker.open)

    @property
    def resume_at(self) -> float:
        """When the first pause ends that an address asked for."""
        return min(backend.resume_at for backend in self.backends)

    def others(self, than: Collection[Backend[Row]]) -> list[Backend[Row]]:
        """The addresses beside these that may answer what these do not."""
        return [backend for backend in self.backends if backend.is_up and backend not in than]

    def pick(
        self, limits: EndpointLimits, tokens: int, now: float, avoid: Collection[Backend[Row]] = ()
    ) -> tuple[Backend[Row], float]:
        """Who of several takes a request of so many tokens soonest, least loaded first, and in how many seconds.

        One that has addresses to `avoid`, as it failed there, is kept from them as long as another may answer it,
        and is no probe while there is one that needs none.
        """
        soonest, least_s = self.backends[0], math.inf
        for backend in sorted(self._choice(avoid) if avoid else self._by_turn, key=_load):
            wait_s = _wait_s(backend, limits, tokens, now)
            if wait_s < least_s:
                soonest, least_s = backend, wait_s
            if wait_s <= 0:
                break
        return soonest, max(0.0, least_s)

    def _choice(self, avoid: Collection[Backend[Row]]) -> Iterable[Backend[Row]]:
        answering = [backend for backend in self._by_turn if not backend.breaker.open]
        others = self.others(avoid)
        return [each for each in others if each in answering] or others or answering or self._by_turn

    def taken(self, backend: Backend[Row]) -> None:
        """It got a request: of those that have as few, it is the last to get another."""
        if not self.is_one:
            self._by_turn.remove(backend)
            self._by_turn.append(backend)

    def suspects(self, row: Row) -> bool:
        """Whether the row's last failures somewhere may yet turn out to be an outage's."""
        return any(backend.breaker.suspects(row) for backend in self.backends)

    def blames(self, row: Row) -> bool:
        """Whether the row failed at an address that answered others."""
        return row in self._blamed

    def ended(self, row: Row) -> None:
        """Nothing more will be heard of the row."""
        for backend in self.backends:
            backend.breaker.ended(row)

    def gave_up(self, backend: Backend[Row], answer: Answer, now: float) -> StopReason | None:
        """Why no address is waited for any longer, after this one's answer; None where one is."""
        reason = backend.hopeless(answer, now)
        if reason is None:
            return None
        backend.given_up = reason
        return None if self._is_hope_left(now) else reason

    def rejects(self, backend: Backend[Row], reason: StopReason, error: str, now: float) -> bool:
        """It can answer no row, for a reason that would stop a lane; returns whether another address may."""
        backend.given_up = reason
        if not self._is_hope_left(now):
            return False
        backend.breaker.reject(error, now)
        return True

    def _is_hope_left(self, now: float) -> bool:
        return any(each.given_up is None and not each.breaker.gave_up(now) for each in self.backends)

    def state(self, now: float) -> LaneState | None:
        """What a request waits for, None where an address takes one; where all are away, the first to be tried."""
        if self.is_one:
            return self.backends[0].state(now)
        answering = [backend for backend in self.backends if not backend.breaker.open]
        states = [backend.state(now) for backend in answering or self.backends]
        held = [state for state in states if state is not None]
        return None if len(held) < len(states) else min(held, key=_next_try_s)


def _wait_s(backend: Backend[Row], limits: EndpointLimits, tokens: int, now: float) -> float:
    """One of several waits for its turn at its own speed here, as another may have its turn sooner."""
    held_s = backend.held_s(now)
    if held_s <= 0 and backend.share is not None:
        held_s = backend.share.wait_s(limits, backend.in_flight, tokens, now)
    if held_s > 0:
        return held_s
    backend.set_speed(limits, now)
    return backend.rate.due_s(now)


def _next_try_s(state: LaneState) -> float:
    return math.inf if state.next_try_s is None else state.next_try_s
