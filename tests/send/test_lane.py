"""One lane against a function that answers, in virtual time: what every verdict does to rows and lane."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.allowance import EndpointLimits, OwnLimits, Spending
from batchroute.send.budget import Account, Budget
from batchroute.send.classify import Answer, stop_reason
from batchroute.send.lane import Lane
from batchroute.send.request import Outcome, Request, Spent
from batchroute.send.retry import RetryPolicy
from batchroute.store.ledger import Ledger
from batchroute.types import Completion, Prompt, Usage
from virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping

    from batchroute.send.classify import Verdict
    from batchroute.types import LaneState

    Say = Callable[[int, int], Answer]  # row and number of the attempt -> what the endpoint answers

USAGE = Usage(prompt_tokens=10, completion_tokens=5)
OK = Answer(verdict="ok", completion=Completion(response="Hello", usage=USAGE))
MALFORMED = Answer(
    verdict="malformed", error_type="malformed", error="no choices", completion=Completion(usage=USAGE)
)
TRANSIENT = Answer(verdict="transient", error_type="http_500", error="HTTP 500: oops")
LIMITED = Answer(verdict="rate_limited", error_type="rate_limit", error="HTTP 429: slower", retry_after_s=2.0)
REFUSED = Answer(verdict="refused", error_type="http_400", error="HTTP 400: bad parameter")
FATAL = Answer(verdict="fatal", error_type="invalid_key", error="HTTP 401: who are you?")
BY_VERDICT = {answer.verdict: answer for answer in (OK, MALFORMED, TRANSIENT, LIMITED, REFUSED, FATAL)}


@dataclass(frozen=True)
class LaneLimits:
    """All that limits a lane, in one value."""

    max_concurrency: int
    max_attempts: int
    outage_s: float
    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None
    excuse_outages: bool = True

    @property
    def endpoint(self) -> EndpointLimits:
        return EndpointLimits(self.max_concurrency, self.requests_per_minute, self.tokens_per_minute)

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(self.max_attempts, self.outage_s, excuse_outages=self.excuse_outages)


LIMITS = LaneLimits(max_concurrency=4, max_attempts=3, outage_s=600.0)


@dataclass
class Bench:
    """A lane with an endpoint that answers what `say` says, and as its sink all that came of it.

    As in a run, an answer about the endpoint or the budget leaves its request and stops the lane, unless
    `takes_over` takes the request.
    """

    say: Say
    limits: LaneLimits = LIMITS
    latency_s: float = 1.0
    spending: Spending | None = None
    takes_over: Callable[[Request], bool] = lambda request: False
    fed: list[int] = field(default_factory=list)
    asked: list[tuple[float, int]] = field(default_factory=list)
    settled: dict[int, Outcome] = field(default_factory=dict)
    left: dict[int, Spent] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    took_s: float = 0.0
    lane: Lane = field(init=False)
    allowance: OwnLimits = field(init=False)

    def __post_init__(self) -> None:
        self.allowance = OwnLimits(self.limits.endpoint, self.spending)

    def run(
        self, rows: int | Iterable[int], meanwhile: Callable[[Bench], Coroutine[Any, Any, None]] | None = None
    ) -> Bench:
        run_virtually(self._run(range(rows) if isinstance(rows, int) else rows, meanwhile))
        return self

    async def _run(
        self, rows: Iterable[int], meanwhile: Callable[[Bench], Coroutine[Any, Any, None]] | None
    ) -> None:
        clock = asyncio.get_running_loop().time
        self.lane = self.make_lane()
        beside = asyncio.create_task(meanwhile(self)) if meanwhile else None
        try:
            await self.lane.deliver(self._feed(rows), self)
        finally:
            self.took_s = clock()
            if beside:
                await beside

    def make_lane(self) -> Lane[Request]:
        return Lane(
            self.sends(),
            self.limits.policy,
            self.allowance,
            self.said.append,
            most_open=2 * self.limits.max_concurrency + 64,
            watch=self.watch,
            clock=lambda: asyncio.get_running_loop().time(),
        )

    def sends(self) -> Mapping[str, Callable[[Request], Awaitable[Answer]]]:
        return {"": self._send}

    def watch(self, where: str, state: LaneState) -> None:
        """An address, or the whole lane, went away or is back."""

    async def _feed(self, rows: Iterable[int]) -> AsyncIterator[Request]:
        for row in rows:
            self.fed.append(row)
            yield request(row, most_usd=Decimal(4))

    async def _send(self, request: Request) -> Answer:
        row = request.prompt.row
        self.asked.append((asyncio.get_running_loop().time(), row))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        attempt = self.attempts_of(row)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.in_flight -= 1
        return self.say(row, attempt)

    def settle(self, asked: Request, outcome: Outcome) -> None:
        assert asked.prompt.row not in self.settled, "settled twice"
        if outcome.status != "open":
            self.settled[asked.prompt.row] = outcome
            return
        self.leave(asked, Spent(outcome.attempts, outcome.usages))
        if outcome.answer.verdict == "fatal" or not self.takes_over(asked):
            self.lane.stop(stop_reason(outcome.answer))

    def leave(self, asked: Request, spent: Spent) -> None:
        assert asked.prompt.row not in self.left, "left twice"
        self.left[asked.prompt.row] = spent

    def attempts_of(self, row: int) -> int:
        return sum(asked == row for _, asked in self.asked)

    def statuses(self) -> dict[int, str]:
        return {row: outcome.status for row, outcome in self.settled.items()}

    def gaps_s(self, row: int) -> list[float]:
        """From each answer that the row got to its next attempt."""
        at = [when for when, asked in self.asked if asked == row]
        return [after - before - self.latency_s for before, after in itertools.pairwise(at)]


def request(row: int, **changes: Any) -> Request:
    fields: dict[str, Any] = {"tokens": 10, "score": 0.5, "reason": "score", **changes}
    prompt = Prompt(file="prompts.jsonl", row=row, id=None, messages=b"[]")
    return Request(prompt=prompt, body=str(row).encode(), **fields)


def script(*answers: Answer, then: Answer = OK) -> Say:
    """Row 0 gets these answers, then `then`; every other row is answered well."""

    def say(row: int, attempt: int) -> Answer:
        if row != 0:
            return OK
        return answers[attempt - 1] if attempt <= len(answers) else then

    return say


# --- how a row ends


@pytest.mark.parametrize(
    ("answers", "status", "attempts", "billed"),
    [
        ([OK], "ok", 1, 1),
        ([TRANSIENT, OK], "ok", 2, 1),
        ([TRANSIENT, TRANSIENT, OK], "ok", 3, 1),
        ([TRANSIENT, TRANSIENT, TRANSIENT], "failed", 3, 0),
        ([MALFORMED, OK], "ok", 2, 2),
        ([MALFORMED, MALFORMED], "failed", 2, 2),
        ([MALFORMED, TRANSIENT, OK], "ok", 3, 2),
        ([MALFORMED, TRANSIENT, TRANSIENT], "failed", 3, 1),
        ([TRANSIENT, TRANSIENT, MALFORMED], "failed", 3, 1),
        ([REFUSED], "refused", 1, 0),
        ([TRANSIENT, REFUSED], "refused", 2, 0),
        ([LIMITED, OK], "ok", 2, 1),
        ([LIMITED] * 8 + [OK], "ok", 9, 1),
        ([LIMITED, TRANSIENT, LIMITED, TRANSIENT, OK], "ok", 5, 1),
    ],
)
def test_how_a_row_ends(answers: list[Answer], status: str, attempts: int, billed: int) -> None:
    bench = Bench(script(*answers, then=FATAL)).run(3)
    outcome = bench.settled[0]
    assert (outcome.status, outcome.attempts, outcome.answer) == (status, attempts, answers[-1])
    assert outcome.usages == (USAGE,) * billed
    assert bench.attempts_of(0) == attempts
    assert bench.statuses() == {0: status, 1: "ok", 2: "ok"}
    assert (bench.left, bench.said, bench.lane.stopped) == ({}, [], None)


def test_a_malformed_answer_counts_as_an_attempt() -> None:
    bench = Bench(script(MALFORMED), replace(LIMITS, max_attempts=1)).run(1)
    assert bench.statuses() == {0: "failed"}
    assert bench.attempts_of(0) == 1


def test_attempts_of_earlier_runs_are_added() -> None:
    bench = Bench(script(TRANSIENT))

    async def feed() -> AsyncIterator[Request]:
        yield request(0, attempts=6)

    async def work() -> None:
        await bench.make_lane().deliver(feed(), bench)

    run_virtually(work())
    assert bench.settled[0].attempts == 8


# --- waiting


def test_a_server_error_may_say_how_long_to_wait() -> None:
    slow = Answer(verdict="transient", error_type="http_503", error="HTTP 503", retry_after_s=77.0)
    assert Bench(script(slow)).run(1).gaps_s(0) == [pytest.approx(77.0, abs=0.01)]


def test_waits_after_failures_stay_short() -> None:
    bench = Bench(script(*[TRANSIENT] * 19), replace(LIMITS, max_attempts=20))

    async def more_may_come() -> AsyncIterator[Request]:
        yield request(0)
        await asyncio.sleep(1000)
        yield request(1)

    async def work() -> None:
        await bench.make_lane().deliver(more_may_come(), bench)

    run_virtually(work())
    gaps_s = bench.gaps_s(0)
    assert len(gaps_s) == 19
    assert max(gaps_s) <= 30.1
    assert gaps_s[0] <= 1.1


def test_a_429_holds_up_the_whole_lane() -> None:
    bench = Bench(script(LIMITED), replace(LIMITS, max_concurrency=1)).run(3)
    first, second, *_ = [at for at, _ in bench.asked]
    assert second - first == pytest.approx(1.0 + 2.0, abs=0.01)


def test_a_pause_holds_up_the_row_that_the_throttle_holds_up_too() -> None:
    pause = replace_answer(LIMITED, retry_after_s=50.0)
    bench = Bench(script(pause), replace(LIMITS, requests_per_minute=3)).run(2)
    assert [at for at, _ in bench.asked][1] >= 51.0


def test_a_server_that_asks_for_no_wait_and_takes_nothing_is_not_stormed() -> None:
    none = replace_answer(LIMITED, retry_after_s=0.0)
    bench = Bench(lambda row, attempt: none).run(20)
    assert len(bench.asked) <= 40 * LIMITS.max_concurrency
    assert "nothing but 429" in bench.said[0]


def test_a_server_error_does_not_slow_the_lane() -> None:
    bench = Bench(script(TRANSIENT, TRANSIENT), replace(LIMITS, max_concurrency=1)).run(20)
    sent = [at for at, _ in bench.asked]
    assert sent == pytest.approx([sent[0] + number for number in range(20 + 2)], abs=0.01)


@pytest.mark.parametrize("verdict", ["rate_limited", "transient"])
def test_a_wait_beyond_the_outage_stops_the_lane(verdict: Verdict) -> None:
    tomorrow = Answer(verdict=verdict, error="come back tomorrow", retry_after_s=86_400.0)
    bench = Bench(script(tomorrow)).run(500)
    assert bench.took_s < 10
    assert 0 in bench.left
    assert len(bench.said) == 1
    assert "86400 s" in bench.said[0]


# --- slots


def test_concurrency_is_used_and_never_exceeded() -> None:
    bench = Bench(lambda row, attempt: OK, replace(LIMITS, max_concurrency=7)).run(100)
    assert bench.most_in_flight == 7
    assert bench.took_s == pytest.approx(math.ceil(100 / 7), abs=0.1)


def test_a_row_that_sleeps_holds_no_slot() -> None:
    wait = Answer(verdict="transient", error="HTTP 503", retry_after_s=100.0)
    bench = Bench(
        lambda row, attempt: wait if row < 4 and attempt == 1 else OK, replace(LIMITS, max_concurrency=4)
    ).run(40)
    others = [at for at, row in bench.asked if row >= 4]
    assert max(others) == pytest.approx(9.0, abs=0.5), "36 rows, 4 at a time, right after the first 4"


def test_memory_does_not_grow_with_the_rows_that_wait() -> None:
    """While a lane stands still it takes only so many rows in."""

    async def after_an_hour(bench: Bench) -> None:
        await asyncio.sleep(3600)
        assert len(bench.fed) <= 3 * LIMITS.max_concurrency + 65
        bench.lane.abandon()

    bench = Bench(lambda row, attempt: OK, latency_s=math.inf).run(100_000, after_an_hour)
    assert len(bench.asked) == LIMITS.max_concurrency


# --- stopping


def test_a_wrong_key_stops_the_lane_with_its_advice() -> None:
    bench = Bench(lambda row, attempt: FATAL).run(1000)
    assert bench.settled == {}
    assert set(bench.left) >= {0, 1, 2, 3}
    assert len(bench.asked) == 4
    assert bench.said == [bench.lane.stopped]
    assert "key rejected (HTTP 401: who are you?); set api_key_env, or check the key" in bench.said[0]


def test_answers_in_flight_are_kept_when_another_row_stops_the_lane() -> None:
    bench = Bench(script(FATAL)).run(4)
    assert bench.statuses() == {1: "ok", 2: "ok", 3: "ok"}
    assert set(bench.left) == {0}


def test_stop_awaits_what_is_in_flight_and_leaves_what_sleeps() -> None:
    wait = Answer(verdict="transient", error="HTTP 503", retry_after_s=500.0)

    async def stop(bench: Bench) -> None:
        await asyncio.sleep(1.5)
        bench.lane.stop()

    bench = Bench(script(wait)).run(1000, stop)
    assert 0 in bench.left
    assert bench.left[0].attempts == 1
    assert set(bench.settled) == {row for _, row in bench.asked} - {0}
    assert bench.took_s == pytest.approx(2.0, abs=0.01)
    assert bench.said == []


def test_abandon_leaves_everything() -> None:
    async def abandon(bench: Bench) -> None:
        await asyncio.sleep(0.5)
        bench.lane.stop()
        await asyncio.sleep(0.1)
        bench.lane.abandon()

    bench = Bench(lambda row, attempt: OK).run(1000, abandon)
    assert bench.settled == {}
    assert {row for row, spent in bench.left.items() if spent.attempts} == {0, 1, 2, 3}
    assert bench.took_s == pytest.approx(0.6, abs=0.01)


def test_a_lane_stopped_before_it_runs_sends_nothing() -> None:
    async def work() -> None:
        bench.lane = bench.make_lane()
        bench.lane.stop("no money")
        await bench.lane.deliver(bench._feed(range(10)), bench)

    bench = Bench(lambda row, attempt: OK)
    run_virtually(work())
    assert (bench.asked, bench.settled, bench.said) == ([], {}, ["no money"])


# --- requests from outside


def test_a_request_from_outside_stands_in_the_same_queue() -> None:
    bench = Bench(script(TRANSIENT, LIMITED))
    bench.lane = bench.make_lane()

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.lane.deliver(bench._feed(range(10, 20)), bench))
            for row in range(10):
                group.create_task(bench.lane.ask(request(row), bench))

    run_virtually(work())
    assert bench.statuses() == dict.fromkeys(range(20), "ok")
    assert bench.attempts_of(0) == 3
    assert bench.most_in_flight == LIMITS.max_concurrency


def test_whoever_is_cancelled_lets_go_of_the_row_and_of_no_other() -> None:
    bench = Bench(lambda row, attempt: OK, replace(LIMITS, max_concurrency=1))
    bench.lane = bench.make_lane()

    async def work() -> None:
        asking = [asyncio.create_task(bench.lane.ask(request(row), bench)) for row in range(3)]
        await asyncio.sleep(0.5)
        asking[0].cancel()
        asking[1].cancel()
        await asyncio.wait(asking)

    run_virtually(work())
    assert set(bench.left) == {0, 1}
    assert bench.statuses() == {2: "ok"}
    assert bench.lane.in_flight == 0


def test_a_lane_that_stops_leaves_what_was_asked_of_it() -> None:
    bench = Bench(lambda row, attempt: FATAL, replace(LIMITS, max_concurrency=1))
    bench.lane = bench.make_lane()

    async def work() -> None:
        await asyncio.gather(*(bench.lane.ask(request(row), bench) for row in range(3)))
        await bench.lane.ask(request(3), bench)

    run_virtually(work())
    assert set(bench.left) == {0, 1, 2, 3}
    assert bench.settled == {}


@pytest.mark.parametrize("excuses", [True, False])
def test_a_row_somebody_waits_for_fails_without_a_look_at_others(excuses: bool) -> None:
    bench = Bench(script(then=TRANSIENT), replace(LIMITS, excuse_outages=excuses))
    bench.lane = bench.make_lane()

    async def more_may_come() -> AsyncIterator[Request]:
        await asyncio.sleep(1000)
        yield request(1)

    async def work() -> None:
        running = asyncio.create_task(bench.lane.deliver(more_may_come(), bench))
        await bench.lane.ask(request(0), bench)
        bench.took_s = asyncio.get_running_loop().time()
        await running

    run_virtually(work())
    assert bench.statuses() == {0: "failed", 1: "ok"}
    assert (bench.took_s < 200) == (not excuses)


def test_a_probe_that_nobody_waits_for_does_not_hold_the_lane_up() -> None:
    bench = Bench(lambda row, attempt: replace_answer(TRANSIENT, error_type="connect") if row < 5 else OK)
    bench.lane = bench.make_lane()

    async def work() -> None:
        asking = [asyncio.create_task(bench.lane.ask(request(row), bench)) for row in range(5)]
        while bench.lane.gate.fleet.backends[0].breaker._probe_at != math.inf:  # noqa: ASYNC110 - nothing tells that a probe is out
            await asyncio.sleep(0.1)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await bench.lane.ask(request(9), bench)

    run_virtually(work())
    assert bench.statuses() == {9: "ok"}


class DiskFull(Exception):
    """What a failed save raises."""


def test_a_save_that_fails_ends_the_run_with_its_error() -> None:
    bench = Bench(lambda row, attempt: OK)
    keep = bench.settle

    def settle(asked: Request, outcome: Outcome) -> None:
        if asked.prompt.row == 2:
            raise DiskFull
        keep(asked, outcome)

    bench.settle = settle  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as raised:
        bench.run(100)
    assert raised.group_contains(DiskFull)
    assert set(bench.settled) <= {0, 1, 3}, "what was answered in the same moment may still be kept"
    assert bench.took_s == pytest.approx(1.0, abs=0.01)


# --- an endpoint that is away


def away(from_s: float, to_s: float) -> Say:
    """500s between two moments, good answers before and after."""

    def say(row: int, attempt: int) -> Answer:
        return TRANSIENT if from_s <= asyncio.get_running_loop().time() < to_s else OK

    return say


def test_an_outage_costs_no_row_its_attempts() -> None:
    bench = Bench(away(10.0, 310.0)).run(200)
    assert set(bench.statuses().values()) == {"ok"}
    assert len(bench.settled) == 200
    probes = [at for at, _ in bench.asked if 20 < at < 309]
    assert 8 <= len(probes) <= 40, "one probe at a time, 30 s apart at most"
    assert bench.most_in_flight == LIMITS.max_concurrency


@pytest.mark.parametrize("max_attempts", [1, 2])
@pytest.mark.parametrize("concurrency", [1, 3, 8])
@pytest.mark.parametrize("requests_per_minute", [None, 30.0])
def test_not_even_the_first_failures_of_an_outage_count(
    max_attempts: int, concurrency: int, requests_per_minute: float | None
) -> None:
    limits = replace(LIMITS, max_attempts=max_attempts, max_concurrency=concurrency)
    bench = Bench(away(10.0, 310.0), replace(limits, requests_per_minute=requests_per_minute)).run(200)
    assert list(bench.statuses().values()) == ["ok"] * 200


def test_an_outage_is_one_though_a_gateway_says_429_and_400_in_between() -> None:
    def say(row: int, attempt: int) -> Answer:
        now = asyncio.get_running_loop().time()
        if not 10.0 <= now < 130.0 or (row % 7 == 3 and attempt == 1):
            return OK if not 10.0 <= now < 130.0 else REFUSED
        return LIMITED if len(bench.asked) % 3 == 0 else TRANSIENT

    bench = Bench(say)
    bench.run(400)
    assert set(bench.statuses().values()) <= {"ok", "refused"}
    assert len(bench.settled) == 400


def test_a_row_that_fails_while_others_succeed_is_failed_though_it_has_one_attempt() -> None:
    bench = Bench(lambda row, attempt: TRANSIENT if row == 7 else OK, replace(LIMITS, max_attempts=1)).run(50)
    assert bench.statuses() == {**dict.fromkeys(range(50), "ok"), 7: "failed"}
    assert bench.attempts_of(7) == 1


def test_four_rows_that_fail_to_the_end_are_failed_and_do_not_wait_for_each_other() -> None:
    bench = Bench(lambda row, attempt: TRANSIENT if row < 4 else OK).run(30)
    assert {row for row, status in bench.statuses().items() if status == "failed"} == {0, 1, 2, 3}
    assert bench.took_s < 120


@pytest.mark.parametrize(("from_s", "gives_up_after_s"), [(0.0, 60.0), (10.0, 600.0)])
def test_an_endpoint_that_stays_away_stops_the_lane(from_s: float, gives_up_after_s: float) -> None:
    """Sooner where it never answered: then its address may be wrong."""
    bench = Bench(away(from_s, math.inf)).run(200)
    assert set(bench.statuses().values()) <= {"ok"}
    assert gives_up_after_s < bench.took_s - from_s < gives_up_after_s + 40
    assert len(bench.said) == 1
    assert "does not answer (HTTP 500: oops)" in bench.said[0]


def test_the_last_row_alone_is_failed_rather_than_waited_for() -> None:
    bench = Bench(script(then=TRANSIENT)).run(1)
    assert bench.statuses() == {0: "failed"}
    assert bench.attempts_of(0) == LIMITS.max_attempts


# --- 429 without end


def test_a_row_that_alone_gets_429_is_failed_after_the_outage_time() -> None:
    wait = replace_answer(LIMITED, retry_after_s=30.0)
    bench = Bench(script(then=wait), replace(LIMITS, max_concurrency=1)).run(100)
    assert bench.statuses()[0] == "failed"
    assert list(bench.statuses().values()).count("ok") == 99
    assert bench.lane.stopped is None


def test_a_row_that_alone_gets_429_waits_alone_and_ends_at_its_tenth() -> None:
    """The lane pauses after its first two, as any 429 may be the lane's."""
    bench = Bench(script(then=replace_answer(LIMITED, retry_after_s=None)), latency_s=0.1).run(6000)
    outcome = bench.settled[0]
    assert (outcome.status, outcome.answer.error_type, outcome.attempts) == ("failed", "rate_limited", 10)
    at_least_s = [1, 2, 4, 8, 16, 32, 60]
    assert all(wait_s <= gap_s < wait_s + 3 for wait_s, gap_s in zip(at_least_s, bench.gaps_s(0)[2:], strict=True))
    assert list(bench.statuses().values()).count("ok") == 5999


