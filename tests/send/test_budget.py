from __future__ import annotations

import contextlib
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import RunFault
from batchroute.send.budget import Account, Budget
from batchroute.store.ledger import Ledger, read_ledger, reconciled, write_ledger

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

cents = st.integers(0, 500).map(lambda n: Decimal(n) / 100)


def fresh(limit: str, spent: str = "0", ledger: Ledger | None = None) -> tuple[Budget, list[Ledger]]:
    saved: list[Ledger] = []
    return Budget(Decimal(limit), Account(Decimal(spent), ledger or Ledger(), saved.append)), saved


STEPS = st.sampled_from(["reserve", "reserve", "spend", "lose", "crash", "close", "raise"])


@given(
    st.lists(st.tuples(STEPS, cents, st.floats(0, 1)), max_size=80),
    st.integers(1, 2000).map(lambda n: Decimal(n) / 100),
)
def test_no_schedule_spends_more_than_the_limit(steps: list[tuple[str, Decimal, float]], limit: Decimal) -> None:
    """Whatever is sent costs at most its reservation.

    A crash forgets all but the results and the ledger, and may tear off the last results; a limit may be raised.
    """
    saved: list[Ledger] = []
    budget = Budget(limit, Account(Decimal(0), Ledger(), saved.append))
    in_flight: list[Decimal] = []
    billed = recorded = last = Decimal(0)
    for step, amount, share in steps:
        if step == "reserve" and budget.reserve(amount):
            assert saved[-1].ceiling is not None
            assert recorded + sum(in_flight) + amount <= saved[-1].ceiling
            in_flight.append(amount)
        elif step == "spend" and in_flight:
            taken = in_flight.pop()
            last = cost = taken * Decimal(share)
            billed, recorded = billed + cost, recorded + cost
            budget.spend(taken, cost)
        elif step == "lose" and in_flight:
            taken = in_flight.pop()
            billed += taken
            budget.lose(taken)
        elif step in {"crash", "close", "raise"}:
            if step == "crash":
                recorded, last = recorded - last, Decimal(0)  # the journal's end is torn
            else:
                budget.close()
                last = Decimal(0)  # sealed
            limit += amount if step == "raise" else 0
            billed += sum(in_flight)
            in_flight = []
            budget = Budget(limit, Account(recorded, saved[-1], saved.append))
        assert billed + sum(in_flight) <= budget.taken + Decimal("1e-20")
        assert budget.taken <= limit
        assert not budget.overshot
        assert budget.idle == (not in_flight)


amounts = st.decimals("0", "9", places=30)  # more digits than a sum keeps, as a share of a share has


