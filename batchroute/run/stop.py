"""Ending a run early: by its caller, a signal, the clock or a fault; what is in flight is awaited, or abandoned.

Knows what can be stopped and nothing of what it does.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from batchroute.errors import OwnCodeFault
from batchroute.report.standing import GO_ON
from batchroute.run.process import on_signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from batchroute.errors import BatchrouteError
    from batchroute.job.spec import Limits

_LOOK_EVERY_S = 10.0
_PUT_RIGHT = "put it right and run again, all answers are kept"


class Stoppable(Protocol):
    """A part of a run: a lane, the scoring; `sent` is how many attempts it made."""

    @property
    def sent(self) -> int: ...

    def stop(self) -> None:
        """Begins nothing more."""
        ...

    def abandon(self) -> None:
        """Does not even wait for what is in flight."""
        ...


class Stopper:
    """Stops all parts of a run, once; belongs to one event loop.

    Worked example, drain_s = 20: Ctrl-C at 12:00:00 stops every part, so that nothing new is sent; 180 answers are
    in flight and awaited. At 12:00:20 those that have not come are abandoned; a second Ctrl-C does that at once.
    """

    def __init__(
        self, drain_s: float, notify: Callable[[str], None], wall_clock_s: Callable[[], float] = time.time
    ) -> None:
        self.stopping = False
        self.reasons: list[str] = []
        self.signal: int | None = None
        self.fault: BatchrouteError | None = None
        self._drain_s = drain_s
        self._notify = notify
        self._wall_clock_s = wall_clock_s
        self._parts: list[Stoppable] = []
        self._in_flight: Callable[[], int] = int
        self._abandoned_at: float | None = None  # on the event loop's clock

    @property
    def left_s(self) -> float | None:
        """How long answers in flight are still awaited; None where the run is not ended early."""
        if self._abandoned_at is None:
            return None
        return max(0.0, self._abandoned_at - asyncio.get_running_loop().time())

    @property
    def cause(self) -> str:
        """Why everything stops, in a few words; empty where nothing does."""
        if self.signal is not None:
            return signal.Signals(self.signal).name
        if self.reasons:
            return self.reasons[0].partition(";")[0]
        if isinstance(self.fault, OwnCodeFault):
            return "code of the job's own failed"
        return "the input or the router failed" if self.fault is not None else ""

    @property
    def sent(self) -> int:
        """Attempts of all parts."""
        return sum(part.sent for part in self._parts)

    def add(self, part: Stoppable) -> None:
        """One more part, which is stopped at once where the run is stopping already."""
        self._parts.append(part)
        if self.stopping:
            part.stop()
            asyncio.get_running_loop().call_later(self._drain_s, part.abandon)

    def stop(self, reason: str) -> None:
        """Stops the run for a reason outside, which is reported at once."""
        self.reasons.append(reason)
        self._notify(reason)
        self.drain()

    def fail(self, fault: BatchrouteError) -> None:
        """Stops the run for a fault of its input, model or judge: answers in flight are paid, and still awaited.

        Where nothing was sent there is nothing to wait for, and the fault itself soon reaches the caller.
        """
        if self.fault is None:
            self.fault = OwnCodeFault(f"{fault}; {_PUT_RIGHT}") if isinstance(fault, OwnCodeFault) else fault
            if self.sent:
                self._notify(str(self.fault))
        self.drain()

    def drain(self) -> None:
        """Nothing new is begun; what is in flight has `drain_s`."""
        if self.stopping:
            return
        self.stopping = True
        for part in self._parts:
            part.stop()
        loop = asyncio.get_running_loop()
        self._abandoned_at = loop.time() + self._drain_s
        loop.call_at(self._abandoned_at, self.abandon)

    def abandon(self) -> None:
        """Does not wait for what is in flight."""
        for part in self._parts:
            part.abandon()

    def interrupt(self, number: int) -> None:
        """A first signal drains, a second one abandons."""
        if self.signal is not None:
            self.abandon()
            return
        self.signal = number
        waiting = f"waiting up to {self._drain_s:g} s for {self._in_flight()} answers in flight"
        self._notify(f"stopping: {waiting}; {GO_ON}")
        self.drain()

    def on_signals(self, in_flight: Callable[[], int]) -> AbstractContextManager[None]:
        """Gives each SIGINT or SIGTERM to `interrupt`; none ends the process meanwhile."""
        self._in_flight = in_flight
        return on_signals(self.interrupt)

    async def in_time(self, limits: Limits) -> None:
        """Stops at limits.stop_at or after limits.max_wall_s, whichever comes first.

        Looks at the clock again and again: it may be set, or stand still with the machine, while no timer notices.
        """
        clock_s, wall_clock_s = asyncio.get_running_loop().time, self._wall_clock_s
        ends: list[tuple[float, Callable[[], float], str]] = []
        if limits.max_wall_s is not None:
            ends.append((clock_s() + limits.max_wall_s, clock_s, "limits.max_wall_s"))
        if limits.stop_at is not None:
            now_s = wall_clock_s()
            until_s = seconds_until(limits.stop_at, datetime.fromtimestamp(now_s).astimezone())
            ends.append((now_s + until_s, wall_clock_s, "limits.stop_at"))
        while ends:
            left_s, key = min((end_s - shown_s(), key) for end_s, shown_s, key in ends)
            if left_s <= 0:
                self.stop(f"{key} is reached; run again to go on")
                return
            await asyncio.sleep(min(left_s, _LOOK_EVERY_S))


def seconds_until(clock: str, now: datetime) -> float:
    """From `now` to the next time a local clock shows HH:MM, or passes it.

    Worked example, a night in which clocks go from 02:00 to 03:00: at 01:15 it is 3.75 hours to 06:00, not 4.75,
    and 45 minutes to 02:30, which is passed at 02:00 = 03:00. In the night in which they go from 03:00 back to
    02:00, 02:30 comes twice, and the first that is still to come counts. The system is asked for that day, as the
    offset of `now` may not hold any more by then.
    """
    hour, minute = map(int, clock.split(":"))
    today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    moments = [moment for days in range(3) for moment in _moments(today + timedelta(days))]
    return min((moment - now).total_seconds() for moment in moments if moment > now)


def _moments(wall: datetime) -> list[datetime]:
    """When local clocks show this: once, twice, or, where they jump over it, the moment of the jump."""
    before, after = sorted(wall.replace(fold=fold).astimezone() for fold in (0, 1))
    if before.replace(tzinfo=None) == wall:
        return [before, after]
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).astimezone()
        before, after = (middle, after) if middle.utcoffset() == before.utcoffset() else (before, middle)
    return [after.replace(microsecond=0)]
