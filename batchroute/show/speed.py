"""How fast a run is now, and how long the rest takes at that: its counters of the last half minute.

Knows counters and clocks; neither words nor screens.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.run.progress import LaneProgress, Progress

WINDOW_S = 30.0
MINUTE_S = 60.0
_SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class LaneSpeed:
    """`tokens_per_minute` is the speed of the window; `minute_...` are all of the last minute, which limits bound.

    Worked example: a lane that may use 100,000 tokens a minute uses them in its first 10 seconds, and then waits.
    Its speed is 600,000 a minute, of the last minute are 100,000: the limit is kept.
    """

    rows_per_s: float = 0.0
    tokens_per_minute: float = 0.0
    minute_tokens: int = 0
    minute_requests: int = 0


@dataclass(frozen=True, slots=True)
class Speed:
    """By lane, of rows of the job, and of the scoring; `eta_s` None: nothing is known to go by."""

    lanes: Mapping[str, LaneSpeed]
    rows_per_s: float
    scored_per_s: float
    eta_s: float | None


class _Counters(NamedTuple):
    settled: int
    tokens: int
    sent: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """The counters at a moment."""

    at_s: float
    scored: int
    settled: int
    lanes: Mapping[str, _Counters]


class SpeedMeter:
    """Speeds of one run over the last WINDOW_S seconds, or since the first look where that is later.

    Keeps a sample of every second or so, of the last minute.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def read(self, progress: Progress, now_s: float) -> Speed:
        """To be called now and then; `now_s` is monotonic."""
        now = _sample(progress, now_s)
        samples = self._samples
        if not samples or now_s - samples[-1].at_s >= _SAMPLE_EVERY_S:
            samples.append(now)
        while len(samples) > 1 and samples[1].at_s <= now_s - MINUTE_S:
            samples.popleft()
        before = next((each for each in reversed(samples) if each.at_s <= now_s - WINDOW_S), samples[0])
        took_s = now_s - before.at_s
        if took_s <= 0:
            return Speed({name: LaneSpeed() for name in progress.lanes}, 0.0, 0.0, None)
        lanes = {}
        for name, counters in now.lanes.items():
            earlier, minute_ago = before.lanes[name], samples[0].lanes[name]
            lanes[name] = LaneSpeed(
                rows_per_s=(counters.settled - earlier.settled) / took_s,
                tokens_per_minute=(counters.tokens - earlier.tokens) * MINUTE_S / took_s,
                minute_tokens=counters.tokens - minute_ago.tokens,
                minute_requests=counters.sent - minute_ago.sent,
            )
        rows_per_s = (now.settled - before.settled) / took_s
        return Speed(lanes, rows_per_s, (now.scored - before.scored) / took_s, _eta_s(progress, lanes))


def _sample(progress: Progress, now_s: float) -> _Sample:
    lanes = {name: _Counters(lane.settled, lane.tokens, lane.sent()) for name, lane in progress.lanes.items()}
    return _Sample(now_s, progress.scored(), progress.settled, lanes)


def _eta_s(progress: Progress, speeds: Mapping[str, LaneSpeed]) -> float | None:
    """The slower lane's. One that has stopped is not waited for; while one is away there is nothing to say.

    While the pilot is at work nobody knows what comes after it. A judge is waited for where it has rows.
    """
    if progress.pilot() is not None:
        return None
    lanes_s = [
        _lane_eta_s(lane, speeds[name].rows_per_s, progress.elapsed_s)
        for name, lane in progress.lanes.items()
        if lane.state().doing != "stopped" and not (lane.is_beside and lane.rows is None)
    ]
    known_s = [eta_s for eta_s in lanes_s if eta_s is not None]
    return max(known_s, default=0.0) if len(known_s) == len(lanes_s) else None


def _lane_eta_s(lane: LaneProgress, rows_per_s: float, elapsed_s: float) -> float | None:
    if lane.left == 0:
        return 0.0
    if lane.left is None or lane.state().doing == "away":
        return None
    if rows_per_s > 0:
        return lane.left / rows_per_s
    # Answers that take longer than the window: the speed of the whole run, where requests are out at all.
    return lane.left * elapsed_s / lane.settled if lane.settled and lane.in_flight() else None
