"""The share of a run that one of N equal processes has: `--shard I/N`, with no driver to ask.

Each works on every N-th shard, and uses an N-th of each limit and of the money for as long as it runs, whatever
the others do. So what all of them use together stays within the limits, by division alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.send.allowance import EndpointLimits
from batchroute.store.sharded import Share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Job

_WRITTEN = re.compile(r"(\d{1,6})/(\d{1,6})")
AUTO = "auto"


def parse_share(text: str, environ: Mapping[str, str]) -> Share:
    """ "I/N", or "auto" for what a scheduler has set; UsageFault for anything else."""
    if text == AUTO:
        return _scheduled(environ)
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise UsageFault(f"--shard {text}: must be I/N with 0 <= I < N, such as 0/4, or auto")
    return _share(int(written[1]), int(written[2]), f"--shard {text}")


def _scheduled(environ: Mapping[str, str]) -> Share:
    """As Slurm's arrays and Kubernetes' indexed jobs number their tasks."""
    if "SLURM_ARRAY_TASK_ID" in environ:
        first, step = _number(environ, "SLURM_ARRAY_TASK_MIN", 0), _number(environ, "SLURM_ARRAY_TASK_STEP", 1)
        task, count = _number(environ, "SLURM_ARRAY_TASK_ID"), _number(environ, "SLURM_ARRAY_TASK_COUNT")
        return _share((task - first) // max(step, 1), count, "--shard auto, from SLURM_ARRAY_TASK_ID")
    if "JOB_COMPLETION_INDEX" in environ:
        index, count = _number(environ, "JOB_COMPLETION_INDEX"), _number(environ, "BATCHROUTE_SHARDS")
        return _share(index, count, "--shard auto, from JOB_COMPLETION_INDEX and BATCHROUTE_SHARDS")
    raise UsageFault(
        "--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set; "
        "run it as an array task or an indexed job, or write --shard I/N"
    )


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageFault(f"--shard auto: {name} must be set to a whole number; it is {text!r}")
    return int(text)


def _share(index: int, of: int, where: str) -> Share:
    if not 0 <= index < of:
        raise UsageFault(f"{where}: is number {index} of {of}, but they are counted from 0")
    return Share(index, of)


def is_own(share: Share, shard: int) -> bool:
    """Whether the shard of this number is one that the share has to work on."""
    return shard % share.of == share.index


def share_of(share: Share, limits: EndpointLimits) -> EndpointLimits:
    """What it may use of a lane's limits; the slots of all shares add up to all slots.

    Worked example: of 64 slots and 100 requests a minute the processes 0/3, 1/3 and 2/3 have 22, 21 and 21, and
    each 33.3 a minute.
    """
    slots, requests, tokens = limits.max_concurrency, limits.requests_per_minute, limits.tokens_per_minute
    return EndpointLimits(
        slots // share.of + (share.index < slots % share.of),
        None if requests is None else requests / share.of,
        None if tokens is None else max(1, tokens // share.of),
    )


def refuse_too_many(job: Job, processes: int) -> None:
    """UsageFault where so many processes cannot have one request in flight each."""
    for name, spec in job.endpoints.items():
        if spec.max_concurrency < processes:
            raise UsageFault(
                f"endpoints.{name}.max_concurrency = {spec.max_concurrency} is not enough for {processes} "
                "processes, each of which needs one; raise it, or use fewer"
            )
