"""status.json, kept while a run works: what each lane does now, and for how long it has done what.

Looks at counters and lanes, never at rows, so that it costs a row nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from batchroute.errors import Stopped
from batchroute.report.lanes import (
    LaneReport,
    LaneTimeline,
    RunStatus,
    lane_words,
    prolonged,
    status_in,
    write_status,
)

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.run.progress import LaneProgress, Progress

LOOK_EVERY_S = 1.0
WRITE_EVERY = 3  # looks


class StatusFile:
    """The status of one process of a run; it goes on with the timelines that stand in the file."""

    def __init__(self, file: Path, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._before = status_in(file)
        self._wall_s_before = 0.0 if self._before is None else self._before.wall_s
        self._timelines: dict[str, LaneTimeline] = {}
        if self._before is not None:
            lanes = self._before.lanes.items()
            self._timelines = {name: lane.timeline for name, lane in lanes if lane.timeline is not None}
        self._looked_at_s = time.monotonic()
        self._writing = threading.Lock()
        self._ended = False

    async def keep(self) -> None:
        """Until it is cancelled; the file is there at once, as the one that stands there is of another run."""
        self._looked_at_s = time.monotonic()
        looks = 0
        while True:
            status = self._look()
            if looks % WRITE_EVERY == 0:
                await asyncio.to_thread(self._write, status)
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    def end(self, *, asked: bool) -> None:
        """The last word; a run that had nothing to ask leaves what the one before it did, which is done."""
        if asked:
            self._write(self._look(), last=True)
        elif self._before is not None:
            lanes = {name: replace(lane, state="done", doing="done") for name, lane in self._before.lanes.items()}
            self._write(replace(self._before, lanes=lanes), last=True)

    def _look(self) -> RunStatus:
        now, progress = time.time(), self._progress
        looked_s = time.monotonic()
        seconds, self._looked_at_s = looked_s - self._looked_at_s, looked_s
        return RunStatus(
            updated_at=now,
            rows=progress.rows,
            done=progress.done,
            spent_usd=progress.money().spent_usd,
            max_cost_usd=progress.max_cost_usd,
            wall_s=self._wall_s_before + progress.elapsed_s,
            pilot=progress.pilot(),
            lanes={name: self._look_at(name, lane, now, seconds) for name, lane in progress.lanes.items()},
        )

    def _look_at(self, name: str, lane: LaneProgress, now: float, seconds: float) -> LaneReport:
        state = lane.state()
        timeline = self._timelines.get(name) or LaneTimeline.begun(now - seconds)
        self._timelines[name] = prolonged(timeline, state.doing, now - seconds, now)
        return LaneReport(
            state=lane_words(state, datetime.fromtimestamp(now).astimezone()),
            doing=state.doing,
            last_error=lane.last_error,
            rows=lane.rows,
            ok=lane.ok,
            refused=lane.refused,
            failed=lane.failed,
            in_flight=lane.in_flight(),
            cost_usd=lane.cost_usd,
            is_beside=lane.is_beside,
            addresses=state.addresses,
            addresses_away=list(state.away),
            timeline=self._timelines[name],
        )

    def _write(self, status: RunStatus, *, last: bool = False) -> None:
        """Nothing depends on it: where the disk is full, it is the answers that end the run, and say so."""
        with self._writing:  # a write may still be under way in its thread when the run ends
            if not self._ended:
                self._ended = last
                with contextlib.suppress(Stopped):
                    write_status(self._file, status)
