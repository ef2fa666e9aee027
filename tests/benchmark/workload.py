"""What the benchmark's runs work on: an input, a job, and the cost of one run as a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peers import prompt
from processes import on_first_cpu

if TYPE_CHECKING:
    from pathlib import Path

FEW_ROWS = 1_000  # what a run of so many costs is taken for its start and its end
COMMAND = "from batchroute.cli import main; main()"
JOB = """
[input]
path = "{data}"
id = "id"
keep = ["topic"]
[output]
path = "{output}"
[routing]
strong_fraction = 0.5
[endpoints.strong]
model = "gpt-6.1-sol"
base_url = "{url}"
max_concurrency = {half}
requests_per_minute = 100_000_000
tokens_per_minute = 100_000_000_000
params = {{ max_completion_tokens = 512 }}
[endpoints.weak]
model = "gpt-6-luna"
base_url = "{url}"
max_concurrency = {half}
requests_per_minute = 100_000_000
tokens_per_minute = 100_000_000_000
params = {{ max_completion_tokens = 512 }}
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """A process's own account: user and system time, the largest resident size."""

    cpu_s: float
    peak_mb: float


class Folder:
    """A directory with inputs of the sizes that are asked for; every other row goes to the strong side."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path = path
        self.rows = rows

    def data(self, rows: int) -> Path:
        path = self.path / f"prompts-{rows}.jsonl"
        if not path.exists():
            lines = (
                json.dumps({"id": f"r{row}", "topic": "figures", "prompt": prompt(row)}) for row in range(rows)
            )
            path.write_text("\n".join(lines) + "\n")
        return path


def run_cost(folder: Folder, kind: str, url: str, rows: int, concurrency: int) -> Cost:
    """One `batchroute run` of a fresh directory; `scored`: its scores are there before."""
    output = folder.path / "run"
    job = folder.path / "job.toml"
    job.write_text(JOB.format(data=folder.data(rows), output=output, url=url, half=max(1, concurrency // 2)))
    shutil.rmtree(output, ignore_errors=True)
    if kind == "scored":
        planned = folder.path / f"planned-{rows}"
        if not planned.exists():
            process("plan", str(job), "--quiet", "--output", str(planned))
        shutil.copytree(planned, output)
    return process("run", str(job), "--quiet")


def process(*arguments: str) -> Cost:
    command = [sys.executable, "-c", COMMAND, *arguments]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=on_first_cpu)  # noqa: PLW1509 - one thread
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"batchroute {arguments[0]} exited with {child.returncode}"
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def bare_imports_mb() -> float:
    """What Python takes with the libraries imported and nothing done."""
    code = "import torch, polars, pyarrow, aiohttp; print(open('/proc/self/status').read())"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return int(said.split("VmRSS:")[1].split()[0]) / 1024
