"""What a run directory says of money: what is known to be unconfirmed, and what a run at work may spend."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from batchroute.store.files import decoding, write_whole

if TYPE_CHECKING:
    from pathlib import Path


# The ceiling, with numbers. The limit is 10 USD. All results so far cost 4.00, and a request that brought no usage
# left 0.05 unconfirmed. The next one reserves 0.10: that makes 4.15, so before it is sent the run writes a ceiling
# of 4.17 (a step of 0.2 % of the limit above it), and need not write again until 4.17 would be exceeded.
#
#   ended in order  The ledger says what is unconfirmed, 0.05, and no ceiling.
#   killed          The ceiling stands. The results that are on file cost 4.06 by now; what else went out under it
#                   may have cost up to 4.17 - 4.06 = 0.11. So 0.11 is unconfirmed, which has the 0.05 in it, and
#                   10 - 4.06 - 0.11 = 5.83 is left: never more than is true.


class Ledger(msgspec.Struct, frozen=True):
    """What stands on disk: USD known to be unconfirmed, and the ceiling while a run is at work.

    `unpriced` requests are unconfirmed, too, and have no known price. `overbilled` has by endpoint the most that
    an answer was billed in shares of the most it should have cost, where that was more.
    """

    unconfirmed: Decimal = Decimal(0)
    ceiling: Decimal | None = None
    unpriced: int = 0
    overbilled: dict[str, Decimal] = {}


def reconciled(ledger: Ledger, spent: Decimal) -> Ledger:
    """What a ledger says once its run has ended, in order or not; `spent` is what all results cost so far.

    A run that did not close it may have spent anything under its ceiling.
    """
    if ledger.ceiling is None:
        return ledger
    return replace(ledger, unconfirmed=max(ledger.unconfirmed, ledger.ceiling - spent), ceiling=None)


def read_ledger(path: Path) -> Ledger:
    """What `write_ledger` wrote; an empty one where there is none."""
    if not path.exists():
        return Ledger()
    with decoding(path, "without it the budget cannot be kept"):
        return msgspec.json.decode(path.read_bytes(), type=Ledger)


def add_unconfirmed(path: Path, usd: Decimal, unpriced: int) -> None:
    """Adds what a run without a limit has sent and not heard of; no file where that is nothing."""
    if usd or unpriced:
        ledger = read_ledger(path)
        more = ledger.unconfirmed + usd
        write_ledger(path, replace(ledger, unconfirmed=more, unpriced=ledger.unpriced + unpriced))


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Whole and durable, or not at all."""
    write_whole(path, msgspec.json.encode(ledger))
