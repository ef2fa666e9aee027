"""What a run gains from workers: one process against as many as there are cores, in turn, round by round.

    python tests/benchmark/workers.py [--rows 100000] [--rounds 3] [--concurrency 200]

Against a server without latency, whose cost is not counted: on a machine of two cores it takes one of them. So
what counts is CPU time, of all processes of a run: so many cores, times what a row costs in one process by what it
costs over all workers and their driver, is what is gained where the shards are spread evenly. What a run of few
rows costs, which is its start, is taken off both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from processes import provider
from workload import COMMAND, FEW_ROWS, Folder

SHARDS = 40
JOB = """
[input]
path = "{data}"
[output]
path = "{output}"
[router]
use = "length"
[routing]
threshold = 0.5
[endpoints.strong]
model = "gpt-6.1-sol"
base_url = "{url}"
max_concurrency = {half}
[endpoints.weak]
model = "gpt-6-luna"
base_url = "{url}"
max_concurrency = {half}
[engine]
use = "{use}"
workers = {workers}
shard_mb = {shard_mb}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=200)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="batchroute-benchmark-") as name:
        folder = Folder(Path(name), given.rows)
        print(f"{'':<8}{'one process':>14}{f'{cores} workers':>14}{'gain':>8}{'load':>7}")
        found = []
        for number in range(given.rounds):
            alone = cost_us(folder, "local", 1, given.concurrency)
            together = cost_us(folder, "processes", cores, given.concurrency)
            found.append((alone, together))
            say(f"round {number + 1}", alone, together, cores)
        say("median", *(median(each) for each in zip(*found, strict=True)), cores)


def say(name: str, alone_us: float, together_us: float, cores: int) -> None:
    gain, load = cores * alone_us / together_us, os.getloadavg()[0]
    print(f"{name:<8}{alone_us:>8,.0f} us/row{together_us:>8,.0f} us/row{gain:>8.2f}{load:>7.1f}", flush=True)


def cost_us(folder: Folder, use: str, workers: int, concurrency: int) -> float:
    """CPU time of a row, in microseconds, over all processes of a run."""
    few, all_s = (cpu_s(folder, rows, use, workers, concurrency) for rows in (FEW_ROWS, folder.rows))
    return 1e6 * (all_s - few) / (folder.rows - FEW_ROWS)


def cpu_s(folder: Folder, rows: int, use: str, workers: int, concurrency: int) -> float:
    data = folder.data(rows)
    with provider() as server, tempfile.TemporaryDirectory(dir=folder.path) as fresh:
        job = Path(fresh) / "job.toml"
        half, shard_mb = max(1, concurrency // 2), data.stat().st_size / 1e6 / SHARDS
        words = {"data": data, "output": Path(fresh) / "run", "url": server.url, "half": half}
        job.write_text(JOB.format(**words, use=use, workers=workers, shard_mb=shard_mb))
        child = subprocess.Popen([sys.executable, "-c", COMMAND, "run", str(job), "--quiet"])
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, f"batchroute run exited with {child.returncode}"
        return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
