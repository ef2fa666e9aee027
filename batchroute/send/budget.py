"""A hard limit on money: nothing is sent unless the most it can cost still fits.

Every attempt reserves its largest possible cost before it leaves and gives back what it did not use. What an
attempt cost that brought no usage is not known, so its reservation stays taken: "unconfirmed". Before anything is
sent under it, a ceiling is on disk, so that after a crash whatever was open under it counts as unconfirmed, too.
A run that is cut into shards has an account for each that is open, with a ledger of its own, all under one limit.
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

# Of the limit: how far a ceiling is raised at a time, and so about as much as a crash may leave unconfirmed.
STEP = Decimal("0.002")
NOTHING = Decimal(0)


class Account:
    """Money of one ledger, the run's or a shard's, over all its runs.

    Invariant, while no provider bills more than was reserved: spent + unconfirmed + reserved <= ceiling.
    """

    __slots__ = ("_save", "_unpriced", "ceiling", "open", "overbilled", "reserved", "spent", "unconfirmed")

    def __init__(self, spent: Decimal, ledger: Ledger, save: Callable[[Ledger], None]) -> None:
        """`spent` is what all its results cost; `save` puts a ledger on disk before it returns."""
        self.spent = spent
        self.unconfirmed = reconciled(ledger, spent).unconfirmed
        self.reserved = NOTHING
        self.open = 0  # reservations
        self.ceiling = self.taken  # on disk
        self.overbilled = dict(ledger.overbilled)
        self._unpriced = ledger.unpriced
        self._save = save

    @property
    def taken(self) -> Decimal:
        return self.spent + self.unconfirmed + self.reserved

    @property
    def admitted(self) -> Decimal:
        """How much may be taken, by what stands on disk."""
        return max(self.ceiling, self.taken)

    def give_back(self, amount: Decimal) -> None:
        self.open -= 1
        self.reserved = self.reserved - amount if self.open else NOTHING

    def close(self) -> None:
        """What is open is unconfirmed; its run ended in order."""
        self.unconfirmed += self.reserved
        self.reserved, self.open = NOTHING, 0
        self.record(None)

    def record(self, ceiling: Decimal | None) -> None:
        self._save(Ledger(self.unconfirmed, ceiling, self._unpriced, dict(self.overbilled)))
        # Only now: where the save fails, nothing may be sent under it.
        self.ceiling = self.taken if ceiling is None else ceiling


class Budget:
    """One limit over the money of accounts, each known by its shard; 0 is the one of a run without shards.

    Invariant, while no provider bills more than was reserved: what the ledgers on disk admit, of each its ceiling
    or else what is spent and unconfirmed, adds up to no more than the limit.
    """

    # Worked example, a limit of $10: the first request may cost $0.03, so a ceiling of $0.05 goes to disk before
    # it leaves. It is billed $0.01; the next ones reserve and spend below the ceiling, and nothing more is written
    # until one would pass it. Killed there with $0.02 in results, the run counts the other $0.03 as unconfirmed:
    # more than was out, never less. The next run has $9.95 left.
    #
    # Two shards, $9.98 taken: the ceiling of shard 4 is $0.02 above what it took, that of shard 5 is what it took.
    # A request of shard 5 may cost $0.01, which fits, but $10.00 are admitted already. $0.01 will be free, and
    # each shard gets half of it: first shard 4 writes a ceiling $0.005 above what it took, then shard 5 one that
    # is $0.015 above. Killed between the two, less than the limit is admitted, never more.

    def __init__(self, limit: Decimal, account: Account | None = None, step: Decimal | None = None) -> None:
        """`account` is the one of a run without shards; by `step` a ceiling is raised at a time."""
        self.limit = limit
        self._step = STEP * limit if step is None else step
        self._accounts: dict[int, Account] = {}
        self._closed_spent = self._closed_unconfirmed = NOTHING
        self._not_of_limit = NOTHING  # what accounts had taken before, where the limit is about what comes after
        self._overbilled: dict[str, Decimal] = {}
        self._watchers: list[Callable[[], None]] = []
        if account is not None:
            self.open(account)

    def open(self, account: Account, shard: int = 0, *, of_limit: bool = True) -> None:
        """Money is taken from this account from now on, for requests of its shard.

        `of_limit`: what it has taken already is under the limit, too.
        """
        account.record(account.taken)
        for name, share in account.overbilled.items():
            self._overbilled[name] = max(share, self.overbilled(name))
        if not of_limit:
            self._not_of_limit += account.taken
        self._accounts[shard] = account

    def close(self, shard: int = 0) -> None:
        """Records what is open in an account as unconfirmed, and that it is closed in order."""
        account = self._accounts[shard]
        account.close()
        del self._accounts[shard]
        self._closed_spent += account.spent
        self._closed_unconfirmed += account.unconfirmed

    def set_limit(self, limit: Decimal) -> None:
        """From now on; below what is admitted it takes back what is not taken."""
        self.limit = limit
        if self.admitted > limit:
            self.give_slack_back()
        self._tell()

    def give_slack_back(self) -> None:
        """Nothing is admitted beyond what is taken; the next reservation writes a ceiling again."""
        for account in self._accounts.values():
            self._lower(account, account.taken)

    @property
    def spent(self) -> Decimal:
        return sum((account.spent for account in self._accounts.values()), self._closed_spent)

    @property
    def unconfirmed(self) -> Decimal:
        return sum((account.unconfirmed for account in self._accounts.values()), self._closed_unconfirmed)

    @property
    def reserved(self) -> Decimal:
        return sum((account.reserved for account in self._accounts.values()), NOTHING)

    @property
    def taken(self) -> Decimal:
        """Of the limit."""
        closed = self._closed_spent + self._closed_unconfirmed - self._not_of_limit
        return sum((account.taken for account in self._accounts.values()), closed)

    @property
    def admitted(self) -> Decimal:
        """How much of the limit may be taken, by what stands on disk."""
        closed = self._closed_spent + self._closed_unconfirmed - self._not_of_limit
        return sum((account.admitted for account in self._accounts.values()), closed)

    @property
    def left(self) -> Decimal:
        """What is not taken; sums of what parts cost may be a hair larger than what was once taken for them."""
        return max(NOTHING, self.limit - self.taken)

    @property
    def idle(self) -> bool:
        """Whether nothing is out whose bill may leave room for something else.

        Counted, as amounts of many digits are rounded when they are summed: a hair that nobody gives back would
        be waited for without end.
        """
        return not any(account.open for account in self._accounts.values())

    def fits(self, amount: Decimal) -> bool:
        return self.taken + amount <= self.limit

    @property
    def overshot(self) -> bool:
        """Whether a provider billed more than it was allowed to."""
        return self.taken > self.limit

    def reserve(self, amount: Decimal, shard: int = 0) -> bool:
        """Takes `amount`, or nothing where it does not fit."""
        if not self.fits(amount):
            return False
        account = self._accounts[shard]
        if account.taken + amount > account.ceiling:
            self._raise_ceiling(account, account.taken + amount)
        account.reserved += amount
        account.open += 1
        return True

    def _raise_ceiling(self, account: Account, wanted: Decimal) -> None:
        """Puts a ceiling of `wanted` on disk, and a step more where there is room for it.

        Where there is none for `wanted` itself, all accounts share what will be free: each shrinks before this one
        grows. Shares, because one that took all would have to give it back for the next request of another.
        """
        room = self.limit - (self.admitted - account.admitted)
        if room < wanted:
            share = (self.left - (wanted - account.taken)) / len(self._accounts)
            for other in self._accounts.values():
                if other is not account:
                    self._lower(other, other.taken + share)
            room = wanted + share
        account.record(max(wanted, min(room, wanted + self._step)))

    def _lower(self, account: Account, ceiling: Decimal) -> None:
        if ceiling < account.ceiling:
            account.record(ceiling)

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` after each reservation that is settled and each new limit: there may be room again."""
        self._watchers.append(changed)

    def spend(self, amount: Decimal, cost: Decimal, shard: int = 0) -> None:
        """A reservation of `amount` turned out to cost `cost`."""
        account = self._accounts[shard]
        account.give_back(amount)
        account.spent += cost
        self._tell()

    def lose(self, amount: Decimal, shard: int = 0) -> None:
        """What became of a reservation is unknown."""
        account = self._accounts[shard]
        account.give_back(amount)
        account.unconfirmed += amount
        self._tell()

    def overbilled(self, name: str) -> Decimal:
        """How many times the most that it should cost an answer of the endpoint may be billed; 1: no more."""
        return self._overbilled.get(name, Decimal(1))

    def learn_overbilled(self, name: str, share: Decimal, shard: int = 0) -> None:
        """An answer was billed so many times the most it should cost; on disk before the next one is sent."""
        if share > self.overbilled(name):
            self._overbilled[name] = share
            account = self._accounts[shard]
            account.overbilled[name] = share
            account.record(account.ceiling)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()


def open_account(path: Path, spent: Decimal) -> Account:
    """The account whose ledger is the file `path`; `spent` is what is known of its bill."""

    def save(ledger: Ledger) -> None:
        with saving(path):
            write_ledger(path, ledger)

    return Account(spent, read_ledger(path), save)


def reconcile(path: Path, spent: Decimal) -> None:
    """Where there is no limit now: what a dead run left open under its own is told from what this one spends."""
    ledger = read_ledger(path)
    if ledger.ceiling is not None:
        with saving(path):
            write_ledger(path, reconciled(ledger, spent))


def open_budget(path: Path, limit: Decimal | None, spent: Decimal) -> Budget | None:
    """The budget of a run whose one ledger is the file `path`; None where there is no limit."""
    if limit is None:
        reconcile(path, spent)
        return None
    return Budget(limit, open_account(path, spent))
