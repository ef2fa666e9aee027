"""A hard limit on money: nothing is sent unless the most it can cost still fits.

Every attempt reserves its largest possible cost before it leaves and gives back what it did not use. What an
attempt cost that brought no usage is not known, so its reservation stays taken: "unconfirmed". Before anything is
sent under it, a ceiling is on disk, so that after a crash whatever was open under it counts as unconfirmed, too.
Knows amounts in USD; what a request may cost is decided by the caller.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.store.files import saving
from batchroute.store.ledger import Ledger, read_ledger, reconciled, write_ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Of the limit: how far the ceiling is raised at a time, and so about as much as a crash may leave unconfirmed.
STEP = Decimal("0.002")


class Budget:
    """Money of one run directory, over all its runs.

    Invariant, while no provider bills more than was reserved: spent + unconfirmed + reserved <= ceiling <= limit.
    """

    # Worked example, a limit of $10: the first request may cost $0.03, so a ceiling of $0.05 goes to disk before
    # it leaves. It is billed $0.01; the next ones reserve and spend below the ceiling, and nothing more is written
    # until one would pass it. Killed there with $0.02 in results, the run counts the other $0.03 as unconfirmed:
    # more than was out, never less. The next run has $9.95 left.

    def __init__(self, limit: Decimal, spent: Decimal, ledger: Ledger, save: Callable[[Ledger], None]) -> None:
        """`spent` is what all results cost; `save` puts a ledger on disk before it returns."""
        self.limit = limit
        self.spent = spent
        self.unconfirmed = reconciled(ledger, spent).unconfirmed
        self.reserved = Decimal(0)
        self._open = 0  # reservations
        self._save = save
        self._unpriced = ledger.unpriced
        self._overbilled = dict(ledger.overbilled)
        self._watchers: list[Callable[[], None]] = []
        self._ceiling = self.taken
        self._record(self._ceiling)

    @property
    def taken(self) -> Decimal:
        return self.spent + self.unconfirmed + self.reserved

    @property
    def left(self) -> Decimal:
        """What is not taken; sums of what parts cost may be a hair larger than what was once taken for them."""
        return max(Decimal(0), self.limit - self.taken)

    @property
    def idle(self) -> bool:
        """Whether nothing is out whose bill may leave room for something else.

        Counted, as amounts of many digits are rounded when they are summed: a hair that nobody gives back would
        be waited for without end.
        """
        return self._open == 0

    def fits(self, amount: Decimal) -> bool:
        return self.taken + amount <= self.limit

    @property
    def overshot(self) -> bool:
        """Whether a provider billed more than it was allowed to."""
        return self.taken > self.limit

    def reserve(self, amount: Decimal) -> bool:
        """Takes `amount`, or nothing where it does not fit."""
        if not self.fits(amount):
            return False
        wanted = self.taken + amount
        if wanted > self._ceiling:
            ceiling = min(self.limit, wanted + STEP * self.limit)
            self._record(ceiling)
            self._ceiling = ceiling  # only now: where the save fails, nothing may be sent under it
        self.reserved += amount
        self._open += 1
        return True

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` after each reservation that is settled: there may be room again."""
        self._watchers.append(changed)

    def spend(self, amount: Decimal, cost: Decimal) -> None:
        """A reservation of `amount` turned out to cost `cost`."""
        self._give_back(amount)
        self.spent += cost
        self._tell()

    def overbilled(self, name: str) -> Decimal:
        """How many times the most that it should cost an answer of the endpoint may be billed; 1: no more."""
        return self._overbilled.get(name, Decimal(1))

    def learn_overbilled(self, name: str, share: Decimal) -> None:
        """An answer was billed so many times the most it should cost; on disk before the next one is sent."""
        if share > self.overbilled(name):
            self._overbilled[name] = share
            self._record(self._ceiling)

    def lose(self, amount: Decimal) -> None:
        """What became of a reservation is unknown."""
        self._give_back(amount)
        self.unconfirmed += amount
        self._tell()

    def _give_back(self, amount: Decimal) -> None:
        self._open -= 1
        self.reserved = Decimal(0) if self.idle else self.reserved - amount

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()

    def close(self) -> None:
        """Records what is open as unconfirmed, and that the run ended in order."""
        self.unconfirmed += self.reserved
        self.reserved, self._open = Decimal(0), 0
        self._record(None)

    def _record(self, ceiling: Decimal | None) -> None:
        self._save(Ledger(self.unconfirmed, ceiling, self._unpriced, dict(self._overbilled)))


def open_budget(path: Path, limit: Decimal | None, spent: Decimal) -> Budget | None:
    """The budget whose ledger is the file `path`; `spent` is what is known of the directory's bill.

    None where there is no limit; what a dead run left open is then told from what this one will spend.
    """
    ledger = read_ledger(path)

    def save(ledger: Ledger) -> None:
        with saving(path):
            write_ledger(path, ledger)

    if limit is not None:
        return Budget(limit, spent, ledger, save)
    if ledger.ceiling is not None:
        save(reconciled(ledger, spent))
    return None
