"""Says at once when an endpoint goes away, and when it is back: once for an outage, not for each probe of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchroute.report.lanes import lane_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.types import LaneState


@dataclass(slots=True)
class _Said:
    """Of a lane, or one of its addresses: when something was, and since when it is away, where that was said."""

    at: float = -math.inf
    away_since: float | None = None


class OutageNotice:
    """What is said of the outages of one lane, and of each of its addresses where it has several.

    Those that begin within a minute of one that was said are not: rows that make a server fail open the breaker
    again and again for a moment, which is no news.
    """

    QUIET_S = 60.0

    def __init__(
        self, name: str, notify: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._notify = notify
        self._clock = clock
        self._said: dict[str, _Said] = {}

    def changed(self, where: str, state: LaneState) -> None:
        """The breaker of an address opened, or closed; of the whole lane where none is named."""
        now, said = self._clock(), self._said.setdefault(where, _Said())
        if state.doing in {"away", "stopped"} and (where or state.doing == "away"):
            if now - said.at >= self.QUIET_S:
                said.at = said.away_since = now
                self._notify(self._away_words(where, state))
        elif said.away_since is not None:
            lasted_s = now - said.away_since
            said.at, said.away_since = now, None
            who = f"{where} again: it" if where else "the endpoint"
            badly = f", but with errors: {state.reason}" if state.reason else "" if where else " again"
            goes_on = "asks" if where else "goes on:"
            self._notify(f"the {self._name} lane {goes_on} {who} answers{badly}, after {lasted_s:.0f} s")

    def _away_words(self, where: str, state: LaneState) -> str:
        if not where:
            words = lane_words(replace(state, next_try_s=None), datetime.now().astimezone())
            return f"the {self._name} lane is {words}"
        if state.doing == "stopped":
            return f"the {self._name} lane does without {where}, as long as others answer: {state.reason}"
        return f"the {self._name} lane goes on without {where}, which is away: {state.reason}"
