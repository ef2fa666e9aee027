"""What live requests and batches share: an endpoint's limits, split between them, and the money of the job."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.job.spec import Job
from batchroute.send.budget import Budget
from batchroute.send.open import asks_for_vectors
from batchroute.store.files import saving
from batchroute.store.ledger import Ledger, read_ledger, write_ledger
from batchroute.types import SIDES

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = ("max_concurrency", "requests_per_minute", "tokens_per_minute")


def split(job: Job, batch_share: float) -> tuple[Job, Job]:
    """(for live requests, for batches): together they have what the job has, and so never break a limit.

    UsageFault where a limit is too small to be split.
    """
    live, batches = (job.model_dump(mode="json", exclude_none=True) for _ in range(2))
    sections: list[tuple[str, str]] = [("endpoints", side) for side in SIDES]
    if asks_for_vectors(job.router):
        sections.append(("router", "embedder"))
    for table, section in sections:
        for name in LIMITS:
            limit = live[table][section].get(name)
            if limit is None:
                continue
            part = max(1, int(limit * batch_share))
            if limit <= part:
                raise UsageFault(
                    f"{table}.{section}.{name}: {limit} cannot be split between requests and batches; raise it, "
                    "or turn batches off with --batch-share 0"
                )
            batches[table][section][name], live[table][section][name] = part, limit - part
    return Job.model_validate(live), Job.model_validate(batches)


class LiveBudget:
    """limits.max_cost_usd over all that a server's live requests cost, over all its runs on one state directory.

    There are no results on disk whose costs add up, so the ledger itself tells what was spent; after a crash all
    that was allowed to be spent counts as spent.
    """

    def __init__(self, limit: Decimal, state: Path) -> None:
        self._path = state / "ledger.json"
        self.budget = Budget(limit, Decimal(0), read_ledger(self._path), self._save)

    def close(self) -> None:
        self.budget.close()
        self._save(Ledger(self.budget.unconfirmed + self.budget.spent))

    def _save(self, ledger: Ledger) -> None:
        with saving(self._path):
            write_ledger(self._path, ledger)
