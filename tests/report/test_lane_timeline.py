"""The timeline of a lane: it keeps every second, in a bounded number of slots, each in the place where it was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.lanes import FIRST_STEP_S, MOST_SLOTS, LaneTimeline, prolonged
from batchroute.types import Doing

if TYPE_CHECKING:
    from collections.abc import Sequence

STRETCHES = st.lists(
    st.tuples(
        st.sampled_from(get_args(Doing)),
        st.floats(-50, 5000).filter(lambda gap_s: abs(gap_s) > 1e-3),  # since the last one; clocks are set back
        st.floats(0, 3000),
    ),
    max_size=30,
)


def seconds(timeline: LaneTimeline) -> Counter[Doing]:
    total: Counter[Doing] = Counter()
    for slot in timeline.slots:
        total.update(slot)
    return total


@given(STRETCHES)
def test_every_second_is_kept_in_a_bounded_number_of_slots(
    stretches: Sequence[tuple[Doing, float, float]],
) -> None:
    timeline, now, expected = LaneTimeline.begun(1000.0), 1000.0, Counter[Doing]()
    for doing, gap_s, lasted_s in stretches:
        from_at = now + gap_s
        now = from_at + lasted_s
        timeline = prolonged(timeline, doing, from_at, now)
        expected[doing] += lasted_s
        assert len(timeline.slots) <= MOST_SLOTS
        assert timeline.slots == [] or all(seconds_ >= 0 for slot in timeline.slots for seconds_ in slot.values())
    assert [seconds(timeline)[doing] for doing in get_args(Doing)] == pytest.approx(
        [expected[doing] for doing in get_args(Doing)], abs=1e-6
    )


@given(st.lists(st.floats(0.01, 40), min_size=1, max_size=300))
def test_time_without_a_gap_fills_each_slot_but_the_last(lasted_s: list[float]) -> None:
    timeline, now = LaneTimeline.begun(0.0), 0.0
    for each_s in lasted_s:
        timeline = prolonged(timeline, "sending", now, now + each_s)
        now += each_s
    *full, last = timeline.slots
    assert all(slot["sending"] == pytest.approx(timeline.step_s) for slot in full)
    assert 0 <= last["sending"] <= timeline.step_s * (1 + 1e-9)


def test_a_stretch_lies_in_the_slots_that_it_covers() -> None:
    timeline = prolonged(LaneTimeline.begun(100.0), "away", 100.5, 102.25)
    assert timeline.slots == [{"away": 0.5}, {"away": 1.0}, {"away": 0.25}]
    later = prolonged(timeline, "sending", 104.0, 104.5)
    assert later.slots == [*timeline.slots, {}, {"sending": 0.5}]
    assert timeline.slots == [{"away": 0.5}, {"away": 1.0}, {"away": 0.25}], "the old value stays as it is"


def test_slots_grow_when_there_are_too_many() -> None:
    timeline = LaneTimeline.begun(0.0)
    for second in range(MOST_SLOTS + 1):
        timeline = prolonged(timeline, "away" if second % 2 else "sending", second, second + 1)
    assert timeline.step_s == 2 * FIRST_STEP_S
    assert timeline.slots[:-1] == [{"sending": 1.0, "away": 1.0}] * (MOST_SLOTS // 2)
    assert timeline.slots[-1] == {"sending": 1.0}


def test_a_run_goes_on_with_the_timeline_of_a_file() -> None:
    timeline = prolonged(LaneTimeline.begun(1.7e9), "sending", 1.7e9, 1.7e9 + 3.3)
    read = msgspec.json.decode(msgspec.json.encode(timeline), type=LaneTimeline)
    assert read == timeline
    assert prolonged(read, "away", 1.7e9 + 100, 1.7e9 + 101).slots[100] == {"away": 1.0}
