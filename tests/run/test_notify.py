"""`[notify]`: what the command is told at each end of a run, and that nothing it does changes that end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import BatchrouteError
from batchroute.run import notify
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from batchroute.store.lock import locked
from inputs import lines
from jobs import job_of, on_both, write_job
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.spec import Job
    from command import Said

    Command = Callable[..., Said]

KEEPS = """
import json, os, sys
told = sys.stdin.buffer.read()
with open(sys.argv[1], "w") as file:
    json.dump({"told": json.loads(told), "environ": dict(os.environ), "argv": sys.argv[2:]}, file)
print("to stdout")
"""


def command(folder: Path, code: str = KEEPS) -> list[str]:
    return [sys.executable, "-c", code, str(folder / "told.json"), "an argument; and $HOME"]


def job_for(folder: Path, url: str, changes: dict[str, Any] | None = None) -> Job:
    lines(folder / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(20)))
    ours = {"notify.command": command(folder), "routing.threshold": 1.0, **on_both("base_url", url)}
    return job_of(folder / "prompts.jsonl", folder / "run", {**ours, **(changes or {})})


def told_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


@pytest.mark.parametrize(
    ("behaviour", "changes", "state", "code"),
    [
        ({}, {}, "complete", 0),
        ({"faults": {"400": 1.0}}, {"limits.stop_after_same_refusal": 0}, "refusals", 3),
        ({"api_key": "another-key-1"}, {}, "incomplete", 4),
    ],
)
def test_it_is_told_the_report_whatever_the_end(
    tmp_path: Path, behaviour: dict[str, Any], changes: dict[str, Any], state: str, code: int
) -> None:
    said: list[str] = []
    environ = {"PATH": os.environ["PATH"], "KEY": "a-canary-key-1", "OTHER": "kept", "KEY_FILE": "/etc/key"}
    with threaded_simulator(Behaviour(**behaviour)) as server:
        job = job_for(tmp_path, server.url, {**on_both("api_key_env", "KEY"), **changes})
        end = run_job(job, RunOptions(environ=environ, notify=said.append))
    assert end.exit_code(0.0) == code
    found = told_in(tmp_path)
    assert found["told"] == json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["told"]["state"] == state
    assert found["argv"] == ["an argument; and $HOME"], "no shell reads it"
    assert found["environ"]["OTHER"] == "kept"
    assert not {"KEY", "KEY_FILE"} & found["environ"].keys()
    assert "canary" not in json.dumps(found)
    assert not [words for words in said if "notify" in words]


def test_a_run_that_cannot_begin_tells_why(tmp_path: Path) -> None:
    job = job_for(tmp_path, "http://127.0.0.1:9/v1")
    with locked(tmp_path / "run", 0o700), pytest.raises(BatchrouteError, match="at work here"):
        run_job(job, RunOptions(environ={}))
    told = told_in(tmp_path)["told"]
    assert (told["name"], told["state"], told["exit_code"]) == ("nightly", "error", 4)
    assert "a run is at work here" in told["error"]
    (tmp_path / "prompts.jsonl").unlink()
    with pytest.raises(BatchrouteError, match="no input file"):
        run_job(job, RunOptions(environ={}))
    assert told_in(tmp_path)["told"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/command"], "notify.command cannot be run: /no/such/command: No such file or directory"),
        ([sys.executable, "-c", "import sys; sys.exit('it broke')"], "notify.command exited with 1: it broke"),
        ([sys.executable, "-c", "import os; os.close(0)"], None),  # it need not read what it is told
        (["/bin/sh", "-c", "sleep 1000 & sleep 1000"], "notify.command was still at work after"),
    ],
)
def test_its_failure_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str | None
) -> None:
    monkeypatch.setattr(notify, "LONGEST_S", 1.0)
    said: list[str] = []
    with threaded_simulator() as server:
        job = job_for(tmp_path, server.url, {"notify.command": argv})
        end = run_job(job, RunOptions(environ=dict(os.environ), notify=said.append))
    assert end.exit_code(0.0) == 0
    assert [each[: len(words or "")] for each in said] == ([] if words is None else [words])


def test_a_program_that_is_not_there_is_known_before_the_night(tmp_path: Path, batchroute: Command) -> None:
    for command, found in (('"tell-the-team"', 0), ('"sh -c true"', 0), (f'["{sys.executable}", "x"]', 1)):
        lines(tmp_path / "prompts.jsonl", {"prompt": "a question"})
        job = write_job(tmp_path)
        said = batchroute("check", job, "--set", f"notify.command={command}")
        assert said.code == 0
        assert ("notify.command: no program " in said.err) == (not found)


def test_what_it_prints_does_not_reach_stdout(tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "hello"})
    with threaded_simulator() as server:
        job = write_job(tmp_path, {"notify.command": command(tmp_path)}, on_both("base_url", server.url))
        said = batchroute("run", job, "--json")
    assert said.code == 0
    assert json.loads(said.out) == told_in(tmp_path)["told"]
    assert "to stdout" not in said.err


def test_it_is_told_again_where_nothing_was_left_to_ask(tmp_path: Path) -> None:
    with threaded_simulator() as server:
        job = job_for(tmp_path, server.url)
        run_job(job, RunOptions(environ=dict(os.environ)))
        Path(tmp_path / "told.json").unlink()
        assert not run_job(job, RunOptions(environ=dict(os.environ))).asked
    assert told_in(tmp_path)["told"]["state"] == "complete"
