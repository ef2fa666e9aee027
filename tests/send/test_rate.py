"""Requests a minute: the cadence, the schedule, against clients and servers that count."""

from __future__ import annotations

import math
import random
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.rate import WINDOW_S, Schedule, cadence
from throttle import Throttle

JITTER_S = 0.005  # the most by which the network moves a request


# --- cadence: what a greedy client sends under asyncio-throttle's rule, counted at the server


def greedy_departures(requests_per_minute: float, for_s: float, rng: random.Random) -> list[float]:
    """When requests leave while rows always wait; each wait ends up to one poll late."""
    throttle, now, departures = Throttle(), 0.0, []
    poll_s = cadence(requests_per_minute).poll_s
    while now < for_s:
        free_at = throttle.free_at(requests_per_minute)
        if free_at >= now:
            now = free_at + rng.uniform(1e-9, poll_s)
        throttle.left.append(now)
        departures.append(now)
    return departures


def most_within(arrivals: list[float], window_s: float) -> int:
    """The fullest half-open window of that length."""
    return max(bisect_right(arrivals, at + window_s - 1e-9) - i for i, at in enumerate(arrivals))


@pytest.mark.parametrize("requests_per_minute", [3, 60, 500, 1000, 3500, 30_000])
def test_cadence_keeps_the_limit_and_uses_it(requests_per_minute: float) -> None:
    rng = random.Random(requests_per_minute)  # noqa: S311 - jitter, not a secret
    for_s = max(180.0, 12_000 / requests_per_minute)
    departures = greedy_departures(requests_per_minute, for_s, rng)
    arrivals = sorted(at + rng.uniform(0, JITTER_S) for at in departures)
    assert most_within(arrivals, WINDOW_S) <= requests_per_minute + 1
    assert most_within(arrivals, 1.0) <= math.ceil(1.05 * requests_per_minute / 60) + 1
    assert len(arrivals) >= 0.97 * requests_per_minute * for_s / 60


@given(requests_per_minute=st.floats(0.5, 60_000))
def test_cadence_is_a_whole_count_in_a_period_that_never_lets_too_many_through(requests_per_minute: float) -> None:
    pattern = cadence(requests_per_minute)
    assert isinstance(pattern.count, int)
    assert pattern.count >= 1
    bursts_in_a_minute = math.floor((WINDOW_S + JITTER_S) / pattern.period_s) + 1
    assert pattern.count * bursts_in_a_minute <= requests_per_minute + 1
    assert pattern.count / (pattern.period_s + pattern.poll_s / 2) >= 0.97 * requests_per_minute / 60
    assert 0 < pattern.poll_s <= 0.05


# --- schedule


@pytest.mark.parametrize("stalls", [(0.0, 0.002), (0.01, 0.02), (0.02, 0.03)])
@pytest.mark.parametrize("requests_per_minute", [3, 60, 500, 1000, 3500, 30_000])
def test_a_schedule_keeps_the_limit_and_uses_it_though_the_process_is_busy(
    requests_per_minute: int, stalls: tuple[float, float]
) -> None:
    """Each wait ends late, by up to the time for which a request does not put off the others."""
    rng = random.Random(requests_per_minute)  # noqa: S311 - jitter, not a secret
    schedule, now, departures = Schedule(), 0.0, []
    schedule.at(requests_per_minute, now)
    for_s = max(180.0, 12_000 / requests_per_minute)
    while now < for_s:
        if (wait_s := schedule.wait_s(now)) > 0:
            now += wait_s + rng.uniform(*stalls)
        schedule.sent(now)
        departures.append(now)
    arrivals = sorted(at + rng.uniform(0, JITTER_S) for at in departures)
    assert most_within(arrivals, WINDOW_S) <= requests_per_minute
    assert most_within(arrivals, 1.0) <= math.ceil(1.05 * requests_per_minute / 60) + 1
    assert len(arrivals) >= 0.99 * requests_per_minute * for_s / 60


@given(
    requests_per_minute=st.floats(0.5, 60_000),
    stalls=st.lists(st.floats(0, 3) | st.just(0.0), min_size=2, max_size=300),
)
def test_however_late_it_is_no_minute_holds_too_many(requests_per_minute: float, stalls: list[float]) -> None:
    schedule, now, departures = Schedule(), 0.0, []
    schedule.at(requests_per_minute, now)
    for stall_s in stalls:
        now += schedule.wait_s(now) + stall_s
        schedule.sent(now)
        departures.append(now)
    assert most_within(departures, WINDOW_S) <= math.ceil(requests_per_minute)


@given(changes=st.lists(st.tuples(st.floats(1, 6_000), st.floats(0.1, 30)), min_size=2, max_size=20))
def test_whatever_speeds_a_lane_is_given_it_sends_what_they_come_to(changes: list[tuple[float, float]]) -> None:
    """At most one more, and what is late and made up for, wherever one begins to count; at most two fewer."""
    schedule, now, may = Schedule(), 0.0, 0.0
    sent: list[float] = []  # how many requests all speeds had come to when each left
    for requests_per_minute, for_s in changes:
        schedule.at(requests_per_minute, now)
        until = now + for_s
        while (leaves_at := now + schedule.wait_s(now)) < until:
            may += (leaves_at - now) / schedule.interval_s
            now = leaves_at
            schedule.sent(now)
            sent.append(may)
        may += (until - now) / schedule.interval_s
        now = until
    made_up_for = Schedule.LATE_S * max(requests_per_minute for requests_per_minute, _ in changes) / 60
    earliest = math.inf  # of any request so far: how many had left, less what speeds came to
    for number, at in enumerate(sent):
        earliest = min(earliest, number - at)
        assert number - at <= earliest + made_up_for + 1e-6
    assert len(sent) >= may - 2
