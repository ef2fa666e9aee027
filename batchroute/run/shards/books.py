"""The shards that a process has open, as files and as money, and what it has done over all of them.

Opens a shard for the engine and closes it, each with an account in the budget. Knows no lanes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.send.budget import open_account, reconcile
from batchroute.store.embeddings import read_bill
from batchroute.store.ledger import add_unconfirmed
from batchroute.store.tally import Tally

if TYPE_CHECKING:
    from batchroute.input.cut import Shard
    from batchroute.run.progress import Progress
    from batchroute.run.unconfirmed import Unconfirmed
    from batchroute.send.budget import Budget
    from batchroute.store.directory import RunDirectory
    from batchroute.store.sharded import ShardedDirectory


@dataclass(slots=True)
class Closed:
    """The rows of all shards that a process has closed."""

    failed: int = 0
    rows_usd: Decimal = Decimal(0)
    embeddings_usd: Decimal = Decimal(0)
    tally: Tally = field(default_factory=Tally)


class Books:
    """Of one process. Belongs to its event loop."""

    def __init__(
        self,
        directory: ShardedDirectory,
        budget: Budget | None,
        unconfirmed: Unconfirmed,
        progress: Progress,
    ) -> None:
        self.closed = Closed()
        self.found: dict[int, int] = {}  # of open shards, the rows that were done when they were opened
        self._directory = directory
        self._budget = budget
        self._unconfirmed = unconfirmed
        self._progress = progress
        self._turn = asyncio.Lock()  # the directory is for one thread at a time
        self._open: dict[int, RunDirectory] = {}
        self._bills: dict[int, Decimal] = {}  # for embeddings, when it was opened

    @property
    def has_budget(self) -> bool:
        return self._budget is not None

    def records(self, shard: int) -> int:
        """Rows of a shard on file, in whatever state; 0 where it is not open."""
        directory = self._open.get(shard)
        return 0 if directory is None else directory.store.tally.done + len(directory.store.unsettled)

    @property
    def tally(self) -> Tally:
        """The done rows of all shards that it has, or had, open."""
        return Tally.sum_of([self.closed.tally, *(each.store.tally for each in self._open.values())])

    @property
    def rows_usd(self) -> Decimal:
        return self.closed.rows_usd + sum((each.spent_usd for each in self._open.values()), Decimal(0))

    @property
    def embeddings_usd(self) -> Decimal:
        return self.closed.embeddings_usd + sum(self._bills.values(), Decimal(0))

    async def open(self, shard: Shard) -> RunDirectory:
        """ShardTaken, PoisonShard where it cannot be worked on."""
        async with self._turn:
            directory = await asyncio.to_thread(self._directory.open, shard)
        self._bills[shard.number] = bill_usd = read_bill(directory.layout).usd
        ledger, spent_usd = directory.layout.ledger, directory.spent_usd + bill_usd
        if self._budget is None:
            reconcile(ledger, spent_usd)
        else:
            self._budget.open(open_account(ledger, spent_usd), shard.number, of_limit=False)
        self._open[shard.number] = directory
        self.found[shard.number] = directory.store.tally.done
        self._progress.done_before += directory.store.tally.done
        return directory

    async def close(self, directory: RunDirectory, *, rows: int | None) -> None:
        """Everything of it on file; `rows`: each of so many has ended, None: some are left."""
        number = directory.layout.shard or 0
        if self._budget is not None:
            self._budget.close(number)
        else:
            usd, unpriced = self._unconfirmed.take()
            add_unconfirmed(directory.layout.ledger, usd, unpriced)
        closed, store = self.closed, directory.store
        closed.failed += len(store.failed())
        closed.rows_usd += directory.spent_usd
        closed.tally = Tally.sum_of([closed.tally, store.tally])
        closed.embeddings_usd += read_bill(directory.layout).usd
        del self._open[number], self._bills[number], self.found[number]
        async with self._turn:
            await asyncio.to_thread(self._directory.close, directory, rows=rows)

    def abandon(self) -> None:
        """Leaves journals as they are: the process ends because it can no longer save."""
        for directory in self._open.values():
            directory.close()
