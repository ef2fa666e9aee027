"""Speeds of the last half minute and what is left at them, on clocks and counters that a test sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.run.progress import LaneProgress, Progress
from batchroute.show.speed import MINUTE_S, WINDOW_S, SpeedMeter
from batchroute.types import Doing, LaneState, PilotProgress

OLD_S = 10_000.0  # the age of a run to which a test's own seconds are nothing


def lane(settled: int, rows: int | None, doing: Doing = "sending", in_flight: int = 1) -> LaneProgress:
    return LaneProgress(ok=settled, rows=rows, state=lambda: LaneState(doing), in_flight=lambda: in_flight)


def run_of(strong: LaneProgress, weak: LaneProgress) -> Progress:
    progress = Progress(lanes={"strong": strong, "weak": weak})
    progress.started_s -= OLD_S
    return progress


def after_10_s(progress: Progress, strong: int = 0, weak: int = 0) -> float | None:
    """The time left once so many more rows are settled."""
    meter = SpeedMeter()
    meter.read(progress, 0.0)
    progress.lanes["strong"].ok += strong
    progress.lanes["weak"].ok += weak
    return meter.read(progress, 10.0).eta_s


@pytest.mark.parametrize(
    ("strong", "weak", "more", "eta_s"),
    [
        (lane(0, 20), lane(0, 1000), (10, 100), 90.0),  # 10 left at 1 a second, 900 at 10
        (lane(0, 200), lane(0, 1000), (10, 100), 190.0),  # the slower lane's
        (lane(10, 10), lane(0, 1000), (0, 100), 90.0),
        (lane(0, 0), lane(0, 1000), (0, 100), 90.0),
        (lane(10, 10), lane(10, 10), (0, 0), 0.0),
        (lane(0, None), lane(0, None), (10, 100), None),  # still scoring
        (lane(0, 20), lane(0, 1000), (0, 100), None),  # nothing is known of the strong lane's speed
        (lane(0, 20, "away"), lane(0, 1000), (10, 100), None),  # what it did a moment ago says nothing
        (lane(0, 20, "stopped"), lane(0, 1000), (0, 100), 90.0),  # its rows are another run's
        (lane(0, 20, "rate_limited"), lane(0, 1000), (10, 100), 90.0),  # a pause is part of its speed
        (lane(10, 20), lane(1000, 1000), (0, 0), OLD_S),  # answers that take longer than the window
        (lane(10, 20, "rate_limited", in_flight=0), lane(1000, 1000), (0, 0), None),  # a long pause
    ],
)
def test_what_is_left_takes_as_long_as_the_slower_lane_needs_at_its_speed_of_now(
    strong: LaneProgress, weak: LaneProgress, more: tuple[int, int], eta_s: float | None
) -> None:
    expected = None if eta_s is None else pytest.approx(eta_s, rel=0.01)
    assert after_10_s(run_of(strong, weak), *more) == expected


@pytest.mark.parametrize(("rows", "eta_s"), [(None, 90.0), (500, 490.0)])
def test_a_judge_is_waited_for_where_it_has_verdicts_to_give_but_settles_no_rows(
    rows: int | None, eta_s: float
) -> None:
    judge = LaneProgress(rows=rows, ok=0, is_beside=True)
    progress = run_of(lane(0, 20), lane(0, 1000))
    progress.lanes = {**progress.lanes, "judge": judge}
    meter = SpeedMeter()
    meter.read(progress, 0.0)
    for settling, rows_more in zip(progress.lanes.values(), (10, 100, 10), strict=True):
        settling.ok += rows_more
    speed = meter.read(progress, 10.0)
    assert speed.eta_s == pytest.approx(eta_s)
    assert (speed.rows_per_s, progress.settled) == (11.0, 110)


def test_what_comes_after_a_pilot_is_not_known_before_its_end() -> None:
    progress = run_of(lane(0, 20), lane(0, 1000))
    progress.pilot = lambda: PilotProgress("asking", 3, 800)
    assert after_10_s(progress, 10, 100) is None


def test_a_first_look_says_no_speed() -> None:
    speed = SpeedMeter().read(run_of(lane(10, 20), lane(10, 20)), 5.0)
    assert (speed.rows_per_s, speed.eta_s) == (0.0, None)


@given(steps=st.lists(st.tuples(st.floats(0.05, 7.0), st.integers(0, 50)), min_size=1, max_size=300))
def test_speeds_are_those_of_the_last_half_minute(steps: list[tuple[float, int]]) -> None:
    """However often the counters are looked at: since a look that is half a minute old, to a second."""
    weak = lane(0, None)
    progress, meter = run_of(lane(0, None), weak), SpeedMeter()
    looks = [(0.0, 0)]
    meter.read(progress, 0.0)
    for wait_s, rows in steps:
        now_s = looks[-1][0] + wait_s
        weak.ok += rows
        rows_per_s = meter.read(progress, now_s).rows_per_s
        youngest_s = max((at_s for at_s, _ in looks if at_s <= now_s - WINDOW_S), default=0.0)
        compared = [look for look in looks if youngest_s - 1.0 < look[0] <= youngest_s]
        assert any(rows_per_s == pytest.approx((weak.ok - ok) / (now_s - at_s)) for at_s, ok in compared)
        looks.append((now_s, weak.ok))
    assert len(meter._samples) <= MINUTE_S + 2


def test_a_limit_stands_beside_what_the_last_minute_used() -> None:
    weak = lane(0, None)
    progress, meter = run_of(lane(0, None), weak), SpeedMeter()
    meter.read(progress, 0.0)
    weak.tokens, weak.sent = 100_000, lambda: 50
    burst = meter.read(progress, 10.0).lanes["weak"]
    assert (burst.tokens_per_minute, burst.minute_tokens, burst.minute_requests) == (600_000.0, 100_000, 50)
    for second in range(11, 71):
        later = meter.read(progress, float(second)).lanes["weak"]
    assert (later.tokens_per_minute, later.minute_tokens, later.minute_requests) == (0.0, 0, 0)
