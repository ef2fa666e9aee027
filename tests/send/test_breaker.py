"""Whose fault a failure is: the endpoint's, or the request's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.breaker import Breaker, Failure

if TYPE_CHECKING:
    from batchroute.send.classify import Presence


def failed(breaker: Breaker[str], row: str, now: float = 0.0, **how: Any) -> dict[str, int]:
    return breaker.failed(Failure(row, **how), now)


def broken(outage_s: float = 3600.0, *, ever_answered: bool = True) -> Breaker[str]:
    """A breaker that five rows opened at 0 s."""
    breaker: Breaker[str] = Breaker(outage_s)
    if ever_answered:
        breaker.succeeded()
    for row in "abcde":
        failed(breaker, row)
    assert breaker.open
    return breaker


def blaming(*rows: str) -> Breaker[str]:
    """A breaker of an endpoint that answered others while these failed."""
    breaker: Breaker[str] = Breaker(3600.0)
    for row in rows:
        failed(breaker, row)
    breaker.succeeded()
    assert all(map(breaker.blames, rows))
    return breaker


# --- a table: what happens, in turn -> whether it is open, what is forgiven in all, who is to blame
# a-z: that row fails; A-Z: as a probe, for the first time; `+` an ok, `-` an answer that is none.

TABLE: dict[str, tuple[bool, dict[str, int], str]] = {
    "abcd": (False, {}, ""),
    "aaaaaaaaaa": (False, {}, ""),
    "abcde": (True, {}, ""),
    "abcd+e": (False, {}, "abcd"),
    "abcd-e": (True, {}, ""),
    # The first probe is answered well: the five are to blame.
    "abcde+": (False, {}, "abcde"),
    # It fails: the endpoint is away, and whoever fails before it is back is forgiven, at once and once.
    "abcdeF": (True, dict.fromkeys("abcdef", 1), ""),
    "aabcdeF": (True, {"a": 2, **dict.fromkeys("bcdef", 1)}, ""),
    "abcdeFga": (True, {"a": 2, **dict.fromkeys("bcdefg", 1)}, ""),
    "abcdeFg+": (False, dict.fromkeys("abcdefg", 1), ""),
    # An answer lets all go on; but only an ok ends an outage.
    "abcdeF-": (False, dict.fromkeys("abcdef", 1), ""),
    "abcdeF-a": (True, {"a": 2, **dict.fromkeys("bcdef", 1)}, ""),
    # A failure of a row that has failed before shows nothing, even as a probe.
    "abcdea": (True, {}, ""),
    # Rows that are to blame open nothing; what they fail in an outage is forgiven all the same.
    "abcde+abcde": (False, {}, "abcde"),
    "abcde+abcdefghi": (False, {}, "abcde"),
    "abcde+abcdefghij": (True, {}, "abcde"),
    "a+afghijK": (True, dict.fromkeys("afghijk", 1), "a"),
}


@pytest.mark.parametrize("events", TABLE)
def test_what_a_breaker_makes_of_what_happens(events: str) -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    forgiven: dict[str, int] = {}
    for event in events:
        if event == "+":
            breaker.succeeded()
        elif event == "-":
            breaker.answered()
        else:
            probe = event.isupper()
            if probe:
                breaker.probing()
            for row, failures in failed(breaker, event.lower(), probe=probe, first=probe).items():
                forgiven[row] = forgiven.get(row, 0) + failures
    assert (breaker.open, forgiven, "".join(filter(breaker.blames, "abcdefghijk"))) == TABLE[events]


# --- the last rows: nothing else can tell


@pytest.mark.parametrize(
    ("presence", "blamed", "opens"),
    [
        ("answered", False, False),
        ("answered", True, False),
        ("silent", False, True),
        ("silent", True, False),
        ("unconnected", False, True),
        ("unconnected", True, True),
    ],
)
def test_the_last_rows_wait_for_an_endpoint_of_which_nothing_comes_back(
    presence: Presence, blamed: bool, opens: bool
) -> None:
    breaker = blaming("a") if blamed else Breaker[str](3600.0)
    forgiven = failed(breaker, "a", 7.0, presence=presence, last_rows=True)
    assert (breaker.open, forgiven) == (opens, {"a": 1} if opens else {})


def test_a_last_row_that_waits_forgives_no_other() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    failed(breaker, "a", last_rows=True)
    assert failed(breaker, "b", last_rows=True, presence="silent") == {"b": 1}
    assert breaker.suspects("a")


def test_last_rows_that_the_server_answers_are_not_held_back() -> None:
    breaker = broken()
    failed(breaker, "f", 1.0, probe=True, last_rows=True)
    assert breaker.wait_s(1.0) == 0


def test_of_a_row_that_has_ended_only_what_it_showed_is_kept() -> None:
    breaker: Breaker[str] = Breaker(3600.0)
    for row in "abcd":
        failed(breaker, row)
        breaker.ended(row)
    assert not breaker.suspects("a")
    failed(breaker, "e")
    assert breaker.open
    breaker.succeeded()
    assert (breaker.blames("a"), breaker.blames("e")) == (False, True)


# --- probes


def test_probes_leave_one_at_a_time_and_at_growing_intervals() -> None:
    breaker, now, waits = broken(), 0.0, []
    while now < 3000:
        wait_s = breaker.wait_s(now)
        waits.append(wait_s)
        now += wait_s
        assert breaker.wait_s(now) == 0
        breaker.probing()
        assert breaker.wait_s(now + 1000) == math.inf
        failed(breaker, "a", now, probe=True, first=False)
    assert waits[:12] == pytest.approx([0.1] * 12)
    assert waits == pytest.approx(sorted(waits))
    assert waits[-1] == 30
    assert sum(waits[:50]) < 60
    assert sum(waits[:100]) > 360
    breaker.succeeded()
    assert breaker.wait_s(now) == 0


def test_late_failures_do_not_move_the_probe() -> None:
    breaker = broken()
    failed(breaker, "f", 0.05)
    assert breaker.wait_s(0.1) == 0


@pytest.mark.parametrize(
    ("outage_s", "ever_answered", "gives_up_after_s"),
    [(3600.0, True, 3600.0), (3600.0, False, 60.0), (30.0, True, 30.0), (30.0, False, 30.0)],
)
def test_it_gives_up(outage_s: float, ever_answered: bool, gives_up_after_s: float) -> None:
    breaker = broken(outage_s, ever_answered=ever_answered)
    assert not breaker.gave_up(gives_up_after_s - 1)
    assert breaker.gave_up(gives_up_after_s)
    breaker.answered()
    assert not breaker.gave_up(gives_up_after_s + 1)


@given(events=st.lists(st.sampled_from("abcdefgABCDEFG+-xyz"), max_size=60))
def test_a_row_never_gets_more_forgiven_than_it_failed(events: list[str]) -> None:
    """As in the table; x, y and z are the ends of rows a, b and c."""
    breaker: Breaker[str] = Breaker(3600.0)
    counted = dict.fromkeys("abcdefg", 0)
    for now, event in enumerate(events):
        if event == "+":
            breaker.succeeded()
            assert not any(map(breaker.suspects, "abcdefg"))
        elif event == "-":
            breaker.answered()
        elif event in "xyz":
            breaker.ended("abc"["xyz".index(event)])
        else:
            row = event.lower()
            counted[row] += 1
            for excused, failures in failed(breaker, row, float(now), probe=event.isupper()).items():
                counted[excused] -= failures
        assert min(counted.values()) >= 0
        assert breaker.open or event not in "ABCDEFG" or not breaker._confirmed
