"""Limits, pace, breaker: every decision on a clock of the test's own, no event loop and no waiting."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.pace import WINDOW_S, Breaker, Pace, SameRefusal, Schedule, TokenEntry, TokenWindow, cadence

JITTER_S = 0.005  # the most by which the network moves a request


# --- cadence: what a greedy client sends under asyncio-throttle's rule, counted at the server


@dataclass
class Throttle:
    """asyncio-throttle's rule: fewer than `count` requests left within `period_s`."""

    left: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def free_at(self, requests_per_minute: float) -> float:
        pattern = cadence(requests_per_minute)
        if len(self.left) < pattern.count:
            return -math.inf
        return self.left[-pattern.count] + pattern.period_s


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
    schedule.at(requests_per_minute)
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
    schedule.at(requests_per_minute)
    for stall_s in stalls:
        now += schedule.wait_s(now) + stall_s
        schedule.sent(now)
        departures.append(now)
    assert most_within(departures, WINDOW_S) <= math.ceil(requests_per_minute)


# --- tokens a minute

TOKENS_PER_MINUTE = 1000


@dataclass
class TokenClient:
    """Sends as early as the window allows; true usages become known some time after."""

    window: TokenWindow = field(default_factory=lambda: TokenWindow(TOKENS_PER_MINUTE))
    now: float = 0.0
    used: list[tuple[float, int]] = field(default_factory=list)
    unknown: list[tuple[float, int, TokenEntry, int, int]] = field(default_factory=list)

    def send(self, estimate: int, used: int, known_after_s: float) -> None:
        self.wait(0.0)
        while (wait_s := self.window.wait_s(estimate, self.now)) > 0:
            self.wait(min(wait_s + 1e-6, 0.25))  # as the lane does: whoever waits looks again
        entry = self.window.take(estimate, self.now)
        self.used.append((self.now, used))
        heapq.heappush(self.unknown, (self.now + known_after_s, len(self.used), entry, estimate, used))

    def wait(self, wait_s: float) -> None:
        self.now += wait_s
        while self.unknown and self.unknown[0][0] <= self.now:
            _, _, entry, estimate, used = heapq.heappop(self.unknown)
            self.window.correct(entry, estimate, used, self.now)

    def fullest_minute(self) -> list[int]:
        """The tokens of each row in the minute that took most."""
        minutes = ([used for at, used in self.used if start <= at < start + WINDOW_S] for start, _ in self.used)
        return max(minutes, key=sum)


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 1500), st.floats(0.01, 1), st.floats(0, 90)),
        min_size=1,
        max_size=15,
    )
)
def test_tokens_of_any_minute_keep_to_the_limit_unless_a_larger_row_is_alone(
    rows: list[tuple[float, int, float, float]],
) -> None:
    client = TokenClient()
    for gap_s, estimate, used_share, known_after_s in rows:
        client.wait(gap_s)
        client.send(estimate, math.ceil(estimate * used_share), known_after_s)
    fullest = client.fullest_minute()
    assert sum(fullest) <= TOKENS_PER_MINUTE or len(fullest) == 1


def test_tokens_are_used_to_the_full() -> None:
    client = TokenClient()
    for _ in range(200):
        client.send(100, 100, 1.0)
    assert client.now == pytest.approx(19 * WINDOW_S, rel=0.01)


def test_true_usage_replaces_the_estimate_both_ways() -> None:
    window = TokenWindow(100)
    first = window.take(90, now=0.0)
    assert window.wait_s(50, now=1.0) == pytest.approx(60, abs=1)
    window.correct(first, 90, 40, now=2.0)
    assert window.wait_s(50, now=2.0) == 0
    window.correct(first, 40, 200, now=3.0)
    assert window.wait_s(1, now=3.0) == pytest.approx(57, abs=1)
    assert window.wait_s(100, now=61.0) == 0


def test_requests_that_leave_together_are_corrected_one_by_one() -> None:
    window = TokenWindow(100)
    entries = [window.take(30, now=0.001 * number) for number in range(3)]
    assert window.wait_s(20, now=1.0) > 0
    window.correct(entries[1], 30, 5, now=1.0)
    assert window.wait_s(35, now=1.0) == 0
    assert window.wait_s(36, now=1.0) > 0
    window.correct(entries[0], 30, 40, now=2.0)
    assert window.wait_s(25, now=2.0) == 0
    assert window.wait_s(26, now=2.0) > 0
    assert window.wait_s(100, now=61.0) == 0


def test_a_window_of_many_requests_stays_small() -> None:
    window = TokenWindow(10**9)
    entries = {id(window.take(100, now=number / 5_000)) for number in range(50_000)}
    assert len(entries) <= 10 / TokenWindow.TOGETHER_S + 1


def test_usage_that_comes_after_its_minute_changes_nothing() -> None:
    window = TokenWindow(100)
    first = window.take(90, now=0.0)
    assert window.wait_s(100, now=70.0) == 0
    window.correct(first, 90, 1000, now=71.0)
    assert window.wait_s(100, now=71.0) == 0


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


def test_the_same_refusal_stops_a_lane_at_its_twentieth() -> None:
    watch = SameRefusal(20)
    ids = [f"req_{number * 7919:x}f-a{number}" for number in range(20)]
    said = [watch.refused(f"HTTP 400: max_tokens of {each} is too large") for each in ids]
    assert said == [False] * 19 + [True]


@pytest.mark.parametrize("event", ["an answer", "another refusal"])
def test_anything_else_ends_the_watch(event: str) -> None:
    watch = SameRefusal(3)
    assert not watch.refused("no such parameter")
    assert watch.watching()
    if event == "an answer":
        watch.ok()
    else:
        assert not watch.refused("too long")
    assert not watch.watching()
    assert not any(watch.refused("no such parameter") for _ in range(10))


def test_zero_switches_it_off() -> None:
    watch = SameRefusal(0)
    assert not watch.watching()
    assert not any(watch.refused("no") for _ in range(100))
