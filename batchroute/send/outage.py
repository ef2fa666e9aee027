"""When an endpoint goes away and is back, and each of its addresses, told to whoever watches a lane.

Knows breakers and answers; what is said of an outage, and how often, is decided by who is told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from batchroute.send.doubt import may_be_away
from batchroute.send.state import address_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.send.backend import Backend
    from batchroute.send.classify import Answer
    from batchroute.send.fleet import Fleet
    from batchroute.types import LaneState

Row = TypeVar("Row")  # whatever tells requests apart


class OutageWatch(Generic[Row]):
    """Tells `watch` the state of the lane, and that of one of several addresses with its name (host:port)."""

    def __init__(
        self, fleet: Fleet[Row], watch: Callable[[str, LaneState], None], state: Callable[[], LaneState]
    ) -> None:
        self._fleet = fleet
        self._watch = watch
        self._state = state
        self._was_away = False

    def changed(self, backend: Backend[Row], answer: Answer) -> None:
        """An address went away, or is back, with this answer; a bad one is the reason of the state."""
        badly = (answer.error or "") if may_be_away(answer) else ""
        if not self._fleet.is_one:
            breaker = backend.breaker
            state = address_state(backend.given_up, breaker.error, badly, is_open=breaker.open)
            self._watch(backend.where, state)
        is_away = self._fleet.is_away
        if is_away != self._was_away:
            self._was_away = is_away
            state = self._state()
            self._watch("", replace(state, reason=badly) if badly and not is_away else state)
