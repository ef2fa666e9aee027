"""stdin, stdout and stderr as a process may be given them: closed, full, hung up, read by no one."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import polars as pl
import pytest

from inputs import lines
from jobs import on_both, simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
ROWS = 40
ENDS_S = 100
ALL_CLOSED = "<&- >&- 2>&-"
FULL = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {number}"} for number in range(ROWS)))
    return write_job(tmp_path, {"router.use": "random"}, simulated(latency_s=0.05), on_both("max_concurrency", 4))


def assert_complete(folder: Path) -> None:
    assert (folder / "run" / "_SUCCESS").exists()
    rows = pl.read_parquet(folder / "run" / "results" / "*.parquet")
    assert rows["status"].to_list() == ["ok"] * ROWS


@contextlib.contextmanager
def gone() -> Iterator[IO[bytes]]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream:
        yield stream


@contextlib.contextmanager
def full() -> Iterator[IO[bytes]]:
    """A disk without room."""
    with open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123
        yield stream


def ended(
    *arguments: str, stdout: IO[bytes], stderr: IO[bytes] | int = subprocess.PIPE, colour: bool = False
) -> subprocess.CompletedProcess[str]:
    environ = os.environ | ({"FORCE_COLOR": "1"} if colour else {})
    return subprocess.run(
        [*COMMAND, *arguments], stdout=stdout, stderr=stderr, text=True, check=False, timeout=ENDS_S, env=environ
    )


def closed(streams: str, *command: str) -> int:
    """How a command ends that a shell starts with these streams closed."""
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *command]
    return subprocess.run(shell, check=False, stdin=subprocess.DEVNULL, timeout=ENDS_S).returncode


# --- closed from the start

OPENED = """
import os, sys
from batchroute.run.streams import open_standard_streams
open_standard_streams()
file = open(sys.argv[1], "w")
print("print"), print("print", file=sys.stderr), os.write(1, b"raw"), os.write(2, b"raw")
print(file.fileno(), [os.get_inheritable(number) for number in range(3)], repr(sys.stdin.read()), file=file)
"""


@pytest.mark.parametrize("streams", [ALL_CLOSED, "<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-"])
def test_no_file_gets_the_number_of_a_standard_stream(tmp_path: Path, streams: str) -> None:
    found = tmp_path / "found"
    assert closed(streams, sys.executable, "-c", OPENED, str(found)) == 0
    assert found.read_text() == "3 [True, True, True] ''\n"


def test_a_run_with_closed_streams(job: Path) -> None:
    assert closed(ALL_CLOSED, *COMMAND, "run", str(job)) == 0
    assert_complete(job.parent)


@pytest.mark.parametrize("arguments", [["score", "-", "--set", "router.use=length"], ["--version"], ["run", "-h"]])
def test_other_commands_with_closed_streams(arguments: list[str]) -> None:
    assert closed(ALL_CLOSED, *COMMAND, *arguments) == 0


WRITE_MUCH = """
from batchroute.run.streams import open_standard_streams
open_standard_streams()
print("x" * 1_000_000)
"""


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_all() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-c", WRITE_MUCH], stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert len(pipe.read()) == 1_000_001
    assert process.returncode == 0


# --- a run


@FULL
def test_a_run_whose_stdout_is_full_says_so_and_succeeds(job: Path) -> None:
    with full() as stdout:
        said = ended("run", str(job), "--json", stdout=stdout)
    assert said.returncode == 0
    assert "warning: what is printed is lost, as stdout does not take it (No space left on device)" in said.stderr
    assert "complete; results are in" in said.stderr
    assert "Traceback" not in said.stderr
    assert_complete(job.parent)


@pytest.mark.parametrize("colour", [False, True])
def test_a_run_whose_readers_are_gone_succeeds(job: Path, colour: bool) -> None:
    """With FORCE_COLOR rich draws as on a terminal, and would end the process."""
    with gone() as pipe:
        said = ended("run", str(job), stdout=pipe, stderr=pipe, colour=colour)
    assert said.returncode == 0
    assert_complete(job.parent)


def test_a_run_whose_terminal_hangs_up_succeeds(job: Path) -> None:
    here, there = pty.openpty()
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen([*COMMAND, "run", str(job)], stdout=there, stderr=there, env=environ) as process:
        os.close(there)
        assert os.read(here, 1)  # of its first line
        os.close(here)
        assert process.wait(ENDS_S) == 0
    assert_complete(job.parent)


# --- what is printed is what a command is for


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_cannot_be_printed_is_no_success(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with full() as stdout:
        said = ended("--help", stdout=stdout)
    assert said.returncode == 4
    assert said.stderr == (
        "error: what is printed is lost, as stdout does not take it (No space left on device); "
        "make room, or send it elsewhere\n"
    )


def test_a_reader_who_has_seen_enough_is_no_failure() -> None:
    with gone() as pipe:
        said = ended("--help", stdout=pipe)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["check", "no-such-job.toml"], ["no-such-command"], ["run"]])
def test_a_fault_is_a_fault_whoever_reads_of_it(arguments: list[str]) -> None:
    with gone() as pipe:
        assert ended(*arguments, stdout=pipe, stderr=pipe).returncode == 2


def test_scores_of_lines_without_end_end_with_their_reader() -> None:
    command = [*COMMAND, "score", "-", "--set", "router.use=length", "--set", "router.batch_size=1"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **streams)
    prompts, scores, errors = process.stdin, process.stdout, process.stderr
    assert prompts is not None
    assert scores is not None
    assert errors is not None

    def write_on() -> None:
        with contextlib.suppress(OSError):
            while True:
                prompts.write(b"Why is the sky blue?\n")
        with contextlib.suppress(OSError):
            prompts.close()

    writer = threading.Thread(target=write_on)
    writer.start()
    assert scores.readline().endswith(b"\tWhy is the sky blue?\n")
    scores.close()
    assert process.wait(ENDS_S) == 0
    assert errors.read() == b""
    writer.join()
    errors.close()


def test_a_character_that_a_terminal_lacks_is_no_error() -> None:
    said = subprocess.run(
        [*COMMAND, "score", "-", "--set", "router.use=length"],
        input="Grüße aus Żółć\n".encode(),
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "1"},
        check=True,
        capture_output=True,
        timeout=ENDS_S,
    )
    assert said.stdout.decode("latin-1").count("?") >= 1
    assert said.stderr == b""
