"""What a lane holds for its requests, slots and money, comes back whatever becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.allowance import EndpointLimits, Need, OwnLimits, Permit, Spending
from batchroute.send.budget import Account, Budget
from batchroute.send.classify import Answer
from batchroute.send.lane import Lane
from batchroute.store.ledger import Ledger
from test_lane import (
    FATAL,
    LIMITED,
    LIMITS,
    MALFORMED,
    OK,
    REFUSED,
    TRANSIENT,
    Bench,
    LaneLimits,
    replace_answer,
    request,
    spending_of,
)
from virtual_time import run_virtually

if TYPE_CHECKING:
    from batchroute.send.request import Outcome, Request, Spent


async def stop_soon(bench: Bench) -> None:
    await asyncio.sleep(0.5)
    bench.lane.stop()


@pytest.mark.parametrize("excuse", [True, False])
@pytest.mark.parametrize("answer", [MALFORMED, TRANSIENT, LIMITED])
def test_a_last_attempt_that_fails_while_the_lane_stops_holds_nothing(answer: Answer, excuse: bool) -> None:
    spending = spending_of(100)
    limits = replace(LIMITS, max_attempts=1, excuse_outages=excuse)
    bench = Bench(lambda row, attempt: answer, limits, spending=spending).run(4, stop_soon)
    assert (bench.settled, sorted(bench.left)) == ({}, [0, 1, 2, 3])
    assert (bench.allowance.in_flight, spending.budget.reserved) == (0, 0)
    assert spending.budget.spent == (12 if answer is MALFORMED else 0)


class DiskFull(Exception):
    """What a save raises that fails."""


def test_where_the_ledger_cannot_be_saved_nothing_is_taken_and_the_next_one_saves_it_again() -> None:
    full = True
    saved: list[Ledger] = []

    def save(ledger: Ledger) -> None:
        if full and saved:
            raise DiskFull
        saved.append(ledger)

    budget = Budget(Decimal(100), Account(Decimal(0), Ledger(), save))
    allowance = OwnLimits(EndpointLimits(1), Spending(budget, "strong", lambda usage: Decimal(3)))
    for _ in range(2):
        with pytest.raises(DiskFull):
            allowance.take(Need(10, Decimal(4)), 0.0)
        assert (allowance.in_flight, budget.reserved) == (0, 0)
    full = False
    assert allowance.wait_s(Need(10, Decimal(4)), 0.0) == 0
    allowance.take(Need(10, Decimal(4)), 0.0)
    assert saved[-1].ceiling is not None
    assert saved[-1].ceiling >= budget.taken == 4


# --- whatever happens to two lanes that share their money

MOST_USD = 4  # of an attempt, as `Bench` feeds them
AWAY = replace_answer(TRANSIENT, turned_away=True)
BILLED = Answer(verdict="transient", error_type="http_500", error="HTTP 500: oops", completion=OK.completion)
TIMED_OUT = Answer(verdict="refused", error_type="http_400", error="HTTP 400: may be billed")
TURNED_AWAY = replace_answer(REFUSED, turned_away=True)
ANSWERS = [OK] * 8 + [
    MALFORMED,
    TRANSIENT,
    TRANSIENT,
    AWAY,
    BILLED,
    LIMITED,
    REFUSED,
    TIMED_OUT,
    TURNED_AWAY,
    FATAL,
]
MOMENTS = st.floats(0, 40)


@dataclass(frozen=True)
class Plan:
    """What happens to one lane: the answers to each row, the rows from outside and when those callers go away."""

    scripts: list[list[Answer]]
    asks: list[tuple[float, float]]
    leases: list[tuple[float, EndpointLimits]]
    stop_at_s: float | None
    abandon_after_s: float
    latency_s: float
    limits: LaneLimits
    same_refusals: int
    moves: bool


def limits_of(slots: st.SearchStrategy[int]) -> st.SearchStrategy[EndpointLimits]:
    return st.builds(
        EndpointLimits,
        slots,
        st.none() | st.sampled_from([30.0, 600.0]),
        st.none() | st.sampled_from([25, 300]),
    )


PLANS = st.builds(
    Plan,
    scripts=st.lists(st.lists(st.sampled_from(ANSWERS), max_size=6), max_size=15),
    asks=st.lists(st.tuples(MOMENTS, st.floats(0.01, 20)), max_size=4),
    leases=st.lists(st.tuples(st.floats(0.1, 10), limits_of(st.integers(0, 4))), max_size=4),
    stop_at_s=st.none() | MOMENTS,
    abandon_after_s=st.floats(0, 3),
    latency_s=st.sampled_from([0.0, 0.3, 1.0]),
    limits=st.builds(
        LaneLimits, st.integers(1, 4), st.integers(1, 3), st.just(100.0), excuse_outages=st.booleans()
    ),
    same_refusals=st.sampled_from([0, 2, 20]),
    moves=st.booleans(),
)


class Watched(Bench):
    """Counts how often each row ends, and what was taken when it was more than allowed."""

    def __init__(self, plan: Plan, spending: Spending) -> None:
        self.plan = plan
        self.ends: Counter[int] = Counter()
        self.begun: set[int] = set()
        self.too_much: list[tuple[int, Decimal]] = []
        super().__init__(
            self._answer, plan.limits, plan.latency_s, spending, takes_over=lambda request: plan.moves
        )
        take, budget = self.allowance.take, spending.budget

        def watched_take(need: Need, now: float) -> Permit:
            permit = take(need, now)
            if self.allowance.in_flight > self.allowance._limits.max_concurrency or budget.overshot:
                self.too_much.append((self.allowance.in_flight, budget.taken))
            return permit

        self.allowance.take = watched_take  # type: ignore[method-assign]

    def make_lane(self) -> Lane[Request]:
        policy = replace(self.plan.limits.policy, stop_after_same_refusal=self.plan.same_refusals)
        clock = asyncio.get_running_loop().time
        return Lane({"": self._send}, policy, self.allowance, self.said.append, most_open=6, clock=clock)

    def _answer(self, row: int, attempt: int) -> Answer:
        answers = self.plan.scripts[row] if row < 1000 else []
        return answers[attempt - 1] if attempt <= len(answers) else OK

    async def go(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run(range(len(self.plan.scripts)), None))
            await asyncio.sleep(0)
            group.create_task(self._lease())
            group.create_task(self._stop())
            for number, (at_s, patience_s) in enumerate(self.plan.asks):
                group.create_task(self._ask(1000 + number, at_s, patience_s))

    async def _lease(self) -> None:
        for wait_s, limits in [*self.plan.leases, (0.1, self.plan.limits.endpoint)]:
            await asyncio.sleep(wait_s)
            self.allowance.set(limits)

    async def _stop(self) -> None:
        if self.plan.stop_at_s is not None:
            await asyncio.sleep(self.plan.stop_at_s)
            self.lane.stop()
            await asyncio.sleep(self.plan.abandon_after_s)
            self.lane.abandon()

    async def _ask(self, row: int, at_s: float, patience_s: float) -> None:
        await asyncio.sleep(at_s)
        self.fed.append(row)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lane.ask(request(row, most_usd=Decimal(MOST_USD)), self), patience_s)

    def settle(self, asked: Request, outcome: Outcome) -> None:
        if outcome.status != "open":
            self.ends[asked.prompt.row] += 1
        super().settle(asked, outcome)

    def leave(self, asked: Request, spent: Spent) -> None:
        self.ends[asked.prompt.row] += 1
        super().leave(asked, spent)

    @property
    def usages(self) -> int:
        return sum(len(end.usages) for end in (*self.settled.values(), *self.left.values()))


@settings(max_examples=150)
@given(plans=st.tuples(PLANS, PLANS), limit_usd=st.integers(3, 200))
def test_two_lanes_over_one_budget_give_back_all_they_took_and_end_each_request_once(
    plans: tuple[Plan, Plan], limit_usd: int
) -> None:
    spending = spending_of(limit_usd)
    benches = [Watched(plan, spending) for plan in plans]

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for bench in benches:
                group.create_task(bench.go())

    run_virtually(work())
    for bench in benches:
        assert bench.ends == Counter(dict.fromkeys(bench.fed, 1)), "each request that was taken, once"
        assert {row for _, row in bench.asked} <= set(bench.fed)
        assert bench.too_much == []
        assert (bench.allowance.in_flight, bench.lane.in_flight, bench.in_flight) == (0, 0, 0)
        for row, end in [*bench.settled.items(), *bench.left.items()]:
            assert end.attempts == bench.attempts_of(row)
    assert spending.budget.reserved == 0
    assert spending.budget.spent == 3 * sum(bench.usages for bench in benches), "every bill is some request's"
    assert spending.budget.taken <= limit_usd
