"""Commands that score in several processes: what is on disk when one of them is killed, or all are told to end.

They need an input of such a size that a process is started: some seconds of scoring each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from batchroute.input.chunk import Position
from batchroute.job.spec import RouterSpec
from batchroute.score.cores import usable_cores
from batchroute.score.parallel import LEAST_BYTES, MODULE
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from batchroute.store.scores import Scores, read_scores
from inputs import lines
from jobs import simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 45_000
WORDS = "What is the sum of all odd numbers below it? Show your work, and name each theorem that you use. " * 8
MIB = "x" * (1 << 20)  # of which the built-in embedder reads the beginning
GIVE_UP_S = 60.0
CLOSE = 1e-6
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
pytestmark = pytest.mark.skipif(usable_cores() == 1, reason="one core: no process is ever started")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "prompts.jsonl"
    lines(path, *({"prompt": prompt(row)} for row in range(ROWS)))
    assert path.stat().st_size > LEAST_BYTES
    return path


def prompt(row: int) -> str:
    return f"Take {row}. {WORDS}"


@pytest.fixture
def job(prompts: Path, tmp_path: Path) -> Path:
    return write_job(tmp_path, {"input.path": str(prompts), "router.use": "mf"})


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a shell starts it."""
    words = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def helpers(of: subprocess.Popen[str]) -> set[int]:
    """The processes that score for a command."""
    tasks = Path(f"/proc/{of.pid}/task").glob("*/children")
    pids = {int(pid) for task in tasks for pid in task.read_text().split()}
    return {pid for pid in pids if MODULE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()}


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def parts_of(scores: Path) -> int:
    return len(list(scores.glob("part-*.parquet")))


def is_over(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def expect_scores(rows: np.ndarray, scores: np.ndarray) -> None:
    """In input order, as far as they go; some of them are compared with those of this process."""
    assert rows.tolist() == list(range(len(rows)))
    some = np.unique(np.linspace(0, len(rows) - 1, 300).astype(int))
    alone = load_scorer(RouterSpec(device="cpu")).score(bare_questions([prompt(row) for row in some.tolist()]))
    assert np.abs(scores[some] - alone).max() <= CLOSE


def test_score_when_a_process_is_killed(prompts: Path, tmp_path: Path) -> None:
    """All rows, in order, and one line that says so; nothing is left behind."""
    out = tmp_path / "scores.parquet"
    with started("score", prompts, "--prompt", "prompt", "-o", out) as command:
        wait_until(lambda: bool(helpers(command)))
        (helper, *_) = pids = helpers(command)
        wait_until(lambda: has_loaded_torch(helper))
        os.kill(helper, signal.SIGKILL)
        _, err = command.communicate(timeout=GIVE_UP_S)
    assert command.returncode == 0, err
    assert err.count("is gone") == 1
    assert all(map(is_over, pids))
    table = pq.read_table(out)
    expect_scores(table["row"].to_numpy(), table["score"].to_numpy())
    assert table.num_rows == ROWS


def has_loaded_torch(pid: int) -> bool:
    return b"libtorch_cpu" in Path(f"/proc/{pid}/maps").read_bytes()


def test_a_plan_goes_on_where_it_was_killed_or_interrupted(job: Path) -> None:
    """It leaves no process, a Ctrl-C no row that was scored; the last one has what one alone has."""
    run = job.parent / "run"
    with started("plan", job, "--quiet") as killed:
        wait_until(lambda: parts_of(run / "scores") >= 1)
        pids = helpers(killed)
        killed.kill()
        killed.communicate()
    assert pids
    wait_until(lambda: all(map(is_over, pids)))
    before = parts_of(run / "scores")
    with started("plan", job, "--quiet") as interrupted:
        wait_until(lambda: parts_of(run / "scores") > before)
        pids = helpers(interrupted)
        os.killpg(interrupted.pid, signal.SIGINT)
        interrupted.communicate(timeout=GIVE_UP_S)
    assert interrupted.returncode == 128 + signal.SIGINT
    assert all(map(is_over, pids))
    kept = Scores(run / "scores")
    assert 0 < kept.rows < ROWS
    begun = {part.path: part.path.read_bytes() for part in kept.parts}
    with started("plan", job, "--quiet") as again:
        again.communicate(timeout=GIVE_UP_S)
    assert again.returncode == 0
    whole = Scores(run / "scores")
    assert all(path.read_bytes() == data for path, data in begun.items())
    assert all(one.end == next_one.start for one, next_one in pairwise(whole.parts))
    assert (whole.parts[0].start, whole.exhausted) == (Position(0, 0, 0), True)
    found = [read_scores(part) for part in whole.parts]
    rows, scores = (np.concatenate([getattr(one, name) for one in found]) for name in ("row", "score"))
    assert len(rows) == ROWS
    expect_scores(rows, scores)


@pytest.mark.parametrize(("routing", "has_helpers"), [("strong_fraction", True), ("threshold", False)])
def test_a_run_has_them_while_its_lanes_wait(tmp_path: Path, routing: str, has_helpers: bool) -> None:
    """With a threshold they send what is scored already, and need a core themselves."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"{row} {MIB}"} for row in range(LEAST_BYTES // len(MIB))))
    how = {"routing.threshold": None, f"routing.{routing}": 0.5}
    run = started("run", write_job(tmp_path, simulated(), {"router.use": "mf"}, how), "--quiet")
    seen: set[int] = set()
    with run as command:
        while command.poll() is None:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is over meanwhile
                seen |= helpers(command)
            time.sleep(0.02)
    assert command.returncode == 0
    assert bool(seen) == has_helpers
    assert all(map(is_over, seen))