@pytest.mark.parametrize("retry_after_s", [None, 2.0, 30.0])
def test_what_a_row_that_alone_gets_429_has_slowed_is_taken_back(retry_after_s: float | None) -> None:
    wait = replace_answer(LIMITED, retry_after_s=retry_after_s)
    bench = Bench(script(then=wait), replace(LIMITS, max_concurrency=8), latency_s=0.1).run(4000)
    assert bench.settled[0].status == "failed"
    assert bench.lane.gate.fleet.backends[0].learnt_per_minute is None
    last_good_s = max(at for at, row in bench.asked if row != 0)
    assert last_good_s < 4000 * 0.1 / 8 + 3 * (retry_after_s or 1.0) + 25


def test_a_limit_of_the_lane_is_not_forgotten_for_a_row_that_alone_gets_429() -> None:
    def say(row: int, attempt: int) -> Answer:
        return LIMITED if row == 0 or (row == 300 and attempt == 1) else OK

    bench = Bench(say, replace(LIMITS, max_concurrency=8), latency_s=0.1).run(600)
    assert bench.lane.gate.fleet.backends[0].learnt_per_minute is not None


def test_a_row_that_is_told_to_wait_longer_than_an_outage_while_others_pass_does_not_stop_the_lane() -> None:
    tomorrow = replace_answer(LIMITED, retry_after_s=86_400.0)
    bench = Bench(script(LIMITED, LIMITED, tomorrow), replace(LIMITS, max_concurrency=2)).run(400)
    assert bench.statuses()[0] == "failed"
    assert (list(bench.statuses().values()).count("ok"), bench.lane.stopped) == (399, None)


