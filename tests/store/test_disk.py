"""Disks that fill up or close while a run is at work, and the trace of what a run forces onto them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
import tomli_w

from answers import files_of_at_most, unprivileged
from batchroute.errors import Stopped
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from command import assert_one_message
from inputs import lines
from jobs import job_of
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from command import Said
    from servers import ThreadedSimulator

CONCURRENCY = 8
ROWS = 500
OPTIONS = RunOptions(environ={})
COUNTING = Behaviour(count_prompts=True, latency_s=0.01, response_tokens=600)


def prompt(row: int) -> str:
    return f"question {row} " + "x" * (row * 37 % 1000)


def job_at(folder: Path, server: ThreadedSimulator, rows: int = ROWS) -> Job:
    lines(folder / "prompts.jsonl", *({"prompt": prompt(row)} for row in range(rows)))
    lane = {"base_url": server.url, "max_concurrency": CONCURRENCY}
    changes: dict[str, Any] = {f"endpoints.{side}.{k}": v for side in ("strong", "weak") for k, v in lane.items()}
    return job_of(folder / "prompts.jsonl", folder / "run", {**changes, "output.raw": True})


def assert_goes_on(job: Job, server: ThreadedSimulator, rows: int = ROWS, stops: int = 1) -> None:
    """Every row is there once, and at most those in flight at a stop were asked again."""
    before = sum(server.stats().asked.values())
    assert 0 < before < rows
    assert run_job(job, OPTIONS).complete
    found = ds.dataset(Path(job.output.path) / "results").to_table(columns=["row", "response"]).to_pylist()
    assert Counter(row["row"] for row in found) == Counter(range(rows))
    assert all(row["response"] for row in found)
    asked = server.stats().asked
    assert asked.keys() == {prompt_digest(prompt(row)) for row in range(rows)}
    assert sum(asked.values()) - rows <= stops * 2 * CONCURRENCY


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of that size; the test is skipped where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="may not mount a file system")
@pytest.mark.parametrize("size", ["512k", "1m", "1400k"])
def test_a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room(tmp_path: Path, size: str) -> None:
    with small_disk(tmp_path / "run", size), threaded_simulator(COUNTING) as server:
        job = job_at(tmp_path, server)
        with pytest.raises(Stopped, match="cannot be written: No space left on device; fix that, then run again"):
            run_job(job, OPTIONS)
        with pytest.raises(Stopped, match="No space left on device"):
            run_job(job, OPTIONS)
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / "run"], check=True)
        assert_goes_on(job, server, stops=2)


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_file_that_may_not_grow_stops_the_run_which_goes_on_when_it_may(tmp_path: Path, size: int) -> None:
    with threaded_simulator(COUNTING) as server:
        job = job_at(tmp_path, server)
        with files_of_at_most(size), pytest.raises(Stopped, match="cannot be written: File too large"):
            run_job(job, OPTIONS)
        assert_goes_on(job, server)


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="may not mount a file system")
def test_a_full_disk_is_one_message_and_exit_4(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    """At the last file, too: the report's."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": prompt(row)} for row in range(40)))
    sides = "".join(f'[endpoints.{side}]\nmodel = "gpt-6-luna"\nsimulate = {{}}\n' for side in ("strong", "weak"))
    text = f'[input]\npath = "prompts.jsonl"\n[output]\npath = "run"\n[routing]\nthreshold = 0.5\n{sides}'
    (tmp_path / "job.toml").write_text(text + '[router]\nuse = "length"\n')
    ends = set()
    for size in range(16, 200, 20):
        with small_disk(tmp_path / "run", f"{size}k"):
            said = batchroute("run", tmp_path / "job.toml", "--quiet")
            ends.add(said.code)
            if said.code:
                assert_one_message(said, 4, "No space left on device", "run again")
            subprocess.run(["mount", "-o", "remount,size=8m", tmp_path / "run"], check=True)
            assert batchroute("run", tmp_path / "job.toml", "--quiet").code == 0
        (tmp_path / "run").rmdir()
    assert ends == {0, 4}


