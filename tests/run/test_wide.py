"""Ten thousand requests in flight for two minutes: memory and tasks stay where they are, and the end is clean."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.dataset as ds
import pytest

from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from inputs import lines
from jobs import job_of
from servers import simulator_process

if TYPE_CHECKING:
    from batchroute.run.progress import Progress

WIDE = 10_000
LATENCY_S = 5.0
FOR_S = 120
FULL_AFTER_S = 40
ROWS = 400_000
MIB = 1 << 20
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@dataclass(frozen=True)
class Sample:
    rss_mib: float
    tasks: int
    in_flight: int


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.skipif(FILES < WIDE + 1000, reason="may not open so many files")
def test_ten_thousand_requests_in_flight_for_two_minutes(tmp_path: Path) -> None:
    """Time runs out before the rows do; what was answered by then is there, and nothing else was asked."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"{'x' * (900 * (row % 2))} {row}"} for row in range(ROWS)))
    samples: list[Sample] = []

    async def watch(progress: Progress) -> None:
        while True:
            await asyncio.sleep(1)
            in_flight = sum(lane.in_flight() for lane in progress.lanes.values())
            samples.append(Sample(rss_mib(), len(asyncio.all_tasks()), in_flight))

    with simulator_process(Behaviour(latency_s=LATENCY_S, response_tokens=50)) as server:
        lane = {"base_url": server.url, "max_concurrency": WIDE // 2, "timeout_s": 60.0}
        changes = {f"endpoints.{side}.{key}": value for side in ("strong", "weak") for key, value in lane.items()}
        limits = {"limits.max_wall_s": float(FOR_S), "limits.drain_s": 60.0}
        job = job_of(tmp_path / "prompts.jsonl", tmp_path / "run", {**changes, **limits})
        files = open_files()
        end = run_job(job, RunOptions(environ={}, watch=watch))
        stats = server.stats()
    gc.collect()
    full = samples[FULL_AFTER_S:FOR_S]
    early, late = full[: len(full) // 4], full[-len(full) // 4 :]
    early_mib, late_mib = (max(sample.rss_mib for sample in part) for part in (early, late))
    sys.stderr.write(
        f"{end.ok} rows, {stats.max_in_flight} in flight at most, {early_mib:.0f} MiB then {late_mib:.0f} MiB, "
        f"{max(sample.tasks for sample in samples)} tasks at most\n"
    )
    assert end.stopped == ("limits.max_wall_s is reached; run again to go on",)
    assert (end.failed, end.refused) == (0, 0)
    assert stats.requests == end.ok == ds.dataset(tmp_path / "run" / "results").count_rows()
    assert stats.max_in_flight >= 0.95 * WIDE
    assert late_mib <= 1.1 * early_mib
    assert max(sample.tasks for sample in samples) <= 2 * WIDE + 2 * 64 + 50
    assert open_files() <= files + 8, "a library may keep one or the other, but none of ten thousand connections"
