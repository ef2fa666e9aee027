"""What a lane sends under a lease: nothing outside of it, whatever becomes of renewals."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.lease.held import HeldLease
from batchroute.lease.messages import Grant, LaneGrant
from batchroute.send.allowance import EndpointLimits, Spending
from batchroute.send.budget import Account, Budget
from batchroute.send.classify import Answer
from batchroute.send.lane import Lane
from batchroute.send.leased import LeasedLimits, boot_s
from batchroute.send.request import Request
from batchroute.send.retry import RetryPolicy
from batchroute.store.ledger import Ledger
from batchroute.types import Completion, Prompt, Usage
from virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from batchroute.send.request import Outcome, Spent

OK = Answer(verdict="ok", completion=Completion(response="yes", usage=Usage(prompt_tokens=5, completion_tokens=5)))
WHOLE = EndpointLimits(64, 60_000, None)
TTL_S, PERIOD_S = 6.0, 2.0


def lane_grant(**limits: float | bool | None) -> LaneGrant:
    return LaneGrant(**{"requests_per_minute": 6_000.0, "tokens_per_minute": None, "slots": 4, **limits})  # type: ignore[arg-type]


@dataclass
class Worker:
    """A lane under a lease; its endpoint answers after a second."""

    whole: EndpointLimits = WHOLE
    spending: Spending | None = None
    answer: Answer = OK
    sent: list[tuple[float, int]] = field(default_factory=list)
    settled: dict[int, Outcome] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    asked_to_renew: int = 0
    suspended_s: float = 0.0

    def clock(self) -> float:
        """Goes on while the machine is suspended, unlike that of the event loop."""
        return asyncio.get_running_loop().time() + self.suspended_s

    def begin(self) -> None:
        self.lease = HeldLease()
        self.limits = LeasedLimits("strong", self.lease, self.whole, self.spending, self._renew, self.clock)
        policy = RetryPolicy(max_attempts=2, outage_s=600.0, stop_after_same_refusal=0)
        time = asyncio.get_running_loop().time
        self.lane: Lane[Request] = Lane(
            {"here": self._send}, policy, self.limits, print, most_open=100, clock=time
        )
        self.limits.lane = self.lane

    def _renew(self) -> None:
        self.asked_to_renew += 1

    def renew(self) -> int:
        return self.lease.renews(self.clock())

    def granted(self, number: int, lane: LaneGrant, ceiling_usd: Decimal | None = None) -> bool:
        taken = self.lease.take(Grant(1, number, TTL_S, PERIOD_S, {"strong": lane}, ceiling_usd))
        if taken:
            if self.spending is not None and ceiling_usd is not None:
                self.spending.budget.set_limit(ceiling_usd)
            self.limits.granted(asyncio.get_running_loop().time())
        return taken

    def grant(self, **limits: float | bool | None) -> None:
        """A renewal that is answered at once."""
        assert self.granted(self.renew(), lane_grant(**limits))

    async def _send(self, request: Request) -> Answer:
        if not await self.limits.sendable():
            return Answer(verdict="transient", unsent=True)
        self.sent.append((self.clock(), request.prompt.row))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(1.0)
        self.in_flight -= 1
        return self.answer

    async def deliver(self, rows: Iterable[int], tokens: int = 10, most_usd: str = "0") -> None:
        async def requests() -> AsyncGenerator[Request, None]:
            for row in rows:
                prompt = Prompt(file="in.jsonl", row=row, id=None, messages=b"[]")
                yield Request(prompt, b"{}", tokens, 0.5, "score", most_usd=Decimal(most_usd), shard=3)

        await self.lane.deliver(requests(), self)

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.settled[request.prompt.row] = outcome

    def leave(self, request: Request, spent: Spent) -> None:
        self.left.append(request.prompt.row)


def run(worker: Worker, rows: int, meanwhile: Callable[[], object], **needs: object) -> Worker:
    async def work() -> None:
        worker.begin()
        delivering = asyncio.create_task(worker.deliver(range(rows), **needs))  # type: ignore[arg-type]
        await meanwhile()  # type: ignore[misc]
        await asyncio.wait_for(delivering, 600)

    run_virtually(work())
    return worker


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.integers(0, 6)), max_size=12))
def test_nothing_is_sent_outside_a_lease_whatever_becomes_of_its_renewals(
    renewals: list[tuple[bool, float, int]],
) -> None:
    """One is sent each period; it is lost, or its grant comes so many seconds later and is of so many slots."""
    worker = Worker()
    leases: list[tuple[float, float, int]] = []

    async def answered(number: int, sent_at: float, after_s: float, slots: int) -> None:
        await asyncio.sleep(after_s)
        if worker.granted(number, lane_grant(slots=slots)):
            leases.append((worker.clock(), sent_at + TTL_S, slots))

    async def meanwhile() -> None:
        async with asyncio.TaskGroup() as group:
            for lost, after_s, slots in renewals:
                number = worker.renew()
                if not lost:
                    group.create_task(answered(number, worker.clock(), after_s, slots))
                await asyncio.sleep(PERIOD_S)
        worker.grant(slots=4)
        leases.append((worker.clock(), worker.clock() + TTL_S, 4))
        for _ in range(30):
            await asyncio.sleep(PERIOD_S)
            worker.grant(slots=4)
            leases.append((worker.clock(), worker.clock() + TTL_S, 4))

    run(worker, 40, meanwhile)
    for at, _ in worker.sent:
        begun = [lease for lease in leases if lease[0] <= at]
        assert begun
        assert at < begun[-1][1]
    assert sorted(row for _, row in worker.sent) == list(range(40))
    assert worker.settled.keys() == set(range(40))
    assert worker.most_in_flight <= 6


def test_a_machine_that_was_suspended_sends_nothing_on_waking_until_it_has_another_lease() -> None:
    worker = Worker()

    async def meanwhile() -> None:
        worker.grant()
        await asyncio.sleep(3.5)
        worker.suspended_s = 100.0
        woke = worker.clock()
        await asyncio.sleep(5.0)
        assert all(at < woke for at, _ in worker.sent)
        assert len(worker.settled) == len(worker.sent), "what was in flight is recorded"
        worker.grant()
        await asyncio.sleep(5.5)
        worker.grant()

    run(worker, 40, meanwhile)
    assert sorted(row for _, row in worker.sent) == list(range(40))


def test_what_had_its_slot_and_was_not_sent_when_the_lease_ended_is_held_back_or_left() -> None:
    async def work() -> list[bool]:
        worker = Worker()
        worker.begin()
        worker.grant()
        worker.suspended_s = 7.0
        held = [asyncio.create_task(worker.limits.sendable()) for _ in range(2)]
        await asyncio.sleep(1)
        assert not any(each.done() for each in held)
        worker.grant()
        first = await held[0]
        worker.suspended_s = 20.0
        late = asyncio.create_task(worker.limits.sendable())
        await asyncio.sleep(1)
        worker.limits.end()
        return [first, await held[1], await late]

    assert run_virtually(work()) == [True, True, False]


def test_fewer_slots_let_what_is_in_flight_come_back_and_no_speed_or_tokens_send_nothing() -> None:
    worker = Worker()

    async def meanwhile() -> None:
        worker.grant(slots=4)
        await asyncio.sleep(0.5)
        assert worker.limits.use(asyncio.get_running_loop().time()).in_flight == 4
        for nothing in ({"slots": 0}, {"requests_per_minute": 0.0}, {"tokens_per_minute": 0.0}):
            worker.grant(**nothing)
            await asyncio.sleep(2)
            assert len(worker.sent) == 4, nothing
        worker.grant(slots=1)
        await asyncio.sleep(1.5)
        assert len(worker.sent) == 6
        worker.grant(slots=4)
        await asyncio.sleep(5)
        worker.grant(slots=4)

    run(worker, 20, meanwhile)
    assert worker.most_in_flight == 4


def test_nothing_leaves_while_the_lane_rests_for_a_429_of_another_worker() -> None:
    worker = Worker()

    async def meanwhile() -> None:
        worker.grant(rests_s=3.0)
        await asyncio.sleep(2.9)
        assert worker.sent == []
        await asyncio.sleep(0.2)
        assert len(worker.sent) == 4

    run(worker, 4, meanwhile)


def test_the_worker_that_looks_for_the_first_answer_renews_as_soon_as_it_has_it() -> None:
    worker = Worker()

    async def meanwhile() -> None:
        worker.grant(slots=1)
        await asyncio.sleep(0.9)
        assert (len(worker.sent), worker.asked_to_renew) == (1, 0)
        await asyncio.sleep(0.2)
        assert worker.asked_to_renew == 1
        assert worker.limits.use(asyncio.get_running_loop().time()).good == 1
        worker.grant(slots=4, answered=True)
        asked = worker.asked_to_renew
        await asyncio.sleep(3)
        assert (worker.asked_to_renew, worker.limits.answered) == (asked, True)

    run(worker, 9, meanwhile)


def test_a_request_larger_than_the_share_of_tokens_waits_and_says_what_it_wants() -> None:
    worker = Worker(EndpointLimits(64, None, 10_000))

    async def meanwhile() -> None:
        worker.grant(requests_per_minute=None, tokens_per_minute=1_000.0)
        await asyncio.sleep(1)
        assert worker.sent == []
        assert (worker.asked_to_renew, worker.limits.use(1.0).wants_tokens) == (1, 2_000)
        worker.grant(requests_per_minute=None, tokens_per_minute=2_500.0)
        await asyncio.sleep(1)
        assert len(worker.sent) == 1
        assert worker.limits.use(2.0).tokens in {2_000, 10}

    run(worker, 1, meanwhile, tokens=2_000)


def test_a_request_larger_than_the_whole_limit_goes_alone_where_the_share_is_the_whole() -> None:
    worker = Worker(EndpointLimits(64, None, 1_000))

    async def meanwhile() -> None:
        worker.grant(requests_per_minute=None, tokens_per_minute=1_000.0)

    run(worker, 1, meanwhile, tokens=5_000)
    assert len(worker.sent) == 1


@pytest.mark.parametrize("cost", ["0.10", None], ids=["billed", "nobody knows"])
def test_a_row_without_room_under_the_ceiling_gives_its_slack_back_and_waits_for_a_higher_one(
    cost: str | None,
) -> None:
    saved: list[Ledger] = []
    budget = Budget(Decimal(0), step=Decimal("0.5"))
    answer = OK if cost is not None else Answer(verdict="refused", error_type="x", error="no")
    worker = Worker(spending=Spending(budget, "strong", lambda usage: cost and Decimal(cost)), answer=answer)

    async def meanwhile() -> None:
        budget.open(Account(Decimal(7), Ledger(), saved.append), 3, of_limit=False)
        assert worker.granted(worker.renew(), lane_grant(slots=1), Decimal("0.35"))
        await asyncio.sleep(5)
        assert len(worker.sent) == (2 if cost is None else 3)
        assert worker.limits.use(5.0).wants_usd == Decimal("0.12")
        assert saved[-1].ceiling == budget.taken + 7, "no slack is left on disk"
        assert worker.lane.stop_reason is None
        assert worker.granted(worker.renew(), lane_grant(slots=1), Decimal("0.9"))
        await asyncio.sleep(3)
        assert worker.limits.use(8.0).wants_usd == 0

    run(worker, 5, meanwhile, most_usd="0.12")
    assert len(worker.settled) == 5
    assert budget.admitted <= Decimal("0.9")


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system's other clock goes on, too")
def test_the_clock_of_leases_goes_on_while_the_machine_is_suspended() -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before_s <= boot_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_who_waits_for_a_turn_at_a_small_share_has_it_at_once_where_the_share_is_made_larger() -> None:
    """Else it would send next to nothing in a period, and be taken for one that has no use for more."""
    worker = Worker()

    async def renewals() -> None:
        worker.grant(requests_per_minute=8, slots=64)
        await asyncio.sleep(2.0)
        worker.grant(requests_per_minute=600, slots=64)
        await asyncio.sleep(2.0)

    run(worker, 40, renewals)
    assert [at < 2.0 for at, _ in worker.sent].count(True) == 1
    assert sum(at < 4.0 for at, _ in worker.sent) >= 20


def test_a_share_without_speed_stops_who_waits_for_a_turn() -> None:
    worker = Worker()

    async def renewals() -> None:
        worker.grant(requests_per_minute=60, slots=64)
        await asyncio.sleep(1.5)
        worker.grant(requests_per_minute=0, slots=64)
        await asyncio.sleep(4.0)
        assert len(worker.sent) == 2
        worker.grant(requests_per_minute=600, slots=64)

    run(worker, 10, renewals)
    assert len(worker.settled) == 10
