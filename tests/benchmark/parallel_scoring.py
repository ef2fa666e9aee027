"""What scoring gains from all cores: `score` and `plan` on one core and on all, in turn, round by round.

    python tests/benchmark/parallel_scoring.py [--rows 200000] [--rounds 3]

Prompts of 860 characters, about 200 tokens. A command's time for few rows, which is its start, is taken off both.
Wall time says what is gained where nothing else runs. CPU time holds on a busy machine, too: so many cores, times
what a row costs on one core by what it costs on all, is the most that can be gained.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from processes import on_first_cpu
from workload import COMMAND, FEW_ROWS, JOB, Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Took:
    """One command: its CPU time with that of the processes it started, and its wall time."""

    cpu_s: float
    wall_s: float

    def __sub__(self, start: Took) -> Took:
        return Took(self.cpu_s - start.cpu_s, self.wall_s - start.wall_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="batchroute-benchmark-") as name:
        folder = Folder(Path(name), given.rows)
        print(f"{'':<8}{'one core':>12}{f'{cores} cores':>12}{'gain':>8}{'at most':>9}{'load':>7}")
        for command in ("score", "plan"):
            for words in compared(folder, command, given.rounds, cores):
                print(words, flush=True)


def compared(folder: Folder, command: str, rounds: int, cores: int) -> Iterator[str]:
    """A line for each round, and one of their medians: rows per second, and how many times as fast."""
    rows = folder.rows - FEW_ROWS
    found: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        start = took(folder, command, FEW_ROWS, on_first_cpu)
        alone = took(folder, command, folder.rows, on_first_cpu) - start
        together = took(folder, command, folder.rows) - start
        most = cores * alone.cpu_s / together.cpu_s
        found.append((rows / alone.wall_s, rows / together.wall_s, most))
        yield line(command, *found[-1])
    yield line("median", *(median(each) for each in zip(*found, strict=True)))


def line(name: str, alone: float, together: float, most: float) -> str:
    load = os.getloadavg()[0]
    return f"{name:<8}{alone:>10,.0f}/s{together:>10,.0f}/s{together / alone:>8.2f}{most:>9.2f}{load:>7.1f}"


def took(folder: Folder, command: str, rows: int, before: Callable[[], None] | None = None) -> Took:
    with tempfile.TemporaryDirectory(dir=folder.path) as fresh:
        data, out = folder.data(rows), Path(fresh) / "out"
        job = Path(fresh) / "job.toml"
        job.write_text(JOB.format(data=data, output=out, url="http://127.0.0.1:9/v1", half=1))
        scored = ["score", str(data), "--prompt", "prompt", "-o", f"{out}.parquet", "--quiet"]
        words = scored if command == "score" else ["plan", str(job), "--quiet"]
        begun = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words],
            stdout=subprocess.DEVNULL,
            preexec_fn=before,  # noqa: PLW1509 - one thread
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, f"batchroute {command} exited with {child.returncode}"
        return Took(usage.ru_utime + usage.ru_stime, time.monotonic() - begun)


if __name__ == "__main__":
    main()
