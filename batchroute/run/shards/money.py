"""What the shards of a run have taken of its limit, as their files say. Knows no process at work on them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.store.embeddings import read_bill
from batchroute.store.ended import read_done
from batchroute.store.layout import layouts_of
from batchroute.store.ledger import read_ledger, reconciled
from batchroute.store.tally import known_usd
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.store.layout import RunLayout


def taken_usd(run: Path) -> Decimal:
    """By all shards together: known costs, what is unconfirmed, and what may be spent under a ceiling."""
    return sum(map(taken_by, layouts_of(run)), Decimal(0))


def taken_by(shard: RunLayout) -> Decimal:
    """By one shard."""
    ledger, spent = read_ledger(shard.ledger), _rows_usd(shard) + read_bill(shard).usd
    return spent + reconciled(ledger, spent).unconfirmed


def _rows_usd(shard: RunLayout) -> Decimal:
    """What its rows cost; of one that is not done a row that failed and was answered since may count twice."""
    if (done := read_done(shard)) is not None:
        return done.cost_usd
    costs = [pc.sum(pq.read_table(part, columns=["cost_usd"])["cost_usd"]).as_py() for part in shard.parts()]
    sealed = sum((Decimal(repr(usd)) for usd in costs if usd is not None), Decimal(0))
    beside = read_unsealed(shard)
    return sum(map(known_usd, (*beside.settled, *beside.failed, *beside.open)), sealed)
