"""What a lane may use: tokens a minute, slots, money, and limits that change while a lane runs."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.allowance import TokenEntry, TokenWindow
from batchroute.send.rate import WINDOW_S

JITTER_S = 0.005  # the most by which the network moves a request


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
