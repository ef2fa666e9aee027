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


def open_live_budget(limit: Decimal, state: Path) -> Budget:
    """limits.max_cost_usd over all that a server's live requests cost, over all its runs on one state directory.

    A run's results say what was spent. Here nothing but the ledger does: while the server is at work its ceiling
    covers what is spent, and after a crash all of it counts as spent; the last ledger has no ceiling and holds the
    money spent itself. With a limit of $1 and $0.30 spent, the file says {unconfirmed 0, ceiling 0.302} while the
    server is at work and {unconfirmed 0.30} once it has closed; the next one starts with $0.698 or $0.70 left.
    """
    path = state / "ledger.json"

    def save(ledger: Ledger) -> None:
        if ledger.ceiling is None:
            ledger = Ledger(ledger.unconfirmed + budget.spent)
        with saving(path):
            write_ledger(path, ledger)

    budget = Budget(limit, Decimal(0), read_ledger(path), save)
    return budget
