"""`report --html`: where the page goes, for one run and for several; what stands on it is test_report_html's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from command import Said, assert_one_message
from pages import Page
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Said]

JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "a night"
[router]
use = "length"
[routing]
threshold = 0.02
[endpoints.strong]
model = "gpt-6.1-sol"
simulate = { latency_s = 0 }
[endpoints.weak]
model = "gpt-6-luna"
simulate = { latency_s = 0 }
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of two runs in the current directory."""
    monkeypatch.chdir(tmp_path)
    for night in ("mon", "tue"):
        rows = [ok(0, topic="law"), ok(1, "weak", topic="maths")]
        write_run(tmp_path / night, [rows], rows=2, extra=[pa.field("topic", pa.string())])
    return ["mon", "tue"]


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (("mon", "--html"), "mon/report.html"),
        (("--html", "mon"), "mon/report.html"),
        (("mon", "--html", "page.html"), "page.html"),
        (("--html", "page.html", "mon"), "page.html"),
        (("mon", "--html", "--by", "topic"), "mon/report.html"),
        (("mon", "tue", "--html", "nights.html"), "nights.html"),
        (("mon", "tue", "--by", "topic", "--html", "nights.html"), "nights.html"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_where_the_page_goes(tmp_path: Path, batchroute: Command, arguments: tuple[str, ...], page: str) -> None:
    said = batchroute("report", *arguments)
    assert (said.code, said.out) == (0, "")
    assert f"the report is in {page}" in said.err
    text = (tmp_path / page).read_text(encoding="utf-8")
    assert ("maths" in text) == ("topic" in arguments)
    assert ("tue" in text) == ("tue" in arguments)
    assert [*tmp_path.rglob("*.html")] == [tmp_path / page]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mon", "tue", "--html"), ("name its file", "--html nights.html")),
        (("--html", "page.html"), ("name the directory of a run",)),
        (("mon", "--html", "gone/page.html"), ("gone",)),
        ((), ("name the directory of a run",)),
    ],
)
@pytest.mark.usefixtures("runs")
def test_what_is_missing_is_said(
    tmp_path: Path, batchroute: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_message(batchroute("report", *arguments), 2, *words)
    assert not [*tmp_path.rglob("*.html")]


def test_what_part_of_a_run_saved_is_not_told_as_if_it_were_all(tmp_path: Path, batchroute: Command) -> None:
    for name, rows in (("part", 300), ("whole", 2)):
        run = write_run(tmp_path / name, [[ok(0), ok(1, "weak")]], rows=rows)
        batchroute("report", str(run), "--html")
        page = Page((run / "report.html").read_text(encoding="utf-8")).text
        words = "298 rows have no answer yet: these sums are of the others only"
        on_terminal = batchroute("report", str(run)).out.replace("\n", " ")
        is_part = name == "part"
        assert (words in page, words in on_terminal, "all strong so far" in page) == (is_part, is_part, is_part)


@pytest.mark.usefixtures("runs")
def test_a_page_is_drawn_without_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    run = subprocess.run(
        [sys.executable, "-m", "batchroute", "report", "mon", "--html"],
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "<svg" in (tmp_path / "mon" / "report.html").read_text(encoding="utf-8")


def test_a_run_ends_with_the_command_for_its_page(tmp_path: Path, batchroute: Command) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi"}\n')
    said = batchroute("run", tmp_path / "job.toml")
    assert said.code == 0
    assert f"batchroute report '{tmp_path / 'a night'}' --html" in said.err