def test_a_directory_closed_in_the_middle_stops_the_run_which_goes_on_when_it_is_open() -> None:
    with tempfile.TemporaryDirectory() as name, threaded_simulator(COUNTING) as server:
        folder = Path(name)
        folder.chmod(0o777)
        with unprivileged():
            job = job_at(folder, server)

            async def close(_: Progress) -> None:
                for closed in (folder / "run" / "results", folder / "run"):
                    closed.chmod(0o555)

            with pytest.raises(Stopped, match="cannot be written: Permission denied; fix that, then run again"):
                run_job(job, RunOptions(environ={}, watch=close))
            for opened in (folder / "run", folder / "run" / "results"):
                opened.chmod(0o700)
            assert run_job(job, OPTIONS).complete
        assert Counter(server.stats().asked.values()) == Counter({1: ROWS})


# --- what is forced onto the disk

CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (?:0|\d.*)$")
NAME = re.compile(r'"([^"]*)"|<([^>]*)>')
TRACED = "openat,rename,fsync,fdatasync,unlink,mkdir,write,pwrite64"


@dataclass(frozen=True)
class Call:
    name: str
    paths: tuple[str, ...]  # of files and directories it names or holds open, within the run's folder
    creates: bool


def calls_in(trace: str, folder: Path) -> list[Call]:
    """The calls that succeeded, in order; those another thread broke in two are joined."""
    begun: dict[str, str] = {}
    found = []
    for line in trace.splitlines():
        thread, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>").strip()
            continue
        resumed = re.match(r" *<\.\.\. \w+ resumed>(.*)", rest)
        whole = f"{thread} {begun.pop(thread, '')}{resumed.group(1)}" if resumed else line
        if match := CALL.match(whole):
            names = [a or b for a, b in NAME.findall(match.group(2))]
            paths = tuple(name for name in names if name == str(folder) or name.startswith(f"{folder}/"))
            found.append(Call(match.group(1), paths, "O_CREAT" in whole))
    return [call for call in found if call.paths]


def assert_forced(calls: list[Call], number: int, path: str) -> None:
    """From that call on, the file or directory is forced onto the disk."""
    forced = [call for call in calls[number:] if call.name in {"fsync", "fdatasync"} and path in call.paths]
    assert forced, f"{path} after {calls[number]}"


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to see what a run tells the kernel")
def test_files_and_directories_are_forced_onto_the_disk(tmp_path: Path) -> None:
    """Of every file that gets its name by renaming, of journals, and of all directories that are made."""
    with threaded_simulator(Behaviour(error_rate=0.1)) as server:
        job = job_at(tmp_path, server, 200)
        (tmp_path / "job.toml").write_text(tomli_w.dumps(job.model_dump(mode="json", exclude_none=True)))
        run = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", str(tmp_path / "job.toml")]
        run += ["--output", str(tmp_path / "a" / "b" / "run")]
        strace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={TRACED}", "-o", str(tmp_path / "trace")]
        subprocess.run([*strace, *run, "--quiet"], check=True)
    calls = calls_in((tmp_path / "trace").read_text(), tmp_path / "a")
    kinds = Counter(call.name for call in calls)
    assert kinds["rename"] >= 6
    assert kinds["mkdir"] >= 4
    for number, call in enumerate(calls):
        if call.name == "rename":
            unfinished, path = call.paths
            touched = [c for c in calls[:number] if unfinished in c.paths and c.name != "openat"]
            assert touched[-1].name == "fsync", f"{path} got its name before its content was safe"
            assert_forced(calls, number, str(Path(path).parent))
        if call.name == "mkdir" and call.paths[0] != str(tmp_path / "a"):
            assert_forced(calls, number, str(Path(call.paths[0]).parent))
        if call.name == "openat" and call.creates and "journal-" in call.paths[-1]:
            assert_forced(calls, number, str(Path(call.paths[-1]).parent))
        if call.name == "write" and "journal-" in call.paths[0]:
            assert_forced(calls, number, call.paths[0])
        if call.name == "unlink" and "journal-" in call.paths[0]:
            assert_sealed_before(calls[:number], call.paths[0])


def assert_sealed_before(calls: list[Call], journal: str) -> None:
    """A journal goes only after the name of its part is safe, if it has one."""
    part = f"part-{journal[-5:]}.parquet"
    for number, call in enumerate(calls):
        if call.name == "rename" and call.paths[1].endswith(f"results/{part}"):
            assert_forced(calls, number, str(Path(call.paths[1]).parent))
