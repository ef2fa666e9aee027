"""Runs of a job on a Ray cluster, as processes: started, killed, stopped, and counted at the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import tomli_w

from batchroute.simulate.traffic import prompt_digest
from inputs import lines
from jobs import job_of, on_both
from ray_cluster import processes

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ray_cluster import RayCluster
    from servers import SimulatorProcess

COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
GIVE_UP_S = 120.0
WORKER = "ray::WorkerActor"  # as Ray calls the process of an actor


def prompt(row: int) -> str:
    """Their lengths, by which they are routed, are spread."""
    return f"question {row} " + "x" * (row * 37 % 1000)


@dataclass(frozen=True)
class ClusterRun:
    """A job in `folder` over so many rows in so many files, each of which is one shard."""

    cluster: RayCluster
    folder: Path
    rows: int
    files: int

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def write(self, server: SimulatorProcess, changes: Mapping[str, Any]) -> None:
        share = self.rows // self.files
        (self.folder / "in").mkdir(parents=True)
        for number in range(self.files):
            rows = range(number * share, (number + 1) * share)
            lines(self.folder / "in" / f"{number:03d}.jsonl", *({"prompt": prompt(row)} for row in rows))
        ours = {**on_both("base_url", server.url), "engine.memory_mb": 100, "engine.cpus": 0.5, **changes}
        job = job_of(self.folder / "in" / "*.jsonl", self.run, ours)
        text = tomli_w.dumps(job.model_dump(mode="json", exclude_none=True, exclude_unset=True))
        (self.folder / "job.toml").write_text(text)

    def start(
        self, *flags: str, engine: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """The driver; by default on the cluster."""
        command = [*COMMAND, "run", "job.toml", "--quiet", "--engine", engine or f"ray:{self.cluster.address}"]
        return subprocess.Popen(
            [*command, *flags],
            cwd=self.folder,
            env={**self.cluster.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *flags: str, engine: str = "") -> None:
        """Runs it to its end, which has to be a good one."""
        ended(self.start(*flags, engine=engine), 0)

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.run / "report.json").read_text())
        return report

    def rows_done(self) -> Counter[tuple[str, int]]:
        """How often each row stands in the results."""
        found: Counter[tuple[str, int]] = Counter()
        for part in sorted((self.run / "results").glob("part-*.parquet")):
            table = pq.read_table(part, columns=["file", "row"])
            found.update(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True))
        return found

    def assert_whole(self, server: SimulatorProcess, *, twice: int = 0) -> int:
        """Every row once in the results, every prompt asked, no more than so many twice; returns how many were."""
        done = self.rows_done()
        assert len(done) == self.rows
        assert set(done.values()) == {1}
        asked = server.stats().asked
        assert set(asked) == {prompt_digest(prompt(row)) for row in range(self.rows)}
        again = sum(asked.values()) - self.rows
        assert again <= twice
        return again


def ended(process: subprocess.Popen[str], code: int, within_s: float = GIVE_UP_S) -> tuple[str, str]:
    """What it said on stdout and stderr; it has to end with this exit code."""
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"did not end\n{out}\n{err}") from None
    assert process.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def workers() -> list[int]:
    """The processes of the actors that are at work."""
    return [pid for pid in processes() if _title(pid).startswith(WORKER)]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for(run: subprocess.Popen[str], condition: Callable[[], object], within_s: float = GIVE_UP_S) -> None:
    """Until the condition holds, while the run goes on."""
    until = time.monotonic() + within_s
    while not condition():
        if run.poll() is not None or time.monotonic() > until:
            run.kill()
            raise AssertionError("\n".join(run.communicate()))
        time.sleep(0.02)


def send(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def most_within(arrivals_s: Sequence[float], span_s: float) -> int:
    """The most arrivals in any span of that length."""
    ordered = sorted(arrivals_s)
    return max((bisect_right(ordered, start + span_s) - at for at, start in enumerate(ordered)), default=0)


def count_between(arrivals_s: Iterable[float], start_s: float, end_s: float) -> int:
    return sum(start_s <= arrival < end_s for arrival in arrivals_s)