# --- a service tier that is full


BUSY = Answer(verdict="busy", error_type="busy", error="HTTP 498: at capacity", turned_away=True)


def test_a_full_tier_costs_no_attempt_and_holds_up_no_other_row() -> None:
    bench = Bench(script(*[BUSY] * 8), replace(LIMITS, max_attempts=1)).run(400)
    assert bench.settled[0].attempts == 9
    assert set(bench.statuses().values()) == {"ok"}
    assert bench.took_s < 400 / 4 + 150, "each of its waits, and no pause of the lane"
    assert bench.lane.gate.fleet.backends[0]._tier.resume_at == 0


def test_a_tier_that_is_full_for_all_is_waited_for_and_not_stormed() -> None:
    def say(row: int, attempt: int) -> Answer:
        return OK if asyncio.get_running_loop().time() > 300 else BUSY

    bench = Bench(say, replace(LIMITS, max_attempts=1, max_concurrency=64), latency_s=0.1).run(500)
    assert list(bench.statuses().values()) == ["ok"] * 500
    assert sum(at < 300 for at, _ in bench.asked) <= 64 * 12
    assert bench.took_s < 300 + 61 + 10


def test_a_tier_that_stays_full_stops_the_lane_naming_what_to_set() -> None:
    bench = Bench(lambda row, attempt: BUSY).run(500)
    assert (bench.settled, len(bench.said)) == ({}, 1)
    assert "service tier is full" in bench.said[0]
    assert "on_busy" in bench.said[0]
    assert LIMITS.outage_s < bench.took_s < LIMITS.outage_s + 130


