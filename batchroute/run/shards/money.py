"""What the shards of a run have taken of its limit, as their files say. Knows no process at work on them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.store.layout import layouts_of
from batchroute.store.ledger import read_ledger, reconciled
from batchroute.store.unconfirmed import spent_in

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.store.layout import RunLayout


def taken_usd(run: Path) -> Decimal:
    """By all shards together: known costs, what is unconfirmed, and what may be spent under a ceiling."""
    return sum(map(taken_by, layouts_of(run)), Decimal(0))


def left_usd(run: Path, limit_usd: Decimal) -> Decimal:
    """What of the limit they have not taken; sums of what rows cost may be a hair above what was once reserved."""
    return max(Decimal(0), limit_usd - taken_usd(run))


def taken_by(shard: RunLayout) -> Decimal:
    """By one shard."""
    ledger, spent_usd = read_ledger(shard.ledger), spent_in(shard)
    return spent_usd + reconciled(ledger, spent_usd).unconfirmed
