"""What needs the whole input in one process, and is refused where there are shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.job.rules import undivided

if TYPE_CHECKING:
    from batchroute.job.spec import Job


def refuse_undivided(job: Job) -> None:
    """UsageFault for what cannot be decided shard by shard, with what to do instead."""
    faults = [f"{'.'.join(map(str, loc))}: {what}" for loc, what in undivided(job)]
    if faults:
        raise UsageFault("\n".join(faults))
