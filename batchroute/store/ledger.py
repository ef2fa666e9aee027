"""What a run directory says of money: what is known to be unconfirmed, and what a run at work may spend."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import RunFault
from batchroute.store.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path


class Ledger(msgspec.Struct, frozen=True):
    """What stands on disk: USD known to be unconfirmed, and the ceiling while a run is at work."""

    unconfirmed: Decimal = Decimal(0)
    ceiling: Decimal | None = None


def reconciled(ledger: Ledger, spent: Decimal) -> Ledger:
    """What a ledger says once its run has ended, in order or not; `spent` is what all results cost so far.

    A run that did not close it may have spent anything under its ceiling.
    """
    if ledger.ceiling is None:
        return ledger
    return Ledger(max(ledger.unconfirmed, ledger.ceiling - spent), None)


def read_ledger(path: Path) -> Ledger:
    """What `write_ledger` wrote; an empty one where there is none."""
    if not path.exists():
        return Ledger()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ledger)
    except msgspec.DecodeError as error:
        raise RunFault(f"{path}: not as a run wrote it ({error}); without it the budget cannot be kept") from error


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Whole and durable, or not at all."""
    write_whole(path, msgspec.json.encode(ledger))
