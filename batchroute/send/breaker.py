"""Is the request to blame for a failure, or the endpoint? Two state machines on a clock that the caller reads.

`Breaker` tells an endpoint that is away from a request that always fails, `SameRefusal` a bad parameter from bad
requests. Neither sleeps nor sends.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Row = TypeVar("Row")  # whatever tells rows apart
Held = TypeVar("Held")


@dataclass(slots=True)
class Breaker(Generic[Row]):
    """Tells an endpoint that is away from a row that is bad.

    Opens when `ROWS_TO_OPEN` different rows in a row failed for passing reasons with no success between. While
    open one probe at a time is sent, at growing intervals; any answer closes it.
    """

    outage_s: float
    opened_at: float | None = None
    _probe_at: float = 0.0
    _probe_wait_s: float = 0.0
    _ever_answered: bool = False
    _streak: dict[Row, int] = field(default_factory=dict)

    # Worked example: row 7 makes the server fail whenever it is asked, and others are answered between, so no
    # streak is ever longer than that row: it pays with its own attempts. When the server goes away, rows 31 to 35
    # fail once each; the fifth opens the breaker, and all five get their attempt back. The next in the queue is
    # the probe, 1 s later, then another after 2, 4, 8 ... 30 s; when one is answered, all go on as if nothing had
    # been.
    ROWS_TO_OPEN = 5
    FIRST_PROBE_S = 1.0
    LONGEST_PROBE_S = 30.0
    FIRST_ANSWER_S = 60.0  # a mistyped host is not waited for as long as a known one

    @property
    def open(self) -> bool:
        return self.opened_at is not None

    def wait_s(self, now: float) -> float:
        """0 where a request may leave now; infinite while a probe is out."""
        return max(0.0, self._probe_at - now) if self.open else 0.0

    def probing(self) -> None:
        """The request that leaves now is the probe; no other may until it is back."""
        self._probe_at = math.inf

    def probe_lost(self, now: float) -> None:
        """The probe is awaited no longer; the next request may be one."""
        if self.open:
            self._probe_at = now

    def answered(self, *, well: bool) -> None:
        """The endpoint is there: it answered, whatever it said; `well` where that was a success."""
        self._ever_answered = True
        self.opened_at = None
        if well:
            self._streak.clear()

    def suspects(self, row: Row) -> bool:
        """Whether the row's last failures may yet turn out to be the first ones of an outage."""
        return row in self._streak

    def failed(self, row: Row, now: float, *, probe: bool) -> dict[Row, int]:
        """A row's attempt failed; returns the failures that an outage now explains, so that no row pays."""
        self._streak[row] = self._streak.get(row, 0) + 1
        if self.open and probe:
            self._probe_wait_s = min(self.LONGEST_PROBE_S, 2 * self._probe_wait_s)
            self._probe_at = now + self._probe_wait_s
        elif not self.open and len(self._streak) >= self.ROWS_TO_OPEN:
            self.opened_at = now
            self._probe_wait_s = min(self.FIRST_PROBE_S, self.outage_s)
            self._probe_at = now + self._probe_wait_s
        return self._forgiven() if self.open else {}

    def _forgiven(self) -> dict[Row, int]:
        forgiven, self._streak = self._streak, {}
        return forgiven

    def gave_up(self, now: float) -> bool:
        """Whether the endpoint was away for longer than the job waits."""
        longest_s = self.outage_s if self._ever_answered else min(self.outage_s, self.FIRST_ANSWER_S)
        return self.opened_at is not None and now - self.opened_at >= longest_s


_NUMBERS = re.compile(r"[\w-]*\d[\w-]*")


class SameRefusal(Generic[Held]):
    """Watches a lane's first answers: the same refusal again and again is a bad parameter, not bad requests.

    Until that is decided, refusals are held; the first answer of any other kind decides that requests are to
    blame.
    """

    # Worked example, stop_after = 3: "400: max_tokens is above 4096" three times is one too many, so the lane
    # stops and what is held has failed for the endpoint's sake. "400: row 17 is too long", then "400: row 21 is
    # too long" are one kind, as numbers do not count; then an ok: both are the requests' own, and so is each one
    # after them.

    def __init__(self, stop_after: int) -> None:
        """`stop_after` 0: never the endpoint's fault."""
        self.decided = stop_after <= 0
        self._stop_after = stop_after
        self._kind: str | None = None
        self._count = 0
        self._held: list[Held] = []

    def ok(self) -> None:
        """Something was answered well."""
        self.decided = True

    def refused(self, text: str) -> bool:
        """Whether this refusal is one too many; numbers and ids in it (lengths, requests) make no difference."""
        kind = _NUMBERS.sub("#", text)
        self._kind = self._kind or kind
        self.decided = self.decided or kind != self._kind
        self._count += 1
        return not self.decided and self._count >= self._stop_after

    def hold(self, refusal: Held) -> None:
        self._held.append(refusal)

    def release(self) -> list[Held]:
        """What was held, once."""
        held, self._held = self._held, []
        return held
