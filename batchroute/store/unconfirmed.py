"""Money that may have gone out and is on no row's bill: what the ledgers of a run directory say, over all shards.

Only looks; whoever opens a directory or a shard to go on reconciles its ledger (store/ledger, send/budget).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from batchroute.store.embeddings import read_bill
from batchroute.store.ended import read_done
from batchroute.store.layout import layouts_of
from batchroute.store.ledger import Ledger, read_ledger, reconciled
from batchroute.store.rows import DoneRows
from batchroute.store.tally import TALLIED, Tally, known_usd
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.store.layout import RunLayout


@dataclass(frozen=True, slots=True)
class UnconfirmedSum:
    """USD that may have been spent; `unpriced` requests may have been billed, too, and have no known price."""

    usd: Decimal = Decimal(0)
    unpriced: int = 0


def read_unconfirmed(run: Path, spent_usd: Decimal) -> UnconfirmedSum | None:
    """Of a directory whose rows and embeddings cost `spent_usd`; None where there is no ledger at all."""
    ledgers = [(layout, read_ledger(layout.ledger)) for layout in layouts_of(run) if layout.ledger.exists()]
    if not ledgers:
        return None
    settled = [_settled(layout, ledger, spent_usd) for layout, ledger in ledgers]
    usd = sum((ledger.unconfirmed for ledger in settled), Decimal(0))
    return UnconfirmedSum(usd, sum(ledger.unpriced for ledger in settled))


def _settled(layout: RunLayout, ledger: Ledger, spent_usd: Decimal) -> Ledger:
    """What a shard has spent is only counted where its ceiling stands, as a process died or is at work there."""
    if ledger.ceiling is None or layout.shard is None:
        return reconciled(ledger, spent_usd)
    return reconciled(ledger, spent_in(layout))


def spent_in(shard: RunLayout) -> Decimal:
    """What the rows of one shard, and its embeddings, cost so far."""
    embeddings_usd = read_bill(shard).usd
    if (ended := read_done(shard)) is not None:
        return ended.cost_usd + embeddings_usd
    beside = read_unsealed(shard)
    tally, done = Tally(), DoneRows()
    for part in beside.parts:
        with pq.ParquetFile(part) as file:
            table = file.read(["file", "row", *TALLIED])
        tally.add_part(table)
        for name in table["file"].unique().to_pylist():  # a shard lies in one file
            done.add(name, table["row"].to_numpy())
    loose = [*beside.settled, *beside.failed, *beside.open]
    left = [each for each in loose if not done.mask(each.file, np.array([each.row]))[0]]
    return sum(map(known_usd, left), tally.cost_usd) + embeddings_usd
