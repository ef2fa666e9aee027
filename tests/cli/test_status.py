"""How runs stand, by their directories: at work, ended in each way, killed, or no runs at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from answers import unprivileged
from batchroute.simulate.behaviour import Behaviour
from command import assert_one_message
from inputs import lines
from jobs import PRICE, on_both, write_job
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Said

    Command = Callable[..., Said]

COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]


def prepared(folder: Path, url: str, changes: dict[str, Any] | None = None) -> Path:
    lines(folder / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(40)))
    common = {
        "name": "nightly",
        "routing.threshold": 1.0,
        **on_both("max_concurrency", 4),
        **on_both("price", PRICE),
    }
    return write_job(
        folder, common, on_both("base_url", url), {**on_both("max_concurrency", 4), **(changes or {})}
    )


@contextmanager
def at_work(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process of its own, with some answers."""
    job = prepared(folder, url)
    with subprocess.Popen([*COMMAND, "run", str(job), "--quiet"], stderr=subprocess.DEVNULL) as process:
        try:
            status = folder / "run" / "status.json"
            while not (status.exists() and json.loads(status.read_bytes())["done"]):
                assert process.poll() is None
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def test_a_run_at_work(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator(Behaviour(latency_s=1.0)) as server, at_work(tmp_path, server.url) as process:
        run = tmp_path / "run"
        said = batchroute("status", run)
        found = json.loads(batchroute("status", run, "--json").out)
        report = json.loads(batchroute("report", run, "--json").out)
    first, *lanes = said.out.splitlines()
    assert f"running (pid {process.pid} on " in first
    assert " of 40 rows, " in first
    assert [line.split()[0] for line in lanes[:2]] == ["strong", "weak"]
    assert "sending" in lanes[1]
    assert (found["state"], found["pid"], found["rows"]) == ("running", process.pid, 40)
    assert 0 < found["share"] < 1
    assert found["lanes"]["weak"]["doing"] == "sending"
    assert report["state"] == "running"


def test_a_run_that_was_killed(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator(Behaviour(latency_s=1.0)) as server:
        with at_work(tmp_path, server.url) as process:
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        said = batchroute("status", tmp_path / "run")
        assert "incomplete" in said.out
        assert f"killed without an end (pid {process.pid} on " in said.out
        assert "run the same command again to go on" in said.out
        assert json.loads(batchroute("report", tmp_path / "run", "--json").out)["state"] == "incomplete"
        server.control({"latency_s": 0.01})
        assert batchroute("run", tmp_path / "job.toml", "--quiet").code == 0
    assert "complete  40 rows, $" in batchroute("status", tmp_path / "run").out


@pytest.mark.parametrize(
    ("behaviour", "changes", "state", "words"),
    [
        ({}, {}, "complete", []),
        (
            {"api_key": "another"},
            {},
            "incomplete",
            [": weak: key rejected (HTTP 401: ", "stopped: key rejected", "last error: HTTP 401"],
        ),
        (
            {"faults": {"400": 1.0}},
            {"limits.stop_after_same_refusal": 0},
            "refusals",
            ["40 rows were refused, more than limits.ok_if_refused lets pass", "--retry refused"],
        ),
        ({"poison": {"500": 0.3}}, on_both("max_attempts", 1), "incomplete", ["failed, listed in failed.jsonl"]),
    ],
)
def test_how_a_run_ended(
    tmp_path: Path,
    batchroute: Command,
    behaviour: dict[str, Any],
    changes: dict[str, Any],
    state: str,
    words: list[str],
) -> None:
    with threaded_simulator(Behaviour(**behaviour)) as server:
        batchroute("run", prepared(tmp_path, server.url, {"limits.outage_s": 2.0, **changes}), "--quiet")
    said = batchroute("status", tmp_path / "run")
    assert said.code == 0
    assert f"  {state}  " in said.out
    for each in words:
        assert each in said.out
    assert json.loads(batchroute("status", tmp_path / "run", "--json").out)["state"] == state
    assert json.loads(batchroute("report", tmp_path / "run", "--json").out)["state"] == state


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="may not mount a file system")
def test_a_run_that_could_not_write_its_end_was_not_killed(tmp_path: Path, batchroute: Command) -> None:
    disk = tmp_path / "run"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], check=True)
    try:
        with threaded_simulator(Behaviour(response_tokens=2000)) as server:
            assert batchroute("run", prepared(tmp_path, server.url), "--quiet").code == 4
        said = batchroute("status", disk)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert "incomplete" in said.out
    assert "it could not write how it ended, as where the disk is full; run the same command again" in said.out
    assert "killed" not in said.out
    assert said.out.splitlines()[-1].startswith("  as it was at ")


