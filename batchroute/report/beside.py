"""What stands on a run's bill beside its rows: the router's own cost, the pilot's, and what is unconfirmed."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.store.layout import RunLayout
from batchroute.store.pilot import read_pilot_bill
from batchroute.store.unconfirmed import read_unconfirmed

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report
    from batchroute.report.read import RunJob


@dataclass(frozen=True, slots=True)
class BesideRows:
    """USD of the whole directory; None is unknown. `pilot` is that of answers that are no row's, and the judge's.

    `judge` is a part of it.
    """

    router: float | None
    pilot: float | None = 0.0
    judge: float | None = 0.0

    @property
    def known(self) -> float:
        return (self.router or 0.0) + (self.pilot or 0.0)


def beside_rows(run: Path, router_usd: float | None) -> BesideRows:
    """What the directory has beside its rows, where the router cost `router_usd`; 0 where there was no pilot."""
    bill = read_pilot_bill(RunLayout(run))
    if not bill.complete:
        return BesideRows(router_usd, None, None)
    return BesideRows(router_usd, float(bill.usd), float(bill.judge_usd))


def router_cost_of(job: RunJob, earlier: Report | None) -> float | None:
    """What embeddings cost over all runs of the directory, as the report that stands there says.

    None: an embedder that sends a bill has been at work, and no report says how much.
    """
    known = None if earlier is None else earlier.router_cost_usd
    return 0.0 if known is None and job.embedder is None else known


def unconfirmed_usd_of(run: Path, spent_usd: float, earlier: Report | None) -> float | None:
    """The ledger says it; without one it is 0, but in a directory of a version that kept none without a limit."""
    found = read_unconfirmed(run, Decimal(spent_usd))
    if found is None:
        return None if earlier is not None and earlier.unconfirmed_usd is None else 0.0
    return None if found.unpriced else float(found.usd)
