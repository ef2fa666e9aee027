"""No limit is ever broken, whatever becomes of messages, workers, clocks and drivers; nobody starves.

A machine that hypothesis steers: it loses, delays and doubles messages, kills workers with and without proof, and
replaces the driver. Planted faults show that it would find one.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from batchroute.lease.book import Book
from batchroute.lease.lane import SharedLane
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits, quiet_s, ttl_s
from batchroute.lease.money import SharedMoney
from batchroute.lease.shares import FairShares
from lease_world import LANE, PROMPT, Fate, ModelWorker, World, storm

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.lease.messages import LaneUse

PERIOD_S = 2.0
TIMEOUT_S = 20.0
LEASES_ARE_OVER_S = quiet_s(ttl_s(PERIOD_S))
# Until everything that is in doubt is known: leases over, requests answered, tokens rested.
SETTLED_S = LEASES_ARE_OVER_S + max(TIMEOUT_S, 62.0) + 3 * PERIOD_S

limits = st.builds(
    LaneLimits,
    st.sampled_from([None, 100, 700, 1_200, 3_000, 6_000]),
    st.sampled_from([None, None, 60_000, 300_000]),
    st.sampled_from([1, 4, 7, 40]),
    st.just(TIMEOUT_S),
)
delays = st.lists(st.one_of(st.floats(0, 0.3), st.floats(0, 9)), max_size=2).map(tuple)
fates = st.one_of(st.just(PROMPT), st.builds(Fate, delays))
drifts = st.floats(-5e-4, 5e-4)


class Leases(RuleBasedStateMachine):
    world: World

    @initialize(limits=limits, usd=st.sampled_from([None, Decimal(1)]), count=st.integers(1, 4))
    def begins(self, limits: LaneLimits, usd: Decimal | None, count: int) -> None:
        self.world = World(limits, PERIOD_S, usd)
        for _ in range(count):
            self.world.join()

    def pick(self, data: st.DataObject) -> ModelWorker:
        return data.draw(st.sampled_from([worker for worker in self.world.workers if worker.alive]))

    def has_workers(self) -> bool:
        return any(worker.alive for worker in self.world.workers)

    @precondition(lambda self: sum(worker.alive for worker in self.world.workers) < 6)
    @rule(drift=drifts, offset=st.floats(0, 1e6))
    def joins(self, drift: float, offset: float) -> None:
        self.world.renew(self.world.join(drift, offset))

    @precondition(has_workers)
    @rule(data=st.data(), there=fates, back=fates)
    def renews(self, data: st.DataObject, there: Fate, back: Fate) -> None:
        self.world.renew(self.pick(data), there, back)

    @rule(for_s=st.one_of(st.floats(0.01, 2), st.floats(2, 25)))
    def waits(self, for_s: float) -> None:
        self.world.wait(for_s)

    @precondition(has_workers)
    @rule(data=st.data(), count=st.integers(1, 40))
    def sends(self, data: st.DataObject, count: int) -> None:
        self.world.send(self.pick(data), count)

    @precondition(has_workers)
    @rule(data=st.data(), good=st.booleans())
    def is_answered(self, data: st.DataObject, good: bool) -> None:
        self.world.answer(self.pick(data), good=good)

    @precondition(has_workers)
    @rule(data=st.data(), share=st.decimals("0.01", 1, places=2), wants=st.sampled_from(["0", "0.05", "0.9"]))
    def spends(self, data: st.DataObject, share: Decimal, wants: str) -> None:
        worker = self.pick(data)
        worker.wants = Decimal(wants)
        self.world.spend(worker, share)

    @precondition(has_workers)
    @rule(data=st.data(), waiting=st.booleans())
    def has_rows(self, data: st.DataObject, waiting: bool) -> None:
        self.pick(data).waiting = waiting

    @precondition(has_workers)
    @rule(data=st.data(), known=st.booleans())
    def crashes(self, data: st.DataObject, known: bool) -> None:
        self.world.crash(self.pick(data), known=known)

    @rule()
    def driver_is_replaced(self) -> None:
        self.world.open_driver(in_order=False)

    @rule()
    def driver_begins_anew(self) -> None:
        self.world.open_driver(in_order=True)
        self.world.join()

    @precondition(has_workers)
    @rule()
    def all_is_well_for_a_while(self) -> None:
        world = self.world
        world.calm(SETTLED_S)
        alive = [worker for worker in world.workers if worker.alive]
        short = [worker for worker in alive if worker.waiting]
        is_spent_up = world.limiter.lanes[LANE].found.stop is not None  # lost workers may have taken it
        if not short or is_spent_up or world.limits.requests_per_minute is None:
            return
        speeds = {worker.name: worker.may(world.now).requests_per_minute or 0 for worker in alive}
        if len(alive) <= (world.limits.seats or len(alive)):
            assert all(speeds[worker.name] > 0 for worker in short), f"starved: {speeds}"
        assert sum(speeds[worker.name] for worker in short) >= 0.97 * world.limits.requests_per_minute * (
            1 - 0.02 * (len(alive) - len(short))
        ), f"unused: {speeds}"


def explored(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Leases,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=(Phase.reuse, Phase.generate, Phase.shrink),  # to explain a failure takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_limit_is_ever_broken() -> None:
    explored(8, 20)


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_no_limit_is_ever_broken_in_many_more_worlds() -> None:
    explored(100, 40)


# --- planted faults: each is a rule left out, which the machine must miss


def _shrinks_at_once(book: Book, worker: str, wanted: float, limit: float) -> float:
    """A smaller share counts as soon as it is granted, not when the worker says so."""
    held = book.of(worker)
    granted = min(wanted, held + max(0.0, limit - book.total))
    book._set(worker, granted)
    return granted


def _frees_at_once(lane: SharedLane, worker: str, now: float) -> None:
    """What a worker had in flight when its lease ended is forgotten."""
    lane.died(worker, now)


def _is_never_quiet(limiter: Limiter, *args: object, **settings: object) -> None:
    """A new driver grants at once what the last one granted."""
    opened(limiter, *args, **settings | {"quiet_s": 0.0})


def _lets_tokens_go(book: Book, worker: str, amount: float, now: float) -> None:
    """Tokens that change hands do not rest."""
    book.free(worker, min(amount, book.of(worker)), now, 0.0)


def _forgets_ceilings(money: SharedMoney, worker: str) -> None:
    """What a worker that is gone may have taken is free."""
    if (account := money._accounts.pop(worker, None)) is not None:
        money._count(account, -1)


def _lets_all_begin(lane: SharedLane, worker: str, use: LaneUse) -> float:
    """Nobody waits for the first answer."""
    lane.found.answered = True
    return granted_slots(lane, worker, use)


opened = Limiter.__init__
granted_slots = SharedLane._granted_slots


CASES = [
    LaneLimits(rpm, tpm, slots, TIMEOUT_S)
    for rpm, tpm, slots in [
        (3_000, None, 40),
        (1_200, 60_000, 4),
        (100, None, 7),
        (None, 300_000, 7),
        (None, None, 1),
        (6_000, None, 40),
    ]
]


def stormy(seeds: range) -> None:
    """As many storms, each in a world of other limits; without hypothesis there is time for more of them."""
    for seed in seeds:
        rng = random.Random(seed)  # noqa: S311 - not a secret
        storm(World(rng.choice(CASES), PERIOD_S, rng.choice([None, Decimal(1)])), rng, steps=150)


def test_no_storm_breaks_a_limit() -> None:
    stormy(range(40))


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_no_storm_of_thousands_breaks_a_limit() -> None:
    stormy(range(40, 600))


@pytest.mark.parametrize(
    ("owner", "rule", "fault", "found"),
    [
        (Book, "grant", _shrinks_at_once, "I[1358]: |hold the one seat"),
        (SharedLane, "lost", _frees_at_once, "I5: "),
        (Limiter, "__init__", _is_never_quiet, "I[1568]: |hold the one seat"),
        (Book, "said", _lets_tokens_go, "I8: "),
        (SharedMoney, "left", _forgets_ceilings, "I6: "),
        (SharedLane, "_granted_slots", _lets_all_begin, "I9: "),
    ],
)
def test_a_rule_that_is_left_out_is_found(
    owner: type, rule: str, fault: Callable[..., object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, rule, fault)
    with pytest.raises(AssertionError, match=found):
        stormy(range(40))


# --- nobody starves


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=6, unique=True),
    st.sampled_from([600, 3_600, 6_000, 60_000]),
)
@settings(deadline=None, max_examples=60)
def test_who_asks_has_a_share_within_two_periods(joins: list[float], rpm: int) -> None:
    world = World(LaneLimits(rpm, None, 60), PERIOD_S)
    asked = {world.join(): at for at in sorted(joins)[: world.limits.seats]}
    known_at = min(joins) + PERIOD_S  # that the lane answers
    turns = [(at + turn * PERIOD_S, worker) for worker, at in asked.items() for turn in range(20)]
    for now, worker in sorted(((at, worker) for at, worker in turns if at < 40), key=lambda turn: turn[0]):
        world.wait(now - world.now)
        world.send(worker, 1)
        while worker.in_flight:
            world.answer(worker, good=True)
        world.renew(worker)
        if now >= max(asked[worker], known_at) + 2 * PERIOD_S:
            assert worker.may(now).requests_per_minute, f"asked at {asked[worker]}, has nothing at {now}"
    speeds = [worker.may(world.now).requests_per_minute or 0 for worker in asked]
    assert sum(speeds) >= 0.97 * rpm


def _counts_holders_only(shares: FairShares, worker: str, need: float, limit: float) -> float:
    """An allocator that lets whoever has something keep it: first come, first served."""
    return limit


def test_an_allocator_that_counts_only_holders_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FairShares, "target", _counts_holders_only)
    world = World(LaneLimits(6_000, None, 40), PERIOD_S)
    workers = [world.join(), world.join()]
    world.calm(60.0)
    assert [bool(worker.may(world.now).requests_per_minute) for worker in workers] == [True, False]
