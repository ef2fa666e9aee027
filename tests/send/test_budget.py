from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import RunFault
from batchroute.send.budget import Budget
from batchroute.store.ledger import Ledger, read_ledger, reconciled, write_ledger

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

cents = st.integers(0, 500).map(lambda n: Decimal(n) / 100)


def fresh(limit: str, spent: str = "0", ledger: Ledger | None = None) -> tuple[Budget, list[Ledger]]:
    saved: list[Ledger] = []
    return Budget(Decimal(limit), Decimal(spent), ledger or Ledger(), saved.append), saved


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
    budget = Budget(limit, Decimal(0), Ledger(), saved.append)
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
            budget = Budget(limit, recorded, saved[-1], saved.append)
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
    assert Budget(Decimal(10), Decimal("7.4999"), ledger, lambda ledger: None).left == Decimal("0.0001")
    assert Budget(Decimal(10), Decimal("7.5000000001"), ledger, lambda ledger: None).left == 0


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
