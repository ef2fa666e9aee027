"""Whose fault a failure is: the endpoint's, or the request's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.breaker import Breaker, SameRefusal

# --- breaker


def broken(outage_s: float = 3600.0, *, ever_answered: bool = True) -> Breaker[str]:
    """A breaker that five rows opened at 0 s."""
    breaker: Breaker[str] = Breaker(outage_s)
    if ever_answered:
        breaker.answered(well=True)
    for row in "abcde":
        breaker.failed(row, 0.0, probe=False)
    assert breaker.open
    return breaker


def test_five_different_rows_open_it_and_none_of_them_pays() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    assert [breaker.failed(row, 0.0, probe=False) for row in "aabcd"] == [{}] * 5
    assert not breaker.open
    assert breaker.failed("e", 1.0, probe=False) == {"a": 2, "b": 1, "c": 1, "d": 1, "e": 1}
    assert breaker.open


def test_one_row_that_keeps_failing_does_not_open_it() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    assert [breaker.failed("a", float(at), probe=False) for at in range(50)] == [{}] * 50
    assert not breaker.open


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    for row in "abcd":
        breaker.failed(row, 0.0, probe=False)
    breaker.answered(well=True)
    assert breaker.failed("e", 0.0, probe=False) == {}
    assert not breaker.open


def test_an_answer_that_is_no_success_keeps_the_count_and_closes_it() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    for row in "abcd":
        breaker.failed(row, 0.0, probe=False)
        breaker.answered(well=False)
    assert breaker.suspects("a")
    assert breaker.failed("e", 1.0, probe=False) == dict.fromkeys("abcde", 1)
    assert breaker.open
    assert not breaker.suspects("a")
    breaker.answered(well=False)
    assert not breaker.open


def test_failures_while_it_is_open_are_forgiven_once() -> None:
    breaker = broken()
    assert breaker.failed("f", 0.5, probe=False) == {"f": 1}
    assert breaker.failed("f", 0.6, probe=False) == {"f": 1}
    breaker.probing()
    assert breaker.failed("a", 1.0, probe=True) == {"a": 1}


def test_probes_leave_one_at_a_time_and_at_growing_intervals() -> None:
    breaker, now, waits = broken(), 0.0, []
    for _ in range(8):
        wait_s = breaker.wait_s(now)
        waits.append(wait_s)
        now += wait_s
        assert breaker.wait_s(now) == 0
        breaker.probing()
        assert breaker.wait_s(now + 1000) == math.inf
        breaker.failed("a", now, probe=True)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    breaker.answered(well=True)
    assert breaker.wait_s(now) == 0


def test_late_failures_do_not_move_the_probe() -> None:
    breaker = broken()
    breaker.failed("f", 0.9, probe=False)
    assert breaker.wait_s(1.0) == 0


@pytest.mark.parametrize(
    ("outage_s", "ever_answered", "gives_up_after_s"),
    [(3600.0, True, 3600.0), (3600.0, False, 60.0), (30.0, True, 30.0), (30.0, False, 30.0)],
)
def test_it_gives_up(outage_s: float, ever_answered: bool, gives_up_after_s: float) -> None:
    breaker = broken(outage_s, ever_answered=ever_answered)
    assert not breaker.gave_up(gives_up_after_s - 1)
    assert breaker.gave_up(gives_up_after_s)
    breaker.answered(well=True)
    assert not breaker.gave_up(gives_up_after_s + 1)


@given(events=st.lists(st.sampled_from("abcdefg*"), max_size=60))
def test_a_row_never_gets_more_forgiven_than_it_failed(events: list[str]) -> None:
    """`*` is an answer, a letter the failure of that row."""
    breaker: Breaker[str] = Breaker(3600.0)
    counted = dict.fromkeys("abcdefg", 0)
    for now, event in enumerate(events):
        if event == "*":
            breaker.answered(well=True)
            assert not breaker.open
            continue
        counted[event] += 1
        forgiven = breaker.failed(event, float(now), probe=False)
        for row, failures in forgiven.items():
            counted[row] -= failures
        assert min(counted.values()) >= 0
        assert (event in forgiven) == breaker.open


# --- the same refusal again and again


def refusals(stop_after: int) -> SameRefusal[str]:
    return SameRefusal(stop_after)


def test_the_same_refusal_stops_a_lane_at_its_twentieth() -> None:
    watch = refusals(20)
    ids = [f"req_{number * 7919:x}f-a{number}" for number in range(20)]
    said = [watch.refused(f"HTTP 400: max_tokens of {each} is too large") for each in ids]
    assert said == [False] * 19 + [True]


@pytest.mark.parametrize("event", ["an answer", "another refusal"])
def test_anything_else_ends_the_watch(event: str) -> None:
    watch = refusals(3)
    assert not watch.refused("no such parameter")
    assert not watch.decided
    if event == "an answer":
        watch.ok()
    else:
        assert not watch.refused("too long")
    assert watch.decided
    assert not any(watch.refused("no such parameter") for _ in range(10))


def test_zero_switches_it_off() -> None:
    watch = refusals(0)
    assert watch.decided
    assert not any(watch.refused("no") for _ in range(100))


def test_what_is_held_is_released_once_and_in_order() -> None:
    watch = refusals(3)
    for refusal in "abc":
        watch.hold(refusal)
    assert watch.release() == ["a", "b", "c"]
    assert watch.release() == []
