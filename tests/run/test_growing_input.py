"""Runs whose input goes on being written: the rows are those of its beginning, and what came later is said."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
import tomli_w

from batchroute.errors import RunFault
from batchroute.run.check import check_job
from batchroute.run.engine import JobRun, run_job
from batchroute.run.options import RunOptions
from batchroute.run.plan import plan_job
from inputs import line_of, lines
from jobs import job_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from servers import ThreadedSimulator

ROWS = 200
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", "job.toml", "--quiet"]
SAID = "the input has grown since the run began, which leaves that to another job"


def job_for(folder: Path, server: ThreadedSimulator, changes: dict[str, Any] | None = None) -> Job:
    urls = {f"endpoints.{name}.base_url": server.url for name in ("strong", "weak")}
    return job_of(folder / "prompts.jsonl", folder / "run", {**urls, **(changes or {})})


def append(folder: Path) -> None:
    with (folder / "prompts.jsonl").open("ab") as file:
        file.write(line_of({"prompt": "late"}) + b"\n")


def places(folder: Path) -> list[int]:
    return sorted(ds.dataset(folder / "run/results").to_table()["row"].to_pylist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(ROWS)))
    return tmp_path


@pytest.mark.parametrize("routing", [{}, {"routing.threshold": None, "routing.strong_fraction": 0.5}])
def test_rows_are_those_of_the_beginning_and_the_same_command_is_complete(
    folder: Path, server: ThreadedSimulator, routing: dict[str, Any]
) -> None:
    job, said = job_for(folder, server, {"router.use": "random", **routing}), []

    async def write(_progress: Progress) -> None:
        while True:
            append(folder)
            await asyncio.sleep(0.01)

    end = run_job(job, RunOptions(environ={}, watch=write, notify=said.append))
    assert (end.complete, end.rows, end.exit_code(0.0)) == (True, ROWS, 0)
    assert [words.startswith(SAID) for words in said] == [True]
    append(folder)
    again = run_job(job, RunOptions(environ={}, notify=said.append))
    assert (again.asked, again.complete, again.exit_code(0.0)) == (False, True, 0)
    assert [words.startswith(SAID) for words in said] == [True, True]
    assert server.stats().requests == ROWS
    assert places(folder) == list(range(ROWS))
    assert any(note.startswith(SAID) for note in check_job(lambda: job).notes)
    assert plan_job(job).rows == ROWS


def test_a_killed_run_goes_on_with_the_rows_it_began_with(folder: Path, server: ThreadedSimulator) -> None:
    server.control({"latency_s": 0.02})
    job = job_for(folder, server, {"endpoints.weak.max_concurrency": 4, "endpoints.strong.max_concurrency": 4})
    (folder / "job.toml").write_text(tomli_w.dumps(job.model_dump(mode="json", exclude_none=True)))
    with subprocess.Popen(COMMAND, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL) as run:
        while server.stats().requests < ROWS // 2 and run.poll() is None:
            time.sleep(0.002)
        os.killpg(run.pid, signal.SIGKILL)
    append(folder)
    end = run_job(job, RunOptions(environ={}))
    assert (end.complete, end.rows) == (True, ROWS)
    assert places(folder) == list(range(ROWS))


def test_what_is_appended_before_any_answer_is_read(folder: Path, server: ThreadedSimulator) -> None:
    """Scores alone hold no one to the input that was scored."""
    job = job_for(folder, server)
    assert plan_job(job).rows == ROWS
    append(folder)
    assert run_job(job, RunOptions(environ={})).rows == ROWS + 1


def test_an_input_that_was_rewritten_is_another_one(folder: Path, server: ThreadedSimulator) -> None:
    job = job_for(folder, server)
    run_job(job, RunOptions(environ={}))
    data = (folder / "prompts.jsonl").read_bytes()
    (folder / "prompts.jsonl").write_bytes(data.replace(b"question 7", b"question x") + b"{}\n")
    with pytest.raises(RunFault, match=r"input\.path changed"):
        asyncio.run(JobRun(job, RunOptions(environ={})).go())
