"""What embeddings cost, as the journals of a run directory have it: one record for each request to an embedder.

The scores that a request brought stand beside its price; what they are worth is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.store.journal import read_records

if TYPE_CHECKING:
    from batchroute.store.layout import RunLayout

_SCORE_BYTES = 8


class PaidRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record: the bill of a request, and the scores it brought.

    `usd` None: unknown. `digests` are those of the texts one behind the other, `scores` float64 likewise.
    """

    scorer: str
    usd: Decimal | None
    digests: bytes = b""
    scores: bytes = b""

    @property
    def texts(self) -> int:
        """How many it has scores of."""
        return len(self.scores) // _SCORE_BYTES


@dataclass(frozen=True, slots=True)
class Bill:
    """All embeddings of a directory: what is known of their cost, and whether that is all of it."""

    usd: Decimal = Decimal(0)
    complete: bool = True

    def plus(self, usd: Decimal | None) -> Bill:
        return Bill(self.usd + (usd or 0), self.complete and usd is not None)


def read_bill(*layouts: RunLayout) -> Bill:
    """What the embeddings of a run directory cost so far, or of some of its shards, over all its runs."""
    bill = Bill()
    for layout in layouts:
        for record in read_records(layout.paid, PaidRecord):
            bill = bill.plus(record.usd)
    return bill
