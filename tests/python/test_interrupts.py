"""Ctrl-C, SIGTERM and kill -9 of a script that runs a job: real processes, real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import batchroute as br
from batchroute.simulate.behaviour import Behaviour
from servers import threaded_simulator
from serving import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import ThreadedSimulator

ROWS = 60
AT_ONCE = 5
CALL = f"""
import asyncio, signal, sys, threading
import batchroute as br
calls = dict(
    output=sys.argv[1], base_url=sys.argv[2], strong="big", weak="small", strong_fraction=0.5, progress=False,
    settings={{
        "router.use": "length",
        "endpoints.strong.max_concurrency": {AT_ONCE},
        "endpoints.weak.max_concurrency": {AT_ONCE},
    }},
)
prompts = ["prompt" + " again" * row for row in range({ROWS})]
def call():
    return br.run(prompts, **calls)
async def cell():
    return call()
async def awaited():
    return await br.arun(prompts, **calls)
"""
# How the run is called, and how the process then ends at Ctrl-C.
SCRIPTS = {
    "script": "call(); print('went on')",
    "notebook": "asyncio.run(cell()); print('went on')",
    "arun": "asyncio.run(awaited()); print('went on')",
    "caught": "try:\n    call()\nexcept KeyboardInterrupt:\n    print('caught', br.open_run(sys.argv[1]).state)",
    "twice": "for _ in range(2): call()",
}


@pytest.fixture
def provider() -> Iterator[ThreadedSimulator]:
    with threaded_simulator(Behaviour(latency_s=0.4, count_prompts=True)) as provider:
        yield provider


def begun(code: str, run: Path, provider: ThreadedSimulator) -> subprocess.Popen[str]:
    """The script, when it has sent something."""
    command = [sys.executable, "-c", CALL + code, str(run), provider.url]
    script = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: provider.stats().requests or script.poll() is not None)
    return script


@pytest.mark.parametrize("way", SCRIPTS)
def test_ctrl_c_keeps_what_is_in_flight(way: str, tmp_path: Path, provider: ThreadedSimulator) -> None:
    script = begun(SCRIPTS[way], tmp_path / "run", provider)
    script.send_signal(signal.SIGINT)
    said, complained = script.communicate(timeout=60)
    kept, sent = br.open_run(tmp_path / "run"), provider.stats().requests
    assert "went on" not in said, "what comes after the call is not done"
    assert ("KeyboardInterrupt" in complained) != (way == "caught")
    assert said == ("caught incomplete\n" if way == "caught" else "")
    assert "stopping: waiting up to 20 s for" in complained
    assert "interrupted; what is answered is in" in complained
    assert kept.state == "incomplete"
    assert kept.report.ok == sent < ROWS, "every answer that was asked for is kept"


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(faults={"hang": 1.0})) as provider:
        script = begun(SCRIPTS["script"], tmp_path / "run", provider)
        script.send_signal(signal.SIGINT)
        assert script.stderr is not None
        assert "stopping" in script.stderr.readline()
        script.send_signal(signal.SIGINT)
        _, complained = script.communicate(timeout=15)
    assert "KeyboardInterrupt" in complained


def test_sigterm_drains_and_then_ends_the_process_as_ever(tmp_path: Path, provider: ThreadedSimulator) -> None:
    script = begun(SCRIPTS["script"], tmp_path / "run", provider)
    script.send_signal(signal.SIGTERM)
    said, _ = script.communicate(timeout=60)
    assert script.returncode == -signal.SIGTERM
    assert said == ""
    assert br.open_run(tmp_path / "run").report.ok == provider.stats().requests


def test_a_handler_of_the_callers_own_gets_its_signal_after_the_run(
    tmp_path: Path, provider: ThreadedSimulator
) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: print('theirs')); print(call().state)"
    script = begun(code, tmp_path / "run", provider)
    script.send_signal(signal.SIGTERM)
    said, _ = script.communicate(timeout=60)
    assert said == "theirs\nincomplete\n"
    assert script.returncode == 0


def test_a_call_in_a_thread_of_a_script_leaves_signals_alone(tmp_path: Path, provider: ThreadedSimulator) -> None:
    code = (
        "thread = threading.Thread(target=call); thread.start(); "
        "print(signal.getsignal(signal.SIGINT).__name__); thread.join()"
    )
    script = begun(code, tmp_path / "run", provider)
    said, complained = script.communicate(timeout=60)
    assert said == "default_int_handler\n"
    assert complained == ""
    assert br.open_run(tmp_path / "run").state == "complete"


def test_the_same_call_goes_on_after_kill_9(tmp_path: Path, provider: ThreadedSimulator) -> None:
    script = begun(SCRIPTS["script"], tmp_path / "run", provider)
    wait_for(lambda: provider.stats().by_status.get("200", 0) >= 4 * AT_ONCE)
    script.kill()
    script.communicate(timeout=60)
    killed = br.open_run(tmp_path / "run")
    done = killed.report.ok
    assert killed.state == "incomplete"
    assert killed.report.unsealed == done > 0
    again = begun(SCRIPTS["script"], tmp_path / "run", provider)
    assert again.communicate(timeout=60)[0] == "went on\n"
    run = br.open_run(tmp_path / "run")
    assert (run.state, run.report.ok) == ("complete", ROWS)
    assert run.df()["prompt"].to_list() == ["prompt" + " again" * row for row in range(ROWS)]
    assert provider.stats().requests <= ROWS + 2 * AT_ONCE, "paid twice is at most what was in flight"
