"""What a lane says of itself while it works: decided by a table, and seen on whole lanes in virtual time."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.send.breaker import Breaker, Failure
from batchroute.send.classify import Answer
from batchroute.send.state import address_state, lane_state
from batchroute.types import LaneState, StopReason
from test_lane import FATAL, LIMITED, LIMITS, OK, TRANSIENT, Bench, away, script, spending_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batchroute.send.request import Request
    from batchroute.types import Doing

REFUSED = "connection refused (127.0.0.1:7999)"
NO_CONNECTION = Answer(verdict="transient", error_type="connect", error=REFUSED, unsent=True)
KEY = StopReason("key rejected", "HTTP 401: no", "check it")
MONEY = StopReason("limits.max_cost_usd", "too little", "raise it", doing="no_money")
PAUSED = LaneState("rate_limited", next_try_s=4.0)


@pytest.mark.parametrize(
    ("stop", "held", "stopping", "done", "in_flight", "is_open", "state"),
    [
        (None, None, False, False, 3, True, LaneState("sending")),
        (None, PAUSED, False, False, 3, True, PAUSED),
        (None, LaneState("away", "HTTP 500"), False, False, 0, True, LaneState("away", "HTTP 500 (host:1)")),
        (None, LaneState("away", "no (host:1)"), False, False, 0, True, LaneState("away", "no (host:1)")),
        (None, None, False, False, 0, True, LaneState("retrying")),
        (None, None, False, False, 0, False, LaneState("waiting")),
        (None, None, False, True, 0, False, LaneState("done")),
        (None, None, True, True, 0, False, LaneState("done")),  # stopped when it had nothing left to do
        (None, PAUSED, True, False, 2, True, LaneState("stopped")),
        (KEY, PAUSED, True, False, 2, True, LaneState("stopped", "key rejected")),
        (MONEY, None, True, False, 0, False, LaneState("no_money")),
    ],
)
def test_what_is_known_makes_the_state(
    stop: StopReason | None,
    held: LaneState | None,
    stopping: bool,
    done: bool,
    in_flight: int,
    is_open: bool,
    state: LaneState,
) -> None:
    known = lane_state(
        stop, held, stopping=stopping, done=done, in_flight=in_flight, is_open=is_open, where="host:1"
    )
    assert known == state


def test_addresses_that_are_away_are_named_in_the_state_of_a_lane_at_work() -> None:
    away: dict[str, Any] = {"where": "", "away": ("gpu2:1",), "addresses": 3}
    work: dict[str, Any] = {"stopping": False, "done": False, "in_flight": 2, "is_open": True}
    assert lane_state(None, None, **work, **away) == LaneState("sending", away=("gpu2:1",), addresses=3)
    assert lane_state(None, PAUSED, **work, **away) == replace(PAUSED, away=("gpu2:1",), addresses=3)
    assert lane_state(KEY, PAUSED, **work, **away) == LaneState("stopped", "key rejected")
    assert lane_state(None, None, **{**work, "done": True}, **away) == LaneState("done")


@pytest.mark.parametrize(
    ("given_up", "is_open", "state"),
    [
        (None, True, LaneState("away", "refused")),
        (KEY, True, LaneState("stopped", str(KEY))),
        (KEY, False, LaneState("sending", "HTTP 500")),
    ],
)
def test_the_state_of_one_of_several_addresses(
    given_up: StopReason | None, is_open: bool, state: LaneState
) -> None:
    assert address_state(given_up, "refused", "HTTP 500", is_open=is_open) == state


def test_a_long_error_is_cut_in_one_line() -> None:
    held = LaneState("away", "HTTP 500: " + "oops\n" * 100)
    state = lane_state(None, held, stopping=False, done=False, in_flight=0, is_open=True, where="host:1")
    assert "\n" not in state.reason
    assert len(state.reason) < 120
    assert state.reason.endswith("… (host:1)")


@pytest.mark.parametrize(
    ("ever_answered", "failed_at", "now", "next_try_s", "gives_up_s"),
    [
        (False, 0.0, 0.0, 0.1, 60.0),
        (True, 0.0, 0.0, 0.1, 600.0),
        (True, 0.0, 0.2, None, 599.8),  # the probe is due, and its row is elsewhere
        (True, 60.0, 61.0, 4.0, 539.0),  # a twelfth of an outage of 60 s
        (True, 600.0, 700.0, None, 0.0),
    ],
)
def test_a_breaker_says_how_long_it_waits(
    ever_answered: bool, failed_at: float, now: float, next_try_s: float | None, gives_up_s: float
) -> None:
    breaker: Breaker[int] = Breaker(outage_s=600.0)
    if ever_answered:
        breaker.succeeded()
    assert breaker.state(now) is None
    for row in range(breaker.ROWS_TO_OPEN):
        breaker.failed(Failure(row, error=REFUSED), 0.0)
    if failed_at:
        breaker.probing()
        probing = breaker.state(failed_at)
        assert probing is not None
        assert probing.next_try_s is None
        breaker.failed(Failure(99, probe=True, error=REFUSED), failed_at)
    state = breaker.state(now)
    assert state is not None
    assert (state.doing, state.reason) == ("away", REFUSED)
    assert state.next_try_s == (None if next_try_s is None else pytest.approx(next_try_s))
    assert state.gives_up_s == pytest.approx(gives_up_s)


@dataclass
class Watched(Bench):
    """Keeps what the lane tells, and what it says of itself every 0.25 s."""

    told: list[LaneState] = field(default_factory=list)
    seen: list[tuple[float, LaneState]] = field(default_factory=list)
    end: LaneState | None = None

    def sends(self) -> Mapping[str, Callable[[Request], Awaitable[Answer]]]:
        return {"127.0.0.1:7999": self._send}

    def watch(self, where: str, state: LaneState) -> None:
        assert where == "", "there is one address"
        self.told.append(state)

    async def look(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self.took_s:
            self.seen.append((clock(), self.lane.state()))
            await asyncio.sleep(0.25)
        self.end = self.lane.state()

    def watched(self, rows: int) -> Watched:
        self.run(rows, Watched.look)  # type: ignore[arg-type]  # its own kind of bench
        return self

    def doing(self, from_s: float = 0.0, to_s: float = math.inf) -> set[Doing]:
        return {state.doing for at_s, state in self.seen if from_s <= at_s < to_s}


def test_a_lane_sends_until_it_is_done() -> None:
    bench = Watched(script()).watched(40)
    assert bench.doing(0.1, bench.took_s - 0.1) == {"sending"}
    assert bench.end == LaneState("done")
    assert bench.told == []


def test_a_429_is_seen_while_the_lane_pauses() -> None:
    bench = Watched(lambda row, attempt: LIMITED if (row, attempt) == (20, 1) else OK).watched(200)
    paused = [state for _, state in bench.seen if state.doing == "rate_limited"]
    assert paused
    assert all(0 < (state.next_try_s or 0.0) <= 2.0 for state in paused)
    assert bench.end == LaneState("done")


@pytest.mark.parametrize("limit", [{"requests_per_minute": 30.0}, {"tokens_per_minute": 40}])
def test_a_lane_at_its_limit_waits_for_its_rate(limit: dict[str, float]) -> None:
    bench = Watched(script(), replace(LIMITS, **limit), latency_s=0.1)  # type: ignore[arg-type]
    bench.watched(12)
    waits = [state.doing for at_s, state in bench.seen if 1.0 < at_s < bench.took_s - 5.0]
    assert waits.count("paced") > 0.8 * len(waits)


def test_an_outage_is_told_once_and_its_end_as_well() -> None:
    bench = Watched(away(10.0, 100.0)).watched(400)
    assert [state.doing == "away" for state in bench.told] == [True, False]
    assert bench.told[0].reason == "HTTP 500: oops (127.0.0.1:7999)"
    assert bench.told[0].gives_up_s == pytest.approx(600.0)
    assert bench.doing(13.0, 100.0) == {"away"}
    assert "away" not in bench.doing(112.0)


def test_an_endpoint_that_never_answers_is_named_until_the_lane_stops() -> None:
    bench = Watched(lambda row, attempt: NO_CONNECTION).watched(50)
    (told,) = bench.told
    assert (told.doing, told.reason) == ("away", REFUSED)
    assert bench.end == LaneState("stopped", "does not answer")
    ends = [at_s + state.gives_up_s for at_s, state in bench.seen if state.gives_up_s]
    assert ends == pytest.approx([ends[0]] * len(ends))
    assert ends[0] <= bench.took_s < ends[0] + 5.5, "it gives up with the first probe after that"


def test_without_money_it_waits_for_answers_and_then_stops() -> None:
    bench = Watched(script(), replace(LIMITS, max_concurrency=8), spending=spending_of(10)).watched(30)
    assert "no_money" in bench.doing(0.0, bench.took_s)
    assert bench.end == LaneState("no_money")


def test_a_key_that_is_rejected_is_said_in_two_words() -> None:
    bench = Watched(lambda row, attempt: FATAL).watched(5)
    assert bench.end == LaneState("stopped", "key rejected")


def test_rows_that_wait_to_be_asked_again_are_no_sending() -> None:
    bench = Watched(lambda row, attempt: TRANSIENT if attempt < 3 else OK).watched(1)
    assert "retrying" in bench.doing()
    assert bench.end == LaneState("done")
