"""Rows that always fail, wherever they stand, and real outages at the same places: who pays, how long it takes."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.classify import Answer
from test_lane import LIMITS, OK, Bench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.send.request import Request

HTTP_500 = Answer(verdict="transient", error_type="http_500", error="HTTP 500: the runner gave up")
TIMEOUT = Answer(verdict="transient", error_type="timeout", error="no complete answer within timeout_s")
CUT = Answer(verdict="transient", error_type="cut", error="the answer ended early")
NO_CONNECTION = Answer(verdict="transient", error_type="connect", error="no connection", unsent=True)
TIMEOUT_S = 20.0
ALWAYS = 10**9


@dataclass
class Provider(Bench):
    """Answers good rows after `latency_s`, bad ones with `fault` so often, and nothing well during an outage."""

    bad: Mapping[int, int] = field(default_factory=dict)  # row -> how often it fails by itself
    fault: Answer = HTTP_500
    outages: Sequence[tuple[float, float]] = ()
    outage: Answer = HTTP_500
    hangs_after: float = math.inf  # requests
    in_outage: Counter[int] = field(default_factory=Counter)  # requests of each row that fell into one
    own: Counter[int] = field(default_factory=Counter)  # failures of each row by itself

    async def _send(self, request: Request) -> Answer:
        row = request.prompt.row
        loop = asyncio.get_running_loop()
        self.asked.append((loop.time(), row))
        if len(self.asked) > self.hangs_after:
            await asyncio.sleep(TIMEOUT_S)
            return TIMEOUT
        is_bad = self.own[row] < self.bad.get(row, 0)
        if is_bad:
            await asyncio.sleep(TIMEOUT_S if self.fault is TIMEOUT else 0.01)
        else:
            await asyncio.sleep(self.latency_s)
        if any(from_s <= loop.time() < to_s for from_s, to_s in self.outages):
            self.in_outage[row] += 1
            return self.outage
        self.own[row] += is_bad
        return self.fault if is_bad else OK

    @property
    def good(self) -> set[int]:
        return set(self.fed) - set(self.bad)

    def rows_that(self, status: str) -> set[int]:
        return {row for row, ended in self.statuses().items() if ended == status}

    def last_good_s(self) -> float:
        return max(at for at, row in self.asked if row in self.good)


def poison(where: str, count: int, rows: int) -> dict[int, int]:
    """So many of these rows always fail."""
    first = {"at the start": 0, "side by side": 10, "at the end": rows - count}
    spread = range(5, rows, rows // count)[:count]
    return dict.fromkeys(spread if where == "evenly" else range(first[where], first[where] + count), ALWAYS)


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("count", [5, 7, 50])
@pytest.mark.parametrize("where", ["side by side", "at the end", "evenly"])
@pytest.mark.parametrize("outage_s", [30.0, 300.0])
def test_they_end_where_a_job_waits_not_long_for_an_outage(
    where: str, count: int, concurrency: int, outage_s: float
) -> None:
    bad, limits = poison(where, count, 250), replace(LIMITS, max_concurrency=concurrency, outage_s=outage_s)
    bench = Provider(lambda row, attempt: OK, limits, latency_s=0.1, bad=bad).run(250)
    assert bench.lane.stopped is None
    assert bench.rows_that("ok") == bench.good
    assert bench.rows_that("failed") == set(bad)


@pytest.mark.parametrize("fault", [HTTP_500, CUT, TIMEOUT], ids=["500", "cut", "timeout"])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("count", [5, 7, 50])
@pytest.mark.parametrize("where", ["at the start", "side by side", "evenly", "at the end"])
def test_rows_that_always_fail_cost_no_other_row_anything(
    where: str, count: int, concurrency: int, fault: Answer
) -> None:
    """Good rows are answered in the time they take; each bad one fails after max_attempts, or one more."""
    rows, bad = 250, poison(where, count, 250)
    limits = replace(LIMITS, max_concurrency=concurrency, max_attempts=6, outage_s=3600.0)
    bench = Provider(lambda row, attempt: OK, limits, latency_s=0.1, bad=bad, fault=fault).run(rows)
    assert bench.rows_that("ok") == bench.good
    assert all(bench.attempts_of(row) == 1 for row in bench.good)
    tail_s = 60.0 if where != "at the end" else 400.0  # then nothing tells them from an outage of 5 minutes
    if fault is not TIMEOUT:
        assert bench.rows_that("failed") == set(bad)
        assert {bench.attempts_of(row) for row in bad} <= ({6, 7} if where != "at the end" else {6, 7, 8})
        assert bench.last_good_s() < 0.1 * rows / concurrency + 15
        assert bench.took_s < 0.1 * rows / concurrency + tail_s
    elif where == "at the end" and concurrency == 1:  # nothing comes back any more: that is an outage
        assert (bench.rows_that("failed"), len(bench.said)) == (set(), 1)
    elif where == "at the end":  # those that hung while others were answered are to blame
        assert bench.rows_that("failed") == set(bad) or len(bench.said) == 1
    else:
        assert bench.rows_that("failed") == set(bad)


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize(("where", "count"), [("at the start", 100), ("side by side", 100), ("side by side", 250)])
def test_more_of_them_than_a_lane_takes_in_at_a_time_do_not_stop_it(
    where: str, count: int, concurrency: int
) -> None:
    bad, limits = poison(where, count, 400), replace(LIMITS, max_concurrency=concurrency, outage_s=3600.0)
    bench = Provider(lambda row, attempt: OK, limits, latency_s=0.1, bad=bad).run(400)
    assert bench.rows_that("ok") == bench.good
    assert bench.rows_that("failed") == set(bad)
    assert max(bench.attempts_of(row) for row in bad) <= limits.max_attempts + 2
    assert bench.took_s < 60


# --- real outages at the same places


@pytest.mark.parametrize("outage", [HTTP_500, NO_CONNECTION, TIMEOUT], ids=["500", "unconnected", "silent"])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("max_attempts", [1, 6])
@pytest.mark.parametrize("begins", ["at the start", "amid poison", "at the end"])
def test_an_outage_fails_no_good_row_and_asks_it_no_more_than_it_must(
    begins: str, max_attempts: int, concurrency: int, outage: Answer
) -> None:
    rows = 200
    at = {"at the start": 0.0, "amid poison": 0.5, "at the end": 0.95}[begins] * rows * 0.2 / concurrency
    limits = replace(LIMITS, max_concurrency=concurrency, max_attempts=max_attempts, outage_s=3600.0)
    bench = Provider(
        lambda row, attempt: OK,
        limits,
        latency_s=0.2,
        bad=poison("evenly", 20, rows),
        outages=[(at, at + (50.0 if begins == "at the start" else 200.0))],
        outage=outage,
    ).run(rows)
    assert bench.rows_that("ok") == bench.good
    assert bench.rows_that("failed") == set(bench.bad)
    assert all(bench.attempts_of(row) == 1 + bench.in_outage[row] for row in bench.good)


@pytest.mark.parametrize("outage", [HTTP_500, NO_CONNECTION], ids=["500", "unconnected"])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_an_outage_that_does_not_end_stops_the_lane_and_fails_no_row(concurrency: int, outage: Answer) -> None:
    limits = replace(LIMITS, max_concurrency=concurrency)
    bench = Provider(
        lambda row, attempt: OK,
        limits,
        latency_s=0.2,
        bad=poison("side by side", 20, 1000),
        outages=[(2.0, 1e9)],
        outage=outage,
    ).run(1000)
    assert bench.rows_that("failed") <= set(bench.bad)
    assert len(bench.said) == 1
    assert limits.outage_s < bench.took_s < limits.outage_s + 60


@pytest.mark.parametrize("concurrency", [4, 64])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_the_last_rows_are_left_where_nothing_that_left_after_them_is_answered(
    max_attempts: int, concurrency: int
) -> None:
    """What left before the outage is answered while they hang, which shows nothing."""
    limits = replace(LIMITS, max_concurrency=concurrency, max_attempts=max_attempts)
    bench = Provider(lambda row, attempt: OK, limits, latency_s=0.2, hangs_after=98).run(100)
    assert (bench.rows_that("ok"), bench.rows_that("failed")) == (set(range(98)), set())
    assert len(bench.said) == 1


def test_the_last_rows_wait_for_an_endpoint_that_cannot_be_reached() -> None:
    """Two of them, fewer than it takes to open the breaker, and nobody else to tell."""
    bench = Provider(lambda row, attempt: OK, outages=[(2.5, 500.0)], outage=NO_CONNECTION).run(10)
    assert bench.rows_that("ok") == set(range(10))
    assert bench.took_s < 500 + 40


# --- whatever happens


@settings(max_examples=200, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([0, 0, 0, ALWAYS, ALWAYS, 1, 2]), min_size=1, max_size=120),
    fault=st.sampled_from([HTTP_500, CUT]),
    gaps=st.lists(st.tuples(st.floats(0.1, 20), st.floats(15, 70)), max_size=3),
    outage=st.sampled_from([HTTP_500, NO_CONNECTION, TIMEOUT]),
    concurrency=st.integers(1, 8),
    max_attempts=st.integers(1, 6),
    latency_s=st.sampled_from([0.05, 1.0]),
)
def test_no_good_row_is_failed_and_every_bad_one_is(
    kinds: list[int],
    fault: Answer,
    gaps: list[tuple[float, float]],
    outage: Answer,
    concurrency: int,
    max_attempts: int,
    latency_s: float,
) -> None:
    """The outages are over within the 5 minutes that the last rows are given."""
    outages, now = [], 0.0
    for gap_s, lasts_s in gaps:
        outages.append((now + gap_s, now + gap_s + lasts_s))
        now += gap_s + lasts_s
    bad = {row: kind for row, kind in enumerate(kinds) if kind == ALWAYS or 0 < kind < max_attempts}
    limits = replace(LIMITS, max_concurrency=concurrency, max_attempts=max_attempts, outage_s=3600.0)
    bench = Provider(
        lambda row, attempt: OK, limits, latency_s=latency_s, bad=bad, fault=fault, outages=outages, outage=outage
    ).run(len(kinds))
    poisonous = {row for row, times in bad.items() if times == ALWAYS}
    if bench.lane.stopped is None:
        assert bench.rows_that("ok") >= bench.good
        assert bench.rows_that("failed") >= poisonous
    assert not bench.rows_that("failed") & bench.good
    for row in bench.good:
        assert bench.attempts_of(row) <= 1 + bench.in_outage[row]
    for row in poisonous:
        assert bench.attempts_of(row) <= max_attempts + bench.in_outage[row] + 4 + 3 * len(outages)
