"""How long it takes until something happens: help, a check, the first request of a job, a run without scoring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from processes import on_first_cpu, provider
from workload import JOB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workload import Folder

ROWS = 320  # as many as the demo has
COMMAND = """
import sys
from batchroute.cli import main
try:
    main()
finally:
    sys.stderr.write("\\ntorch" if "torch" in sys.modules else "\\nno torch")
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Medians over the rounds: CPU (user and system) and wall clock seconds of a process, its largest size."""

    name: str
    cpu_s: float
    wall_s: float
    peak_mb: float
    has_torch: bool


def measure_startup(folder: Folder, rounds: int) -> list[Start]:
    """Each in a process of its own, with files that are in the disk cache after the first round."""
    job = folder.path / "startup.toml"
    output = folder.path / "startup"
    settings = {"data": folder.data(ROWS), "output": output, "half": 16}
    job.write_text(JOB.format(url="http://127.0.0.1:9/v1", **settings))
    planned = folder.path / "startup-planned"
    _measured("plan", "plan", str(job), "--quiet", "--output", str(planned))
    return [
        _median(rounds, lambda: _measured("--help", "--help")),
        _median(rounds, lambda: _measured("check", "check", str(job))),
        _median(rounds, lambda: _first_request(job, settings)),
        _median(rounds, lambda: _stored_scores(job, settings, planned)),
    ]


def _median(rounds: int, measure: Callable[[], Start]) -> Start:
    taken = [measure() for _ in range(rounds)]
    name, has_torch = taken[0].name, taken[0].has_torch
    cpu_s, wall_s, peak_mb = (
        median(getattr(start, figure) for start in taken) for figure in ("cpu_s", "wall_s", "peak_mb")
    )
    return Start(name, cpu_s, wall_s, peak_mb, has_torch)


def _first_request(job: Path, settings: dict[str, object]) -> Start:
    """From the command to the provider's first request, of a job that scores its rows before."""
    output = settings["output"]
    shutil.rmtree(str(output), ignore_errors=True)
    with provider() as asked:
        job.write_text(JOB.format(url=asked.url, **settings))
        began = time.time()
        run = _process("run", str(job), "--quiet")
        wall_s = asked.first_request_at() - began
        cpu_s = _cpu_so_far_s(run.pid)
        name = f"first of {ROWS} requests, scored"
        return Start(name, cpu_s, wall_s, _ended(name, run, began).peak_mb, has_torch=True)


def _cpu_so_far_s(pid: int) -> float:
    """User and system time of a process and its threads; NaN where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stored_scores(job: Path, settings: dict[str, object], planned: Path) -> Start:
    """A whole run of few rows whose scores `plan` has stored."""
    output = settings["output"]
    shutil.rmtree(str(output), ignore_errors=True)
    shutil.copytree(planned, str(output))
    with provider() as asked:
        job.write_text(JOB.format(url=asked.url, **settings))
        return _measured(f"run of {ROWS} rows, scores stored", "run", str(job), "--quiet")


def _measured(name: str, *arguments: str) -> Start:
    began = time.time()
    return _ended(name, _process(*arguments), began)


def _process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=on_first_cpu,  # noqa: PLW1509 - one thread
    )


def _ended(name: str, process: subprocess.Popen[str], began: float) -> Start:
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    cpu_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return Start(name, cpu_s, time.time() - began, peak_mb, has_torch=said.endswith("\ntorch"))
