"""A lane of several addresses, in virtual time: who is asked, and what becomes of rows where some are away."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.allowance import EndpointLimits
from batchroute.send.classify import Answer
from batchroute.send.fleet import Fleet
from batchroute.send.lane import Lane
from test_lane import FATAL, LIMITED, LIMITS, MALFORMED, OK, REFUSED, Bench, replace_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from batchroute.send.backend import Backend
    from batchroute.send.request import Request
    from batchroute.types import LaneState
    from test_lane import LaneLimits

HTTP_500 = Answer(verdict="transient", error_type="http_500", error="HTTP 500: oops")
TIMEOUT = Answer(verdict="transient", error_type="timeout", error="no complete answer within timeout_s")
NO_CONNECTION = Answer(verdict="transient", error_type="connect", error="connection refused", unsent=True)
TIMEOUT_S = 20.0
ALWAYS = ((0.0, math.inf),)
WIDE = replace(LIMITS, max_concurrency=12)


@dataclass
class Server:
    """Answers after `latency_s`, with `instead` while it is away; `bad` rows fail whenever they are asked."""

    away: Sequence[tuple[float, float]] = ()
    instead: Answer = NO_CONNECTION
    latency_s: float = 1.0
    bad: frozenset[int] = frozenset()
    says: Callable[[float, int], Answer | None] = lambda now, row: None
    asked: list[tuple[float, int]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def is_away(self, now: float) -> bool:
        return any(start <= now < end for start, end in self.away)

    async def answer(self, row: int) -> Answer:
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        self.asked.append((sent_at, row))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.is_away(sent_at):
                await asyncio.sleep(TIMEOUT_S if self.instead is TIMEOUT else 0.01)
                return self.instead
            await asyncio.sleep(self.latency_s)
            if self.is_away(clock()):
                return replace_answer(HTTP_500, error_type="reset", error="the server hung up")
            said = self.says(sent_at, row)
            return said or (HTTP_500 if row in self.bad else OK)
        finally:
            self.in_flight -= 1

    def rows(self) -> list[int]:
        return [row for _, row in self.asked]


@dataclass
class FleetBench(Bench):
    """A lane of these servers."""

    servers: Sequence[Server] = ()
    per_address: bool = False
    told: list[tuple[str, LaneState]] = field(default_factory=list)
    states: list[tuple[float, LaneState]] = field(default_factory=list)

    def sends(self) -> Mapping[str, Callable[[Request], Awaitable[Answer]]]:
        return {f"gpu{number}:1": partial(self._ask, server) for number, server in enumerate(self.servers)}

    def make_lane(self) -> Lane[Request]:
        return Lane(
            self.sends(),
            self.limits.policy,
            self.allowance,
            self.said.append,
            most_open=2 * self.limits.max_concurrency + 64,
            per_address=self.per_address,
            watch=lambda where, state: self.told.append((where, state)),
            clock=asyncio.get_running_loop().time,
        )

    async def _ask(self, server: Server, request: Request) -> Answer:
        row = request.prompt.row
        self.asked.append((asyncio.get_running_loop().time(), row))
        return await server.answer(row)

    async def look(self) -> None:
        while not self.took_s:
            self.states.append((asyncio.get_running_loop().time(), self.lane.state()))
            await asyncio.sleep(0.25)

    def asked_times(self) -> Counter[int]:
        return Counter(row for _, row in self.asked)


def fleet_of(*servers: Server, limits: LaneLimits = WIDE, **fields: Any) -> FleetBench:
    return FleetBench(lambda row, attempt: OK, limits, servers=servers, **fields)


def all_ok(bench: FleetBench, rows: int) -> bool:
    return bench.statuses() == dict.fromkeys(range(rows), "ok")


# --- who is asked


def test_the_least_loaded_address_is_asked_and_of_equals_the_one_that_waits_longest() -> None:
    bench = fleet_of(Server(), Server(), Server(), limits=replace(WIDE, max_concurrency=1)).run(9)
    assert [server.rows() for server in bench.servers] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_a_slow_address_does_not_hold_the_others_up() -> None:
    slow, *fast = servers = Server(latency_s=50.0), Server(), Server()
    bench = fleet_of(*servers).run(800)
    assert all_ok(bench, 800)
    assert {server.most_in_flight for server in bench.servers} == {4}, "each has as many of the twelve slots"
    assert len(slow.asked) <= 12
    assert bench.took_s < 800 / 8 + 60
    assert abs(len(fast[0].asked) - len(fast[1].asked)) <= 8


def test_of_hundreds_of_addresses_each_gets_its_part() -> None:
    servers = [Server() for _ in range(300)]
    bench = fleet_of(*servers, limits=replace(WIDE, max_concurrency=600)).run(3000)
    assert all_ok(bench, 3000)
    assert {len(server.asked) for server in servers} == {10}
    assert {server.most_in_flight for server in servers} == {2}


# --- away


@pytest.mark.parametrize("max_attempts", [1, 3])
@pytest.mark.parametrize("away", [1, 2])
@pytest.mark.parametrize("instead", [NO_CONNECTION, HTTP_500, TIMEOUT])
@pytest.mark.parametrize("outage", [(0.0, math.inf), (9.5, math.inf), (9.5, 60.5)])
def test_an_address_that_is_away_takes_no_row_with_it(
    outage: tuple[float, float], instead: Answer, away: int, max_attempts: int
) -> None:
    servers = [Server(away=(outage,), instead=instead) for _ in range(away)]
    servers += [Server() for _ in range(3 - away)]
    bench = fleet_of(*servers, limits=replace(WIDE, max_attempts=max_attempts)).run(2000)
    assert all_ok(bench, 2000)
    assert bench.lane.stopped is None
    lost = sum(server.is_away(at) or server.is_away(at + 1.0) for server in servers for at, _ in server.asked)
    assert sum(bench.asked_times().values()) == 2000 + lost, "a row is asked again only where it was lost"
    assert bench.took_s < 2000 / (4 * (3 - away)) + (3 if instead is not TIMEOUT else 120)


def test_rows_of_an_address_that_died_go_to_the_others_at_once() -> None:
    dead = Server(away=((9.5, math.inf),))
    bench = fleet_of(dead, Server(), Server()).run(400)
    lost = [row for at, row in dead.asked if 8.4 < at < 10.0]
    assert len(lost) >= 4
    for row in lost:
        first, *again = [at for at, asked in bench.asked if asked == row]
        assert again[0] - first < 2.1, "as soon as a slot is free"


def test_an_address_that_is_back_is_probed_and_takes_its_share_again() -> None:
    back = Server(away=((10.0, 100.0),))
    bench = fleet_of(back, Server(), Server()).run(3000)
    assert all_ok(bench, 3000)
    probes = [at for at, _ in back.asked if 12.0 < at < 100.0]
    assert 5 < len(probes) < 40
    assert len([at for at, _ in back.asked if 120.0 < at < 200.0]) > 0.3 * 80 * 12


def test_while_all_are_away_the_lane_waits_and_says_so() -> None:
    servers = [Server(away=((10.0 + number, 100.0),), instead=HTTP_500) for number in range(3)]
    bench = fleet_of(*servers, limits=replace(WIDE, max_attempts=1))
    bench.run(3000, FleetBench.look)  # type: ignore[arg-type]  # its own kind of bench
    assert all_ok(bench, 3000)
    asked_while_away = sum(20.0 < at < 100.0 for at, _ in bench.asked)
    assert asked_while_away < 3 * 40, "one probe at a time for each"
    [state] = {state.doing for at, state in bench.states if 20.0 < at < 100.0}
    assert state == "away"
    away = next(state for at, state in bench.states if at > 50.0)
    assert (away.away, away.addresses) == (("gpu0:1", "gpu1:1", "gpu2:1"), 3)
    assert [where for where, state in bench.told if where == "" and state.doing == "away"] == [""]


def test_an_outage_of_all_for_too_long_stops_the_lane() -> None:
    servers = [Server(away=((10.0 * number, math.inf),)) for number in range(1, 4)]
    bench = fleet_of(*servers).run(4000)
    assert bench.lane.stopped is not None
    assert bench.lane.stopped.startswith("does not answer")
    assert LIMITS.outage_s + 30 <= bench.took_s < LIMITS.outage_s + 90
    assert set(bench.statuses().values()) == {"ok"}


def test_a_fleet_that_never_answers_is_not_waited_for_as_long() -> None:
    bench = fleet_of(Server(away=ALWAYS), Server(away=ALWAYS)).run(50)
    assert (bench.settled, len(bench.said)) == ({}, 1)
    assert 60 <= bench.took_s < 70


def test_what_the_lane_says_names_the_addresses_that_are_away() -> None:
    bench = fleet_of(Server(), Server(away=((10.0, 60.0),)), Server())
    bench.run(1000, FleetBench.look)  # type: ignore[arg-type]  # its own kind of bench
    seen = {(state.doing, state.away, state.addresses) for at, state in bench.states if 12.0 < at < 55.0}
    assert seen == {("sending", ("gpu1:1",), 3)}
    assert [(where, state.doing) for where, state in bench.told] == [("gpu1:1", "away"), ("gpu1:1", "sending")]
    assert bench.told[0][1].reason == NO_CONNECTION.error or "hung up" in bench.told[0][1].reason


# --- poison


@pytest.mark.parametrize(("addresses", "max_attempts"), [(2, 1), (3, 1), (3, 3), (3, 6), (10, 6), (30, 2)])
@pytest.mark.parametrize("bad", [{7}, {0}, set(range(20, 32))])
def test_rows_that_fail_everywhere_fail_alone(bad: set[int], addresses: int, max_attempts: int) -> None:
    servers = [Server(bad=frozenset(bad)) for _ in range(addresses)]
    limits = replace(WIDE, max_attempts=max_attempts, max_concurrency=4 * addresses)
    bench = fleet_of(*servers, limits=limits).run(600)
    assert {row for row, status in bench.statuses().items() if status == "failed"} == bad
    assert len(bench.statuses()) == 600
    times = bench.asked_times()
    assert {times[row] for row in range(600) if row not in bad} == {1}
    assert all(times[row] <= max(max_attempts, min(addresses, 5)) + 3 for row in bad)
    assert len(bad) > 1 or "" not in {where for where, _ in bench.told}, "the lane never was away"


def test_the_last_rows_of_a_fleet_are_not_failed_for_one_address() -> None:
    half = Server(says=lambda now, row: HTTP_500)
    bench = fleet_of(half, Server(), limits=replace(WIDE, max_attempts=1)).run(3)
    assert all_ok(bench, 3)


# --- what is one address's alone


def test_a_429_slows_and_rests_its_address_alone() -> None:
    def limited(now: float, row: int) -> Answer | None:
        return replace_answer(LIMITED, retry_after_s=40.0) if 10.0 < now < 11.0 else None

    first = Server(says=limited)
    bench = fleet_of(first, Server(), Server()).run(1000)
    assert all_ok(bench, 1000)
    assert not [at for at, _ in first.asked if 12.1 < at < 50.0]
    others = [at for server in bench.servers[1:] for at, _ in server.asked if 12.1 < at < 50.0]
    assert len(others) > 0.95 * 12 * 38, "they have all slots meanwhile"
    assert all(state.doing != "rate_limited" for _, state in bench.states)


def test_rows_that_meet_limits_everywhere_are_not_taken_to_be_limited_alone() -> None:
    """Each of six addresses takes 60 a minute, which together is what the lane may send."""

    def bounded(server: Server) -> Callable[[float, int], Answer | None]:
        def say(now: float, row: int) -> Answer | None:
            taken = sum(now - 60 < at < now for at, _ in server.asked)
            return replace_answer(LIMITED, retry_after_s=None) if taken > 60 else None

        return say

    servers = [Server(latency_s=0.1) for _ in range(6)]
    for server in servers:
        server.says = bounded(server)
    bench = fleet_of(*servers).run(2000)
    assert all_ok(bench, 2000)


@pytest.mark.parametrize(
    "wrong", [FATAL, replace_answer(FATAL, error_type="not_found", error="HTTP 404: no model")]
)
def test_an_address_that_can_answer_nothing_is_left_out_and_tried_now_and_then(wrong: Answer) -> None:
    odd = Server(says=lambda now, row: wrong, latency_s=0.1)
    bench = fleet_of(odd, Server(), Server(), limits=replace(WIDE, max_attempts=1)).run(1000)
    assert all_ok(bench, 1000)
    assert bench.lane.stopped is None
    assert len(odd.asked) <= 4 + bench.took_s / 30
    [(where, state)] = bench.told
    assert (where, state.doing) == ("gpu0:1", "stopped")
    assert str(wrong.error) in state.reason


def test_a_404_after_good_answers_refuses_a_row_only_where_others_say_so_too() -> None:
    gone = replace_answer(REFUSED, error_type="http_404", error="HTTP 404: no such model")
    servers = [Server(says=lambda now, row: gone if row == 7 else None) for _ in range(3)]
    servers[0].says = lambda now, row: gone if row == 7 or now > 10.0 else None
    bench = fleet_of(*servers).run(300)
    assert {row for row, status in bench.statuses().items() if status != "ok"} == {7}
    assert (bench.settled[7].status, bench.asked_times()[7]) == ("refused", 3)


def test_an_address_that_is_mended_takes_its_share_again() -> None:
    odd = Server(says=lambda now, row: FATAL if now < 50.0 else None)
    bench = fleet_of(odd, Server()).run(3000)
    assert all_ok(bench, 3000)
    assert len([at for at, _ in odd.asked if 100.0 < at < 150.0]) > 0.4 * 50 * 12


def test_where_all_addresses_reject_the_lane_stops_for_that_reason() -> None:
    bench = fleet_of(*[Server(says=lambda now, row: FATAL) for _ in range(3)]).run(100)
    assert bench.settled == {}
    assert bench.lane.stopped is not None
    assert bench.lane.stopped.startswith("key rejected")
    assert len(bench.asked) <= WIDE.max_concurrency + 2


def test_rejected_rows_wait_for_an_address_that_is_only_away() -> None:
    odd = Server(says=lambda now, row: FATAL)
    bench = fleet_of(odd, Server(away=((0.0, 30.0),))).run(100)
    assert all_ok(bench, 100)


def test_a_malformed_answer_is_asked_for_again_elsewhere() -> None:
    page = Server(says=lambda now, row: MALFORMED, latency_s=0.1)
    bench = fleet_of(page, Server(), limits=replace(WIDE, max_attempts=2)).run(200)
    assert all_ok(bench, 200)
    assert max(bench.asked_times().values()) == 2


def test_a_refusal_is_the_rows_at_whatever_address() -> None:
    bench = fleet_of(*[Server(says=lambda now, row: REFUSED if row == 5 else None)] * 2).run(50)
    assert bench.statuses()[5] == "refused"
    assert bench.asked_times()[5] == 1


# --- limits


def test_limits_are_the_sides_unless_they_are_each_addresss() -> None:
    limits = replace(WIDE, max_concurrency=50, requests_per_minute=120.0)
    bench = fleet_of(Server(), Server(), limits=limits).run(200)
    assert bench.took_s >= 199 / 2


def test_limits_of_each_address_are_parts_of_the_lanes() -> None:
    """Three addresses of 60 requests a minute and 5 slots each; the one that is away takes its part with it."""
    limits = replace(WIDE, max_concurrency=15, requests_per_minute=180.0)
    servers = [Server(away=((60.0, 180.0),)), Server(), Server(latency_s=8.0)]
    bench = fleet_of(*servers, limits=limits, per_address=True).run(600)
    assert all_ok(bench, 600)
    for server in servers:
        at = [when for when, _ in server.asked]
        assert max(sum(start <= when < start + 60 for when in at) for start in at) <= 61
        assert server.most_in_flight <= 5
    in_outage = sum(70.0 < when < 170.0 for server in servers[1:] for when, _ in server.asked)
    assert 0.9 < in_outage / (100 * (1 + 5 / 8)) < 1.05


@pytest.mark.parametrize("per_address", [True, False])
def test_limits_of_a_single_address_are_the_lanes(per_address: bool) -> None:
    limits = replace(WIDE, max_concurrency=5, requests_per_minute=120.0)
    bench = fleet_of(Server(), limits=limits, per_address=per_address).run(100)
    assert bench.took_s >= 99 / 2
    tokens = replace(WIDE, max_concurrency=40, tokens_per_minute=600)
    assert fleet_of(Server(latency_s=0.1), limits=tokens, per_address=per_address).run(90).took_s > 60


def test_tokens_of_each_address_are_parts_of_the_lanes() -> None:
    limits = replace(WIDE, max_concurrency=40, tokens_per_minute=600)  # 20 requests a minute at each of two
    servers = [Server(latency_s=0.1), Server(away=ALWAYS, latency_s=0.1)]
    bench = fleet_of(*servers, limits=limits, per_address=True).run(60)
    assert all_ok(bench, 60)
    assert bench.took_s > 110, "one address has half of what two have"


# --- any schedule

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=4).map(
    lambda outages: tuple((float(start), float(start + length)) for start, length in outages)
)
instead = st.sampled_from([NO_CONNECTION, HTTP_500, TIMEOUT])


@settings(max_examples=20, deadline=None)
@given(
    flaky=st.lists(st.builds(Server, away=spans, instead=instead), min_size=1, max_size=4),
    bad=st.frozensets(st.integers(0, 149), max_size=4),
    max_attempts=st.integers(1, 4),
    max_concurrency=st.integers(1, 16),
)
def test_no_good_row_fails_while_one_address_is_up(
    flaky: list[Server], bad: frozenset[int], max_attempts: int, max_concurrency: int
) -> None:
    servers = [*(replace(server, bad=bad, asked=[]) for server in flaky), Server(bad=bad)]
    bench = fleet_of(*servers, limits=replace(WIDE, max_attempts=max_attempts, max_concurrency=max_concurrency))
    bench.run(150)
    assert len(bench.settled) == 150
    assert {row for row, status in bench.statuses().items() if status != "ok"} == bad
    assert (bench.lane.stopped, bench.left) == (None, {})
    for row, times in bench.asked_times().items():
        lost = sum(
            server.is_away(at) or server.is_away(at + server.latency_s)
            for server in servers
            for at, asked in server.asked
            if asked == row
        )
        assert row in bad or times == 1 + lost


@settings(max_examples=15, deadline=None)
@given(
    servers=st.lists(st.builds(Server, away=spans, instead=instead), min_size=2, max_size=4),
    max_attempts=st.integers(1, 4),
)
def test_rows_of_a_fleet_that_is_away_at_times_all_end(servers: list[Server], max_attempts: int) -> None:
    servers = [replace(server, asked=[]) for server in servers]
    bench = fleet_of(*servers, limits=replace(WIDE, max_attempts=max_attempts)).run(200)
    assert set(bench.settled) | set(bench.left) == set(range(200))
    assert bench.lane.stopped is None or bench.left or not bench.settled


# --- the choice alone


def _with_loads(*loads: int) -> Fleet[str]:
    fleet: Fleet[str] = Fleet([f"gpu{number}:1" for number in range(len(loads))], 600.0)
    for backend, load in zip(fleet.backends, loads, strict=True):
        backend.in_flight = load
    return fleet


def _picked(fleet: Fleet[str], avoid: tuple[Backend[str], ...] = ()) -> tuple[str, float]:
    backend, wait_s = fleet.pick(EndpointLimits(100), 10, 0.0, avoid)
    return backend.where, wait_s


def test_the_choice_goes_by_what_is_away_and_what_is_to_be_avoided() -> None:
    fleet = _with_loads(2, 1, 3)
    first, second, _ = fleet.backends
    assert _picked(fleet) == ("gpu1:1", 0.0)
    assert _picked(fleet, (second,)) == ("gpu0:1", 0.0)
    assert _picked(fleet, (second, first)) == ("gpu2:1", 0.0)
    assert _picked(fleet, tuple(fleet.backends)) == ("gpu1:1", 0.0), "there is no other"
    second.breaker.reject("HTTP 404", 0.0)
    assert _picked(fleet) == ("gpu0:1", 0.0)
    assert not fleet.is_away
    first.breaker.reject("HTTP 404", 0.0)
    assert _picked(fleet, (fleet.backends[2],)) == ("gpu2:1", 0.0), "it is the only one that answers"
    fleet.backends[2].breaker.reject("HTTP 404", 0.0)
    assert fleet.is_away
    assert _picked(fleet)[1] > 0
