"""Pace: a lane against limits that it was not told."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.pace import Pace
from throttle import Throttle

JITTER_S = 0.005  # the most by which the network moves a request


# --- pace: a lane against limits it was not told


@dataclass
class HiddenLimit:
    """A server that takes `count` requests in any `window_s` and refuses the rest; it may say how long to wait."""

    count: int
    window_s: float
    says_how_long: bool
    taken: deque[float] = field(default_factory=deque)

    def asks_to_wait(self, now: float) -> tuple[bool, float | None]:
        """Whether a request is refused, and what its Retry-After says."""
        while self.taken and self.taken[0] <= now - self.window_s:
            self.taken.popleft()
        if len(self.taken) < self.count:
            self.taken.append(now)
            return False, None
        return True, self.taken[0] + self.window_s - now if self.says_how_long else None


@dataclass
class PacedClient:
    """A lane's sending rule in 20 lines: `concurrency` requests at most, each answered after `latency_s`."""

    server: HiddenLimit | Stray
    concurrency: int = 64
    latency_s: float = 0.5
    pace: Pace = field(default_factory=Pace)
    throttle: Throttle = field(default_factory=Throttle)
    now: float = 0.0
    flying: deque[tuple[float, float, bool, float | None]] = field(default_factory=deque)
    taken_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)

    def run(self, until_s: float) -> None:
        while self.now < until_s:
            leave_at = max(self.now, self.free_at()) if len(self.flying) < self.concurrency else math.inf
            if self.flying and self.flying[0][0] <= leave_at:
                self.learn(*self.flying.popleft())
            else:
                self.send(leave_at)

    def send(self, now: float) -> None:
        self.now = now
        self.throttle.left.append(now)
        self.pace.sent(now)
        self.flying.append((now + self.latency_s, now, *self.server.asks_to_wait(now)))

    def free_at(self) -> float:
        speed = self.pace.requests_per_minute
        return max(self.pace.resume_at, -math.inf if speed is None else self.throttle.free_at(speed) + 1e-6)

    def learn(self, now: float, sent_at: float, refused: bool, retry_after_s: float | None) -> None:
        self.now = now
        if refused:
            self.refused_at.append(sent_at)
            self.pace.rate_limited(sent_at, now, retry_after_s)
        else:
            self.taken_at.append(sent_at)
            self.pace.accepted(sent_at, now)


HIDDEN = [
    pytest.param(HiddenLimit(60, 60.0, says_how_long=True), id="60"),
    pytest.param(HiddenLimit(60, 60.0, says_how_long=False), id="60, bare 429"),
    pytest.param(HiddenLimit(500, 60.0, says_how_long=True), id="500"),
    pytest.param(HiddenLimit(500, 60.0, says_how_long=False), id="500, bare 429"),
    pytest.param(HiddenLimit(3500, 60.0, says_how_long=True), id="3500"),
    pytest.param(HiddenLimit(50, 1.0, says_how_long=True), id="50 a second"),
]


@pytest.mark.parametrize("server", HIDDEN)
def test_pace_finds_a_limit_nobody_told_it(server: HiddenLimit) -> None:
    """Over an hour, once the first five minutes have shown what the server takes."""
    client = PacedClient(server)
    client.run(until_s=3900.0)
    taken, refused = (sum(at >= 300 for at in when) for when in (client.taken_at, client.refused_at))
    assert taken >= 0.85 * server.count * 3600 / server.window_s
    assert refused <= 0.02 * (taken + refused)
    assert len(client.refused_at) - refused <= 4 * client.concurrency


@dataclass
class Stray:
    """A server without a limit that answers one request in `every` with a 429, whatever the speed."""

    every: int
    asked: int = 0

    def asks_to_wait(self, now: float) -> tuple[bool, float | None]:
        self.asked += 1
        return self.asked % self.every == 0, None


@pytest.mark.parametrize("every", [60, 100, 1000])
def test_stray_429s_do_not_slow_a_lane(every: int) -> None:
    client = PacedClient(Stray(every))
    client.run(until_s=600.0)
    assert len(client.taken_at) >= 0.95 * client.concurrency * 600 / client.latency_s


