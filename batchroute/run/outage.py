"""Says at once when an endpoint goes away, and when it is back: once for an outage, not for each probe of it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchroute.report.lanes import lane_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.types import LaneState


class OutageNotice:
    """What is said of the outages of one lane; those that begin within a minute of one that was said are not.

    Rows that make a server fail open the breaker again and again for a moment, which is no news.
    """

    QUIET_S = 60.0

    def __init__(
        self, name: str, notify: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._notify = notify
        self._clock = clock
        self._said_at = -math.inf
        self._away_since: float | None = None  # of an outage that was said

    def changed(self, state: LaneState) -> None:
        """The breaker opened, or closed."""
        now = self._clock()
        if state.doing == "away":
            if now - self._said_at >= self.QUIET_S:
                self._said_at = self._away_since = now
                words = lane_words(replace(state, next_try_s=None), datetime.now().astimezone())
                self._notify(f"the {self._name} lane is {words}")
        elif self._away_since is not None:
            lasted_s = now - self._away_since
            self._said_at, self._away_since = now, None
            badly = f", but with errors: {state.reason}" if state.reason else ""
            self._notify(
                f"the {self._name} lane goes on: the endpoint answers{badly or ' again'}, after {lasted_s:.0f} s"
            )