def test_a_run_stopped_when_every_row_had_ended_is_incomplete_everywhere(
    tmp_path: Path, batchroute: Command
) -> None:
    """The state is that of the exit code, whoever says it."""
    with threaded_simulator() as server:
        assert batchroute("run", prepared(tmp_path, server.url), "--quiet").code == 0
        path = tmp_path / "run" / "report.json"
        ended = json.loads(path.read_bytes())
        path.write_text(json.dumps({**ended, "state": "incomplete", "stopped": ["limits.stop_at is reached"]}))
        (tmp_path / "run" / "_SUCCESS").unlink()
        assert json.loads(batchroute("report", tmp_path / "run", "--json").out)["state"] == "incomplete"
        assert "limits.stop_at is reached" in batchroute("status", tmp_path / "run").out
        assert batchroute("run", tmp_path / "job.toml", "--quiet").code == 0
    assert json.loads(batchroute("report", tmp_path / "run", "--json").out)["state"] == "complete"
    assert (tmp_path / "run" / "_SUCCESS").exists()


def test_several_runs_have_a_line_each(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator() as server:
        job = prepared(tmp_path, server.url)
        for name in ("one", "two"):
            assert batchroute("run", job, "--quiet", "--output", tmp_path / name).code == 0
    said = batchroute("status", tmp_path / "one", tmp_path / "two")
    assert [line.split()[0] for line in said.out.splitlines()] == [str(tmp_path / "one"), str(tmp_path / "two")]
    found = json.loads(batchroute("status", tmp_path / "one", tmp_path / "two", "--json").out)
    assert [run["state"] for run in found["runs"]] == ["complete", "complete"]


def test_a_directory_that_was_only_planned(tmp_path: Path, batchroute: Command) -> None:
    assert batchroute("plan", prepared(tmp_path, "http://127.0.0.1:9/v1"), "--quiet").code == 0
    assert "incomplete: nothing was asked yet; run the job" in batchroute("status", tmp_path / "run").out


def test_what_is_no_run(tmp_path: Path, batchroute: Command) -> None:
    assert_one_message(batchroute("status", tmp_path), 2, str(tmp_path), "job.toml", "output.path")
    assert_one_message(batchroute("status", tmp_path / "nowhere"), 2, "nowhere", "output.path")
    assert_one_message(batchroute("status"), 2, "name the directory of a run")


def test_it_needs_neither_torch_nor_polars(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator() as server:
        assert batchroute("run", prepared(tmp_path, server.url), "--quiet").code == 0
    heavy = "print({'torch', 'polars', 'pyarrow', 'aiohttp', 'pydantic'} & set(sys.modules), file=sys.stderr)"
    command = f"import sys, atexit; from batchroute.cli import main; atexit.register(lambda: {heavy}); main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "status", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "set()\n"


def test_files_that_another_user_keeps_to_himself_are_one_error_and_what_is_shown_to_all_is_shown(
    batchroute: Command,
) -> None:
    """output.mode lets others look at the directory; job.toml stays its owner's."""
    with tempfile.TemporaryDirectory() as name, threaded_simulator() as server:
        folder = Path(name)
        folder.chmod(0o755)
        job = prepared(folder, server.url, {"output.mode": "0755"})
        assert batchroute("run", job, "--quiet").code == 0
        run = folder / "run"
        with unprivileged():
            assert "complete  40 rows" in batchroute("status", run).out
            said = batchroute("report", run)
            assert_one_message(said, 2, f"{run / 'job.toml'}: cannot be read: Permission denied")
        (run / "report.json").chmod(0o600)
        with unprivileged():
            assert_one_message(batchroute("status", run), 2, "report.json: cannot be read: Permission denied")


def test_a_file_among_the_runs_is_named(tmp_path: Path, batchroute: Command) -> None:
    (tmp_path / "night.log").touch()
    assert_one_message(batchroute("status", tmp_path / "night.log"), 2, "night.log: not a run directory")