def test_the_last_row_that_is_told_so_stays_undone() -> None:
    bench = Bench(script(then=BUSY)).run(1)
    assert (bench.settled, set(bench.left)) == ({}, {0})


def test_a_row_may_leave_a_full_tier_for_the_standard_one_at_once() -> None:
    def say(row: int, attempt: int) -> Answer:
        return BUSY if bench.asked_flex[-1] else OK

    bench = Flexible(say, replace(LIMITS, max_concurrency=1, requests_per_minute=60), latency_s=0.1)
    bench.run(5)
    assert list(bench.statuses().values()) == ["ok"] * 5
    assert sorted(bench.asked_flex) == [False] * 5 + [True] * 5
    assert [outcome.attempts for outcome in bench.settled.values()] == [2] * 5
    assert bench.took_s > 8, "requests at the standard tier count against the limit"


def test_a_standard_tier_that_is_busy_is_waited_for() -> None:
    bench = Flexible(script(*[BUSY] * 4)).run(3)
    assert bench.asked_flex == [True, True, True, False, False, False, False]
    assert bench.attempts_of(0) == 5


class Flexible(Bench):
    """Leaves a full tier; a request for the standard one has another body."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        self.asked_flex: list[bool] = []
        super().__init__(*args, **fields)

    def make_lane(self) -> Lane[Request]:
        return Lane(
            {"": self._send},
            self.limits.policy,
            self.allowance,
            self.said.append,
            most_open=80,
            at_standard=lambda asked: msgspec.structs.replace(asked, body=b"standard"),
            clock=asyncio.get_running_loop().time,
        )

    async def _send(self, request: Request) -> Answer:
        self.asked_flex.append(request.body != b"standard")
        return await super()._send(request)


def test_nothing_but_429_stops_the_lane() -> None:
    bench = Bench(lambda row, attempt: LIMITED).run(20)
    assert bench.settled == {}
    assert bench.took_s > LIMITS.outage_s
    assert len(bench.said) == 1
    assert "nothing but 429" in bench.said[0]


def test_a_first_429_after_a_long_idle_time_stops_nothing() -> None:
    async def feed() -> AsyncIterator[Request]:
        yield request(1)
        await asyncio.sleep(2 * LIMITS.outage_s)  # the input is slow
        yield request(0)

    async def work() -> None:
        bench.lane = bench.make_lane()
        await bench.lane.deliver(feed(), bench)

    bench = Bench(script(LIMITED))
    run_virtually(work())
    assert (bench.statuses(), bench.said) == ({0: "ok", 1: "ok"}, [])


def test_an_outage_between_429s_starts_their_time_again() -> None:
    """A row limited before and after 500s is not one that gets nothing but 429."""
    slow = replace_answer(TRANSIENT, retry_after_s=400.0)
    bench = Bench(script(LIMITED, slow, LIMITED, slow, LIMITED)).run(2)
    assert bench.statuses() == {0: "ok", 1: "ok"}


def test_the_speed_a_429_taught_never_exceeds_the_one_configured() -> None:
    limits = replace(LIMITS, max_concurrency=64, requests_per_minute=600)
    bench = Bench(lambda row, attempt: LIMITED if row == 50 and attempt == 1 else OK, limits).run(1200)
    arrivals = [at for at, _ in bench.asked]
    assert all(later - at >= 60 for at, later in zip(arrivals, arrivals[601:], strict=False))
    assert len(bench.settled) == 1200


def test_tokens_a_minute_hold_requests_back() -> None:
    limits = replace(LIMITS, max_concurrency=64, tokens_per_minute=100)
    bench = Bench(lambda row, attempt: Answer(verdict="ok"), limits).run(30)
    per_minute = [sum(start <= at < start + 60 for at, _ in bench.asked) for start, _ in bench.asked]
    assert max(per_minute) == 10
    assert bench.took_s == pytest.approx(121, abs=2)


def test_a_row_larger_than_the_limit_is_sent_alone_and_the_lane_goes_on_behind_it() -> None:
    """It is refused for its size, or uses less than it might: the others wait no longer than for its answer."""
    limits = replace(LIMITS, max_concurrency=64, tokens_per_minute=100)
    too_large = replace_answer(REFUSED, error_type="too_large", turned_away=True)

    async def feed() -> AsyncIterator[Request]:
        for row in range(30):
            yield request(row, tokens=5000 if row == 5 else 10)

    for said in (too_large, OK):
        bench = Bench(lambda row, attempt, said=said: said if row == 5 else OK, limits)
        run_virtually(bench.make_lane().deliver(feed(), bench))
        at = {row: at for at, row in bench.asked}
        assert at[4] < 1
        assert at[5] == pytest.approx(60.5, abs=0.5), "in an empty window"
        assert [row for row, when in at.items() if when == at[5]] == [5]
        assert at[6] == pytest.approx(at[5] + 1.0, abs=0.01), "as soon as it is answered"


def replace_answer(answer: Answer, **changes: Any) -> Answer:
    return msgspec.structs.replace(answer, **changes)


# --- refusals


def test_the_same_refusal_from_the_start_stops_the_lane_and_fails_its_rows() -> None:
    bench = Bench(lambda row, attempt: REFUSED).run(1000)
    assert 20 <= len(bench.settled) <= 20 + LIMITS.max_concurrency
    assert set(bench.statuses().values()) == {"failed"}
    assert len(bench.said) == 1
    assert "the same refusal 20 times with no success between (HTTP 400: bad parameter)" in bench.said[0]


@pytest.mark.parametrize("rows", [1, 19])
def test_fewer_of_them_are_refused(rows: int) -> None:
    bench = Bench(lambda row, attempt: REFUSED).run(rows)
    assert bench.statuses() == dict.fromkeys(range(rows), "refused")
    assert bench.lane.stopped is None


@pytest.mark.parametrize("well", [1, 10, 70])
def test_the_same_refusal_stops_the_lane_at_any_time(well: int) -> None:
    bench = Bench(lambda row, attempt: OK if row < well else REFUSED).run(1000)
    statuses = Counter(bench.statuses().values())
    assert statuses["ok"] == well
    assert 20 <= statuses["failed"] <= 20 + LIMITS.max_concurrency
    assert statuses["refused"] <= LIMITS.max_concurrency, "those answered before the last success"
    assert len(bench.said) == 1


def test_an_answer_shows_that_the_refusals_before_it_are_the_requests_own() -> None:
    one_by_one = replace(LIMITS, max_concurrency=1)
    bench = Bench(lambda row, attempt: OK if row % 20 == 19 else REFUSED, one_by_one).run(200)
    assert bench.lane.stopped is None
    assert Counter(bench.statuses().values()) == {"refused": 190, "ok": 10}


def test_reasons_that_take_turns_do_not_refuse_the_file_either() -> None:
    def say(row: int, attempt: int) -> Answer:
        return replace_answer(REFUSED, error=f"HTTP 400: {['no images', 'no audio', 'no tools'][row % 3]}")

    bench = Bench(say, replace(LIMITS, max_concurrency=1)).run(1000)
    assert len(bench.asked) == 3 * 19 + 1
    assert set(bench.statuses().values()) == {"failed"}
    assert "the same refusal 20 times" in bench.said[0]


@dataclass
class Starving(Bench):
    """Its feed waits for what becomes of all that it gave before it ends, as one does that may get more of it."""

    waited_s: float = 0.0

    async def _feed(self, rows: Iterable[int]) -> AsyncIterator[Request]:
        async for each in super()._feed(rows):
            yield each
        with self.lane.starved():
            while len(self.settled) < len(self.fed) and self.waited_s < 100:
                await asyncio.sleep(1)
                self.waited_s += 1


@pytest.mark.parametrize("refused", [{3}, {0, 3}, {0, 1, 2, 3}, {0}, {7}, {6, 7}])
@pytest.mark.parametrize("rows", [4, 8])
def test_refusals_are_not_held_back_when_no_other_answer_is_to_come(rows: int, refused: set[int]) -> None:
    """Four answers come in the same moment; the last of them may be a refusal."""
    bench = Starving(lambda row, attempt: REFUSED if row in refused else OK).run(rows)
    assert bench.statuses() == {row: "refused" if row in refused else "ok" for row in range(rows)}
    assert bench.waited_s <= 3


def test_refusals_held_back_are_refused_when_the_lane_stops_for_another_reason() -> None:
    bench = Bench(lambda row, attempt: FATAL if row == 7 else REFUSED).run(1000)
    assert set(bench.statuses().values()) == {"refused"}
    assert set(bench.settled) == {row for _, row in bench.asked} - {7}
    assert set(bench.left) >= {7}


# --- whatever happens

VERDICTS = st.sampled_from(["ok"] * 6 + ["malformed", "transient", "transient", "rate_limited", "refused"])


@settings(max_examples=150)
@given(
    scripts=st.lists(st.lists(VERDICTS, max_size=8), max_size=30),
    fatal_row=st.none() | st.integers(0, 29),
    concurrency=st.integers(1, 6),
    requests_per_minute=st.none() | st.sampled_from([30.0, 600.0]),
    stop_at_s=st.none() | st.floats(0, 30),
    abandon_after_s=st.floats(0, 3),
)
def test_every_row_ends_once_and_within_its_bounds(
    scripts: list[list[Verdict]],
    fatal_row: int | None,
    concurrency: int,
    requests_per_minute: float | None,
    stop_at_s: float | None,
    abandon_after_s: float,
) -> None:
    def say(row: int, attempt: int) -> Answer:
        if row == fatal_row:
            return FATAL
        verdicts = scripts[row]
        return BY_VERDICT[verdicts[attempt - 1]] if attempt <= len(verdicts) else OK

    async def stop(bench: Bench) -> None:
        await asyncio.sleep(stop_at_s or 0.0)
        bench.lane.stop()
        await asyncio.sleep(abandon_after_s)
        bench.lane.abandon()

    limits = replace(LIMITS, max_concurrency=concurrency, requests_per_minute=requests_per_minute)
    bench = Bench(say, limits).run(len(scripts), None if stop_at_s is None else stop)
    asked = {row for _, row in bench.asked}
    assert not set(bench.settled) & set(bench.left)
    assert asked <= set(bench.settled) | set(bench.left) <= set(bench.fed)
    assert bench.most_in_flight <= concurrency
    assert bench.in_flight == bench.lane.in_flight == 0
    for row, outcome in bench.settled.items():
        given_answers = [say(row, attempt).verdict for attempt in range(1, outcome.attempts + 1)]
        assert outcome.attempts == bench.attempts_of(row)
        assert outcome.answer.verdict == given_answers[-1]
        assert given_answers.count("malformed") <= 2
        assert outcome.status == "failed" or given_answers[-1] in {"ok", "refused"}
    if stop_at_s is None and bench.lane.stopped is None:
        assert set(bench.settled) == set(range(len(scripts)))


# --- money


def spending_of(usd: int) -> Spending:
    """Every answer costs 3 USD, and may cost 4."""
    budget = Budget(Decimal(usd), Account(Decimal(0), Ledger(), lambda ledger: None))
    return Spending(budget, "strong", lambda usage: Decimal(3))


def test_a_row_without_room_stops_the_lane_unless_it_is_taken_over() -> None:
    one_by_one = replace(LIMITS, max_concurrency=1)
    stopped = Bench(script(), one_by_one, spending=spending_of(10)).run(6)
    assert (stopped.statuses(), list(stopped.fed)) == ({0: "ok", 1: "ok", 2: "ok"}, [0, 1, 2, 3])
    assert "limits.max_cost_usd" in stopped.said[0]
    taken: list[int] = []

    def take_early(asked: Request) -> bool:
        taken.append(asked.prompt.row)
        return asked.prompt.row < 5

    helped = Bench(script(), one_by_one, spending=spending_of(10), takes_over=take_early).run(7)
    assert helped.statuses() == {0: "ok", 1: "ok", 2: "ok"}
    assert (taken, list(helped.left), helped.fed) == ([3, 4, 5], [3, 4, 5], [0, 1, 2, 3, 4, 5])
    assert len(helped.said) == 1, "row 5 was not taken over"


def test_a_row_that_is_let_go_between_two_attempts_is_left_with_the_first() -> None:
    bench = Bench(script(TRANSIENT), spending=spending_of(5), takes_over=lambda asked: True).run(1)
    assert (bench.settled, bench.said, bench.lane.stopped) == ({}, [], None)
    assert bench.left[0].attempts == 1


def test_money_that_another_lane_gives_back_is_used_at_that_moment() -> None:
    """$4 may be out at a time: the second row leaves as the first one's answer comes, and not a tick later."""
    budget = Budget(Decimal(7), Account(Decimal(0), Ledger(), lambda ledger: None))
    spending = Spending(budget, "strong", lambda usage: Decimal(3))
    first, second = (Bench(script(), spending=spending, latency_s=latency_s) for latency_s in (5.0, 1.0))

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for bench in (first, second):
                group.create_task(bench._run(range(1), None))
                await asyncio.sleep(0.1)

    run_virtually(work())
    assert (first.statuses(), second.statuses()) == ({0: "ok"}, {0: "ok"})
    assert second.asked[0][0] == pytest.approx(5.0, abs=1e-3)


