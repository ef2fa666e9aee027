"""Is an endpoint away, or are some requests to blame for their failures? A state machine on the caller's clock.

It neither sleeps nor sends, and knows rows only as what tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from batchroute.types import LaneState

if TYPE_CHECKING:
    from batchroute.send.classify import Presence

Row = TypeVar("Row")  # whatever tells rows apart


@dataclass(frozen=True, slots=True)
class Failure(Generic[Row]):
    """An attempt that failed as all do when the endpoint is away.

    `presence`: what came back at all; `probe`: it was sent to see whether the endpoint is back; `first`: the row
    had not failed before; `last_rows`: no row is left that has not, so nothing else can tell; `error` in words.
    """

    row: Row
    presence: Presence = "answered"
    probe: bool = False
    first: bool = True
    last_rows: bool = False
    error: str = ""


@dataclass(slots=True)
class Breaker(Generic[Row]):
    """Tells an endpoint that is away from rows that are bad.

    Opens when `ROWS_TO_OPEN` different rows failed with no success between; those that failed before while others
    succeeded do not count. While it is open one probe at a time is sent, at growing intervals, of a row that has
    not failed yet where there is one. Until one of these has failed, too, nothing is decided: a success then
    blames the rows that failed. Once it has, the endpoint was away, and no row pays for that.
    """

    # Worked example, max_attempts 3. Row 7 makes the server fail whenever it is asked. Others are answered
    # between: their first answer blames row 7, whose failures count and open nothing.
    #
    # Rows 31 to 35 fail once each, side by side; the fifth opens the breaker. The probe 0.1 s later is the row
    # furthest ahead that the lane has taken in, row 96, as its neighbours may be as bad.
    #   It is answered well: the five are to blame, 1 of 3 attempts each, and all go on. Rows 36 to 40 are bad,
    #   too, and open it again; the probe is row 97, and so on: 50 bad rows side by side take ten probes.
    #   It fails: the endpoint is away. The five get their attempt back, and so does every row that fails from now
    #   on. The next probes leave when the outage is 0.2, 0.3 ... 1.2 s old, then whenever it has grown by a
    #   twelfth, at least every 30 s, until one is answered well or `outage_s` is over.
    #
    # At the end of a file, where all rows that are left have failed, nothing tells the two apart. Rows that are
    # to blame already fail for themselves. So do the others where the server answers, if only with 500, and those
    # that hung while it answered what left later, but not before they have failed for 5 minutes (`retry`).
    # Where nothing comes back, the endpoint is away.
    #
    # One of several addresses is away as soon as there is no connection to it: no row can do that, and the others
    # are asked meanwhile.
    outage_s: float
    is_one_of_several: bool = False
    opened_at: float | None = None
    probes: int = 0  # sent or to be sent since it opened, to rows that had not failed
    error: str = ""  # of the last failure
    _probe_at: float = 0.0
    _confirmed: bool = False  # the endpoint was away, and nothing was answered well since
    _is_last_rows: bool = False  # a failure since the last success was one of the last rows', and not to blame
    _ever_answered: bool = False
    _streak: dict[Row, int] = field(default_factory=dict)  # failures since the last success, not forgiven
    _suspects: int = 0  # rows of the streak, less those that were to blame already
    blamed: set[Row] = field(
        default_factory=set
    )  # failed while others succeeded, here or at a fleet's other addresses

    ROWS_TO_OPEN = 5
    FIRST_PROBE_S = 0.1
    LONGEST_PROBE_S = 30.0
    OUTAGE_TO_PROBE = 12.0  # how many times as long an outage has lasted as it lasts to the next probe
    FIRST_ANSWER_S = 60.0  # a mistyped host is not waited for as long as a known one

    @property
    def open(self) -> bool:
        return self.opened_at is not None

    @property
    def is_confirmed(self) -> bool:
        """Whether it is open for an outage, and not for rows that may be to blame."""
        return self.open and self._confirmed

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

    def answered(self) -> None:
        """The endpoint is there, whatever it said."""
        self._ever_answered = True
        self._close()

    def succeeded(self) -> None:
        """It answered well: what failed since it last did, and was not forgiven, failed for itself.

        Of last rows this shows nothing, as all have failed, and any may be the first that an outage is over for.
        """
        self.answered()
        if self._streak:
            self.blamed.update([] if self._is_last_rows else self._streak)
            self._forgiven()
        self._confirmed = self._is_last_rows = False

    def suspects(self, row: Row) -> bool:
        """Whether the row's last failures may yet turn out to be an outage's."""
        return row in self._streak

    def blames(self, row: Row) -> bool:
        """Whether the row failed while others succeeded."""
        return row in self.blamed

    def failed(self, failure: Failure[Row], now: float) -> dict[Row, int]:
        """Returns the failures that an outage now explains, by row, so that no row pays for them."""
        row, presence, self.error = failure.row, failure.presence, failure.error
        is_gone = self.is_one_of_several and presence == "unconnected"
        own = row in self.blamed and presence != "unconnected"
        self._suspects += not own and row not in self._streak
        self._streak[row] = self._streak.get(row, 0) + 1
        if failure.last_rows and (own or presence == "answered"):
            self._is_last_rows = self._is_last_rows or not own
            self._close()
            return {}
        if self.opened_at is None:
            if self._confirmed or is_gone or failure.last_rows or self._suspects >= self.ROWS_TO_OPEN:
                self._open(now)
        elif failure.probe:
            self._probe_at = now + self._probe_wait_s(now - self.opened_at)
            self.probes += failure.first
            self._confirmed = self._confirmed or failure.first
        self._confirmed = self._confirmed or is_gone
        if failure.last_rows:  # others of them may have been answered, if badly
            self._suspects -= 1
            return {row: self._streak.pop(row)}
        return self._forgiven() if self._confirmed else {}

    def reject(self, error: str, now: float) -> None:
        """What it says is no row's fault and will not pass by itself: it is away, and tried now and then."""
        self.error = error
        if self.opened_at is None:
            self._open(now)
        self._confirmed = True
        self._probe_at = now + self.LONGEST_PROBE_S

    def ended(self, row: Row) -> None:
        """Nothing more will be heard of the row; what it showed still counts."""
        self.blamed.discard(row)
        self._streak.pop(row, None)

    def gave_up(self, now: float) -> bool:
        """Whether the endpoint was away for longer than the job waits."""
        return self.opened_at is not None and now - self.opened_at >= self._longest_s

    def state(self, now: float) -> LaneState | None:
        """What the lane waits for, where the endpoint is away; the next try is not known while a probe is out."""
        if self.opened_at is None:
            return None
        wait_s = self._probe_at - now
        next_try_s = wait_s if 0 < wait_s < math.inf else None
        return LaneState("away", self.error, next_try_s, max(0.0, self.opened_at + self._longest_s - now))

    @property
    def _longest_s(self) -> float:
        return self.outage_s if self._ever_answered else min(self.outage_s, self.FIRST_ANSWER_S)

    def _open(self, now: float) -> None:
        self.opened_at, self.probes = now, 1
        self._probe_at = now + min(self.FIRST_PROBE_S, self.outage_s)

    def _close(self) -> None:
        self.opened_at, self.probes = None, 0

    def _probe_wait_s(self, lasted_s: float) -> float:
        return min(self.LONGEST_PROBE_S, max(self.FIRST_PROBE_S, lasted_s / self.OUTAGE_TO_PROBE))

    def _forgiven(self) -> dict[Row, int]:
        forgiven, self._streak, self._suspects = self._streak, {}, 0
        return forgiven