def test_pace_forgets_a_limit_that_is_gone() -> None:
    client = PacedClient(HiddenLimit(100, 60.0, says_how_long=True))
    client.run(until_s=300.0)
    assert client.pace.requests_per_minute == pytest.approx(97, abs=10)
    client.server = HiddenLimit(10**9, 60.0, says_how_long=True)
    client.run(until_s=600.0)
    assert client.pace.requests_per_minute is None


def paced(requests: int, over_s: float) -> Pace:
    """A pace after so many requests that were all taken."""
    pace = Pace()
    for number in range(requests):
        at = number * over_s / requests
        pace.sent(at)
        pace.accepted(at, at)
    return pace


def test_many_429s_of_one_episode_are_one_fall() -> None:
    pace = paced(600, over_s=60.0)
    for _ in range(40):
        pace.sent(60.0)
    for number in range(40):
        pace.rate_limited(60.0, 60.5 + number / 100, None)
    assert pace.requests_per_minute == pytest.approx(0.97 * 600, rel=0.03)
    assert pace.resume_at == pytest.approx(61.5, abs=0.05)


def test_a_429_after_the_rest_is_another_fall() -> None:
    pace = paced(600, over_s=60.0)
    pace.rate_limited(59.9, 60.0, None)
    first = pace.requests_per_minute
    pace.sent(61.0)
    pace.rate_limited(61.0, 61.5, None)
    assert first is not None
    assert pace.requests_per_minute is not None
    assert pace.requests_per_minute < first


def test_the_server_says_how_long_to_rest() -> None:
    pace = paced(60, over_s=60.0)
    pace.rate_limited(59.0, 60.0, 7.5)
    assert pace.resume_at == 67.5
    pace.rate_limited(59.0, 61.0, 2.0)
    assert pace.resume_at == 67.5, "the longest wait asked for counts"
    pace.rate_limited(59.0, 62.0, 30.0)
    assert pace.resume_at == 92.0


def test_rests_grow_while_the_server_takes_nothing() -> None:
    pace, rests = paced(60, over_s=60.0), []
    now = 60.0
    for _ in range(9):
        pace.sent(now)
        pace.rate_limited(now, now, None)
        rests.append(pace.resume_at - now)
        now = pace.resume_at
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    pace.sent(now)
    pace.accepted(now, now)
    pace.sent(now)
    pace.rate_limited(now, now, None)
    assert pace.resume_at - now == 1


def test_a_wait_of_no_time_that_proves_too_short_grows() -> None:
    pace, rests = paced(600, over_s=60.0), []
    now = 60.0
    for _ in range(9):
        pace.sent(now)
        pace.rate_limited(now, now, 0.0)
        rests.append(pace.resume_at - now)
        now = pace.resume_at
    assert rests == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_server_that_never_took_anything_slows_a_lane_to_one_a_second() -> None:
    pace = Pace()
    for _ in range(64):
        pace.sent(0.0)
    for _ in range(64):
        pace.rate_limited(0.0, 0.1, None)
    assert pace.requests_per_minute == pytest.approx(60, rel=0.05)
    assert pace.resume_at == 1.1


def test_speed_is_held_then_grows_ever_faster() -> None:
    pace = paced(600, over_s=60.0)
    pace.rate_limited(59.9, 60.0, 0.0)
    fallen = pace.requests_per_minute
    speeds = []
    for second in range(60, 400):
        pace.accepted(float(second), float(second))
        speeds.append(pace.requests_per_minute)
    limited = [speed for speed in speeds if speed is not None]
    assert set(limited[:59]) == {fallen}
    steps = [after / before - 1 for before, after in itertools.pairwise(dict.fromkeys(limited))]
    assert steps == sorted(steps)
    assert speeds[-1] is None
    assert limited[-1] <= 2 * limited[0]


@given(events=st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["taken", "429", "429 in 3 s"])), max_size=200))
def test_pace_never_falls_below_one_a_minute_nor_gains_by_a_429(events: list[tuple[float, str]]) -> None:
    pace, now = Pace(), 0.0
    for gap_s, event in events:
        now = max(now + gap_s, pace.resume_at)
        pace.sent(now)
        before = math.inf if pace.requests_per_minute is None else pace.requests_per_minute
        if event == "taken":
            pace.accepted(now, now)
            continue
        pace.rate_limited(now, now, 3.0 if event == "429 in 3 s" else None)
        assert pace.resume_at > now
        assert pace.requests_per_minute is None or 1 <= pace.requests_per_minute <= max(1.0, before)
