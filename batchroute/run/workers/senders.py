"""How many workers a job is run by: as many as it asks for, or can be, and no more than its limits keep busy.

Knows limits, and no workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.lease.limits import LaneLimits, said_of_senders, senders_for
from batchroute.send.open import endpoint_limits

if TYPE_CHECKING:
    from batchroute.job.spec import Job


def lane_limits(job: Job) -> dict[str, LaneLimits]:
    """What all workers share of each endpoint."""
    limits = {name: (endpoint_limits(spec), spec.timeout_s) for name, spec in job.endpoints.items()}
    return {
        name: LaneLimits(each.requests_per_minute, each.tokens_per_minute, each.max_concurrency, timeout_s)
        for name, (each, timeout_s) in limits.items()
    }


def senders(job: Job, most: int) -> int:
    """How many workers send, where there can be `most` if the job names no number."""
    wanted = job.engine.workers or most
    busy = senders_for(lane_limits(job))
    return wanted if busy is None else min(wanted, busy)


def why_fewer_senders(job: Job, most: int) -> str | None:
    """Why there are fewer than the job asks for, or than there can be; None where there are as many."""
    return said_of_senders(lane_limits(job)) if senders(job, most) < (job.engine.workers or most) else None


def scorers(job: Job, most: int, on_gpus: int) -> int:
    """How many workers score before anything is sent, where there are GPUs for `on_gpus` of them, or none."""
    asked = job.engine.scorers
    if asked != "auto":
        return asked
    return on_gpus or min(job.engine.workers or most, most)