# --- slots and leases


def test_a_request_keeps_its_slot_until_its_end_is_on_file() -> None:
    bench = Bench(script(TRANSIENT), replace(LIMITS, max_concurrency=1))
    taken: list[int] = []
    settle = bench.settle

    def settle_and_look(asked: Request, outcome: Outcome) -> None:
        taken.append(bench.allowance.in_flight)
        settle(asked, outcome)

    bench.settle = settle_and_look  # type: ignore[method-assign]
    bench.run(5)
    assert taken == [1] * 5
    assert bench.allowance.in_flight == 0


def test_limits_may_be_taken_back_and_given_again_while_a_lane_runs() -> None:
    async def lease(bench: Bench) -> None:
        await asyncio.sleep(10.5)
        bench.allowance.set(EndpointLimits(1))
        await asyncio.sleep(10)
        bench.allowance.set(EndpointLimits(4))

    bench = Bench(lambda row, attempt: OK).run(100, lease)
    per_second = Counter(math.floor(at) for at, _ in bench.asked)
    assert [per_second[second] for second in (5, 15, 25)] == [4, 1, 4]
    assert bench.statuses() == dict.fromkeys(range(100), "ok")


def test_a_speed_that_is_taken_back_holds_from_the_next_request_on() -> None:
    async def lease(bench: Bench) -> None:
        await asyncio.sleep(10.5)
        bench.allowance.set(EndpointLimits(64, requests_per_minute=60))

    bench = Bench(lambda row, attempt: OK, replace(LIMITS, max_concurrency=64, requests_per_minute=600))
    bench.run(140, lease)
    before, after = (sum(start <= at < start + 5 for at, _ in bench.asked) for start in (5, 15))
    assert 45 <= before <= 52
    assert 4 <= after <= 6


@settings(max_examples=100)
@given(
    latencies=st.lists(st.floats(0.01, 3), min_size=1, max_size=40),
    leases=st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 6)), max_size=6),
)
def test_however_limits_change_no_more_is_sent_than_was_allowed_when_it_was_sent(
    latencies: list[float], leases: list[tuple[float, int]]
) -> None:
    async def lease(bench: Bench) -> None:
        for wait_s, slots in [*leases, (0.1, 3)]:
            await asyncio.sleep(wait_s)
            bench.allowance.set(EndpointLimits(slots))

    bench = Bench(lambda row, attempt: OK, replace(LIMITS, max_concurrency=3))
    over: list[int] = []
    send = bench._send

    async def watched(asked: Request) -> Answer:
        bench.latency_s = latencies[asked.prompt.row]
        if bench.in_flight + 1 > bench.allowance._limits.max_concurrency:
            over.append(asked.prompt.row)
        return await send(asked)

    bench._send = watched  # type: ignore[method-assign]
    bench.run(len(latencies), lease)
    assert over == []
    assert bench.statuses() == dict.fromkeys(range(len(latencies)), "ok")
