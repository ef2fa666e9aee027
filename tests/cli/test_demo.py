"""The demo: from any folder, again and again, and what it says to do next can be done."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from batchroute.cli.recipes import recipe
from command import assert_one_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

ROOT = Path(__file__).parents[2]
NEXT = re.compile(r"^  batchroute (.*?)  +\S", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, where the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answered(run: Path) -> int:
    return pl.scan_parquet(run / "results" / "*.parquet").filter(pl.col("status") == "ok").collect().height


def test_it_says_what_was_saved_and_what_to_do_next_which_can_be_done(folder: Path, batchroute: Command) -> None:
    said = batchroute("demo")
    assert said.code == 0, said.err
    assert answered(folder / "runs" / "demo") == 320
    closing = said.out.rpartition("SIMULATED")[2]
    assert "USD with routing" in closing
    assert re.search(r"gpt-6\.1-sol alone, \d\d\.\d % saved", closing)
    commands = NEXT.findall(closing)
    assert len(commands) == 3
    for command in commands:
        assert batchroute(*shlex.split(command)).code == 0, command


def test_each_call_shows_a_run_and_one_that_was_stopped_goes_on(folder: Path, batchroute: Command) -> None:
    assert batchroute("demo").code == 0
    assert "complete already" not in batchroute("demo").err
    runs = [folder / "runs" / name for name in ("demo", "demo-2")]
    assert list(map(answered, runs)) == [320, 320]
    (runs[0] / "_SUCCESS").unlink()
    again = batchroute("demo")
    assert again.code == 0
    assert f"output {runs[0]}" in again.err
    assert sorted(runs[0].parent.iterdir()) == runs


def test_the_run_directory_can_be_named(folder: Path, batchroute: Command) -> None:
    said = batchroute("demo", "--output", folder / "my demo")
    assert said.code == 0
    assert answered(folder / "my demo") == 320
    assert shlex.quote(str(folder / "my demo")) in said.out


@pytest.mark.parametrize("place", ["/proc/demo", "file"])
def test_where_nothing_can_be_written(folder: Path, batchroute: Command, place: str) -> None:
    (folder / "file").touch()
    assert_one_message(batchroute("demo", "--output", place), 2, place, "--output DIR")


def test_the_wheel_has_what_the_demo_needs() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = wheel["force-include"]
    assert "!jobs" in (ROOT / ".dockerignore").read_text().split(), "an image is built from what is not ignored"
    assert shipped == {name: f"batchroute/{name}" for name in shipped}
    job = recipe("demo")
    data = tomllib.loads(job.read_text())["input"]["path"]
    assert {f"jobs/{path.name}" for path in (job, job.parent / data)} <= shipped.keys()