@given(st.lists(amounts, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_when_all_reservations_are_settled_nothing_is_left_of_them(
    taken: list[Decimal], any_order: Random
) -> None:
    budget, _ = fresh("1000")
    assert all(map(budget.reserve, taken))
    any_order.shuffle(taken)
    for amount in taken:
        assert not budget.idle
        budget.spend(amount, Decimal(0))
    assert budget.idle
    assert budget.taken == 0


def test_the_ceiling_is_on_disk_before_anything_is_sent_under_it() -> None:
    budget, saved = fresh("10")
    assert saved == [Ledger(Decimal(0), Decimal(0))]
    assert budget.reserve(Decimal(1))
    assert saved[-1].ceiling == Decimal("1.02")
    assert budget.reserve(Decimal("0.01"))
    assert len(saved) == 2, "still under the ceiling: nothing to write"


def test_what_does_not_fit_takes_nothing() -> None:
    budget, _ = fresh("1", spent="0.5")
    assert not budget.reserve(Decimal("0.51"))
    assert budget.reserve(Decimal("0.5"))


def test_what_is_left_is_never_less_than_nothing() -> None:
    """After a crash the whole limit may be taken, and the same costs added up in another order be a hair more."""
    ledger = Ledger(Decimal("2.5"))
    assert Budget(Decimal(10), Account(Decimal("7.4999"), ledger, lambda ledger: None)).left == Decimal("0.0001")
    assert Budget(Decimal(10), Account(Decimal("7.5000000001"), ledger, lambda ledger: None)).left == 0


def test_a_clean_end_leaves_only_the_unconfirmed() -> None:
    budget, saved = fresh("10")
    budget.reserve(Decimal(1))
    budget.reserve(Decimal(2))
    budget.lose(Decimal(1))
    budget.spend(Decimal(2), Decimal("0.5"))
    budget.close()
    assert saved[-1] == Ledger(Decimal(1), None)


def test_after_a_crash_the_open_part_of_the_ceiling_is_unconfirmed() -> None:
    again, _ = fresh("10", spent="3", ledger=Ledger(Decimal("0.5"), Decimal(5)))
    assert again.unconfirmed == Decimal(2)


@pytest.mark.parametrize(
    ("ledger", "spent", "expected"),
    [
        (Ledger(Decimal(1), None), "9", Ledger(Decimal(1), None)),
        (Ledger(Decimal(1), Decimal(5)), "3", Ledger(Decimal(2), None)),
        (Ledger(Decimal(1), Decimal(5)), "4.5", Ledger(Decimal(1), None)),
    ],
)
def test_a_ledger_is_settled_once_its_run_has_ended(ledger: Ledger, spent: str, expected: Ledger) -> None:
    assert reconciled(ledger, Decimal(spent)) == expected
    assert reconciled(expected, Decimal(1000)) == expected, "what others spend later changes nothing"


def test_a_provider_that_bills_more_than_reserved_is_found_out() -> None:
    budget, _ = fresh("1")
    budget.reserve(Decimal(1))
    budget.spend(Decimal(1), Decimal("1.1"))
    assert budget.overshot


class Shards:
    """A run over shards, with their ledgers as a crash leaves them; where `is_full` no ledger can be written."""

    def __init__(self, limit: Decimal, step: Decimal | None) -> None:
        self.limit = limit
        self.step = step
        self.ledgers: dict[int, Ledger] = {}
        self.recorded: defaultdict[int, Decimal] = defaultdict(Decimal)
        self.is_full = False
        self.billed = Decimal(0)
        self.begin()

    def begin(self) -> None:
        self.budget = Budget(self.limit, step=self.step)
        self.in_flight: list[tuple[int, Decimal]] = []
        self.open = set(self.ledgers)
        for shard in self.ledgers:
            self.budget.open(self.account(shard), shard)

    def account(self, shard: int) -> Account:
        def save(ledger: Ledger) -> None:
            if self.is_full:
                raise OSError
            self.ledgers[shard] = ledger
            self.check()

        return Account(self.recorded[shard], self.ledgers.get(shard, Ledger()), save)

    def reserve(self, shard: int, amount: Decimal, *, is_full: bool) -> None:
        if shard not in self.open:
            self.budget.open(self.account(shard), shard)
            self.open.add(shard)
        self.is_full = is_full
        fits = self.budget.fits(amount)
        with contextlib.suppress(OSError):
            assert self.budget.reserve(amount, shard) == fits
            self.in_flight += [(shard, amount)] if fits else []
        self.is_full = False

    def settle(self, share: float | None) -> None:
        """The last request cost so much of what it had reserved; None: nobody knows."""
        shard, taken = self.in_flight.pop()
        if share is None:
            self.billed += taken
            self.budget.lose(taken, shard)
            return
        cost = taken * Decimal(share)
        self.billed += cost
        self.recorded[shard] += cost
        self.budget.spend(taken, cost, shard)

    def end(self, *, killed: bool) -> None:
        self.billed += sum(taken for _, taken in self.in_flight)
        for shard in () if killed else self.open:
            self.budget.close(shard)
        assert self.billed <= self.check() + HAIR
        self.begin()

    def check(self) -> Decimal:
        """What the ledgers admit, as whoever reads them finds it."""
        admitted = sum(
            max(ledger.ceiling or Decimal(0), self.recorded[shard] + ledger.unconfirmed)
            for shard, ledger in self.ledgers.items()
        )
        assert admitted <= self.limit + HAIR
        return Decimal(admitted)


HAIR = Decimal("1e-20")
SHARD_STEPS = st.sampled_from(["reserve"] * 4 + ["spend", "spend", "lose", "close", "kill", "lower", "full"])


@given(
    st.lists(st.tuples(SHARD_STEPS, st.integers(0, 2), cents, st.floats(0, 1)), max_size=80),
    st.integers(1, 2000).map(lambda n: Decimal(n) / 100),
    st.sampled_from([None, Decimal(0), Decimal(3)]),
)
def test_what_the_ledgers_of_all_shards_admit_never_passes_the_limit(
    steps: list[tuple[str, int, Decimal, float]], limit: Decimal, step_usd: Decimal | None
) -> None:
    """At each write of each ledger, and when a kill leaves them as they are; a full disk admits nothing."""
    run = Shards(limit, step_usd)
    for step, shard, amount, share in steps:
        if step in {"reserve", "full"}:
            run.reserve(shard, amount, is_full=step == "full")
        elif step in {"spend", "lose"} and run.in_flight:
            run.settle(share if step == "spend" else None)
        elif step == "lower":
            run.budget.set_limit(max(run.budget.taken, limit - amount))
            run.budget.set_limit(limit)
        elif step in {"close", "kill"}:
            run.end(killed=step == "kill")
        run.check()
        assert run.billed + sum(taken for _, taken in run.in_flight) <= run.budget.taken + HAIR
        assert run.budget.taken <= run.budget.admitted <= limit + HAIR


def test_shards_share_what_is_left_instead_of_taking_it_from_each_other_for_each_request() -> None:
    budget, writes = Budget(Decimal(10)), [0]

    def count(ledger: Ledger) -> None:
        writes[0] += 1

    for shard, spent in enumerate(("4.99", "4.99")):
        budget.open(Account(Decimal(spent), Ledger(), count), shard)
    cost = Decimal("0.00001")
    for row in range(2_000):
        assert budget.reserve(cost, row % 2)
        budget.spend(cost, cost, row % 2)
    assert not budget.fits(cost)
    assert writes[0] < 50


def test_a_limit_on_what_comes_after_has_no_part_of_what_was_taken_before() -> None:
    budget = Budget(Decimal(1))
    saved: list[Ledger] = []
    budget.open(Account(Decimal(7), Ledger(Decimal(1)), saved.append), 3, of_limit=False)
    assert (budget.taken, budget.admitted, budget.left) == (0, 0, 1)
    assert budget.reserve(Decimal("0.5"), 3)
    assert saved[-1].ceiling == Decimal("8.502")
    budget.spend(Decimal("0.5"), Decimal("0.25"), 3)
    budget.close(3)
    assert (budget.taken, saved[-1]) == (Decimal("0.25"), Ledger(Decimal(1)))
    budget.open(Account(Decimal("7.25"), saved[-1], saved.append), 3, of_limit=False)
    assert budget.taken == Decimal("0.25"), "opened again, it counts once"


def test_who_waits_for_money_hears_of_a_new_limit_and_one_below_what_is_admitted_takes_slack_back() -> None:
    budget, saved = fresh("10")
    told: list[Decimal] = []
    budget.watch(lambda: told.append(budget.limit))
    assert budget.reserve(Decimal(1))
    budget.set_limit(Decimal("1.01"))
    assert (told, saved[-1].ceiling) == ([Decimal("1.01")], Decimal(1))
    assert not budget.reserve(Decimal("0.02"))
    budget.set_limit(Decimal(5))
    assert budget.reserve(Decimal("0.02"))
    assert saved[-1].ceiling == Decimal("1.04"), "by steps of the first limit"


def test_the_ledger_survives_on_disk(tmp_path: Path) -> None:
    ledger = Ledger(Decimal("0.123456789"), Decimal(7))
    write_ledger(tmp_path / "ledger.json", ledger)
    assert read_ledger(tmp_path / "ledger.json") == ledger
    assert read_ledger(tmp_path / "none.json") == Ledger()


def test_a_spoilt_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(RunFault, match="budget"):
        read_ledger(tmp_path / "ledger.json")


def test_what_was_billed_beyond_a_reservation_is_on_disk_at_once_and_known_after_a_crash() -> None:
    budget, saved = fresh("10")
    budget.reserve(Decimal(1))
    budget.learn_overbilled("strong", Decimal(3))
    budget.learn_overbilled("strong", Decimal(2))
    assert saved[-1] == Ledger(Decimal(0), saved[1].ceiling, overbilled={"strong": Decimal(3)})
    again, _ = fresh("10", ledger=saved[-1])
    assert (again.overbilled("strong"), again.overbilled("weak")) == (3, 1)
