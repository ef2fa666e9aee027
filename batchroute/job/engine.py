"""The section that says where the work of a run is done.

Knows no processes and no cluster.
"""

from __future__ import annotations

from typing import Literal

from batchroute.job.kinds import Count, CountOrAuto, NotNegative, Positive, SecondsOrAuto, Text
from batchroute.job.section import Section, free

# A shard costs about half a second of CPU to open, as much as 2,000 rows take: fewer rows are not worth one.
LEAST_SHARD_ROWS = 10_000
SHARDS_PER_SENDER = 20  # so that the last shard of each sender is a small part of its work


class EngineSpec(Section):
    """In this process, in several on this machine, or on a running Ray cluster."""

    use: Literal["local", "processes", "ray"] = free(
        "local", "local: this process; processes: several on this machine; ray: a running cluster"
    )
    address: Text = free("auto", "of the Ray cluster; auto: RAY_ADDRESS, else the one on this machine")
    workers: Count | None = free(
        None, "processes that send; by default what the limits can use, at most as many as there are CPUs"
    )
    cpus: Positive = free(1.0, "Ray's CPUs for each worker; may be a fraction")
    memory_mb: Count = free(512, "memory that Ray reserves for each worker")
    gpus: NotNegative = free(1.0, "GPUs for each process that scores; 0: score on CPUs")
    scorers: CountOrAuto = free("auto", "processes that score; auto: one per GPU, else as many as send")
    shard_mb: Positive = free(64.0, "bytes of input a shard is to have, in MB; kept once the input is cut")
    lease_s: SecondsOrAuto = free(
        "auto",
        "how often workers renew what they may use, a third of what that lasts; auto: max(2, workers / 50)",
    )
