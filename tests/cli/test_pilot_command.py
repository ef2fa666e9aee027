"""`pilot JOB`: the pilot by itself, what it prints, how it exits, and that a run goes on from it."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import batchroute as br
from batchroute.run.end import RunEnd
from batchroute.run.pilot.alone import PilotEnd
from command import assert_one_message
from inputs import lines
from jobs import on_both, simulated, write_job
from qualities import ALL_STRONG, ROUTE, quality_of
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.report.quality import Quality
    from command import Said

    Command = Callable[..., Said]

ROWS, ASKED = 60, 24
TARGET = {
    "routing": {"quality": 0.9},
    "pilot": {"rows": ASKED, "judge": "reference", "reference": "answer", "match": "contains"},
}


def pilot_job(folder: Path, *changes: dict[str, Any], answers: int = ROWS) -> Path:
    """Rows of which the first `answers` have a right answer, which is in none of the two sides' answers."""
    rows = (
        {"prompt": f"question {row} {'word ' * (row % 7)}", "answer": "no such words" if row < answers else None}
        for row in range(ROWS)
    )
    lines(folder / "prompts.jsonl", *rows)
    return write_job(folder, simulated(latency_s=0.0), TARGET, *changes)


def test_it_prints_the_sentence_and_the_table_and_a_run_goes_on_from_there(
    tmp_path: Path, batchroute: Command
) -> None:
    job = pilot_job(tmp_path)
    said = batchroute("pilot", job)
    assert said.code == 0
    assert f"job  pilot\n{ASKED} rows asked of both sides\n" in said.out
    assert "mean grade is 0, so there is nothing to keep" in said.out
    assert "   strong " in said.out
    assert "the pilot cost $0." in said.out
    assert "run the job to go on from there" in said.err
    assert f" job pilot complete {ASKED} rows, $0." in said.err
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    ran = batchroute("run", job, "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["ok"]) == (0, ROWS)
    assert report["quality"]["asked"] == ASKED
    # Each row once, and each of the pilot's on its other side as well.
    assert report["attempts"] == ROWS


def test_its_json_is_the_quality_of_the_report(tmp_path: Path, batchroute: Command) -> None:
    said = batchroute("pilot", pilot_job(tmp_path), "--json", "--quiet")
    assert said.code == 0
    assert json.loads(said.out) == json.loads((tmp_path / "run" / "report.json").read_bytes())["quality"]
    assert json.loads(said.out) == json.loads((tmp_path / "run" / "pilot" / "pilot.json").read_bytes())
    assert len(said.err.splitlines()) == 1


def test_done_already_it_asks_nothing_and_says_the_same(tmp_path: Path, batchroute: Command) -> None:
    job = pilot_job(tmp_path)
    first = batchroute("pilot", job)
    spent = json.loads((tmp_path / "run" / "report.json").read_bytes())["pilot_cost_usd"]
    assert batchroute("pilot", job).out == first.out
    assert json.loads((tmp_path / "run" / "report.json").read_bytes())["pilot_cost_usd"] == spent


@pytest.mark.parametrize(("allowed", "code"), [(0.0, 3), (1.0, 0)])
def test_rows_that_could_not_be_graded_are_said_and_exit_3(
    tmp_path: Path, batchroute: Command, allowed: float, code: int
) -> None:
    said = batchroute("pilot", pilot_job(tmp_path, {"limits.ok_if_refused": allowed}, answers=30))
    assert said.code == code
    assert " rows left out: " in said.out.replace("\n", " ")
    assert " without a right answer" in said.out.replace("\n", " ")


def test_a_job_without_a_pilot_is_told_what_to_add(tmp_path: Path, batchroute: Command) -> None:
    job = pilot_job(tmp_path, {"pilot": None, "routing": {"threshold": 0.5}})
    assert_one_message(batchroute("pilot", job), 2, "has no [pilot]", 'judge = "reference"')
    assert not (tmp_path / "run").exists()


def test_stopped_from_outside_it_exits_4_and_goes_on_later(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator() as server:
        away = on_both("base_url", "http://127.0.0.1:9/v1")
        here = {**on_both("simulate", None), **on_both("base_url", server.url)}
        stopped = batchroute("pilot", pilot_job(tmp_path, here, away, {"limits.outage_s": 0.1}), "--json")
        assert (stopped.code, stopped.out) == (4, "")
        assert " job pilot incomplete" in stopped.err
        said = batchroute("pilot", pilot_job(tmp_path, here))
    assert said.code == 0
    assert f"{ASKED} rows asked of both sides" in said.out


ENDED = RunEnd(rows=60, ok=0, refused=0, failed=0, wall_s=1.0, asked=True)


@pytest.mark.parametrize(
    ("end", "quality", "code"),
    [
        (ENDED, quality_of(left_out={}), 0),
        (ENDED, ALL_STRONG, 3),
        (ENDED, ROUTE, 3),
        (ENDED, None, 4),
        (RunEnd(60, 0, 0, 0, 1.0, asked=True, stopped=("strong: key rejected",)), ROUTE, 4),
        (RunEnd(60, 0, 0, 0, 1.0, asked=True, signal=2), ROUTE, 130),
        (RunEnd(60, 0, 0, 0, 1.0, asked=True, signal=15), None, 143),
    ],
)
def test_how_it_exits(end: RunEnd, quality: Quality | None, code: int) -> None:
    assert PilotEnd(end, quality).exit_code(0.0) == code
    assert PilotEnd(end, quality).exit_code(1.0) == (0 if code == 3 else code)


def test_from_python_it_gives_the_report(tmp_path: Path) -> None:
    job = pilot_job(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = br.pilot(job, progress=False)
    assert report.quality is not None
    assert (report.quality.target, report.quality.asked) == (0.9, ASKED)
    assert (report.state, report.ok) == ("incomplete", 0)
    assert report.quality.pilot_cost_usd is not None
    assert report.pilot_cost_usd is not None
    assert report.quality.pilot_cost_usd < report.pilot_cost_usd

    async def in_a_notebook() -> br.Report:
        return br.pilot(job, progress=False)

    assert asyncio.run(in_a_notebook()).quality == report.quality
    ran = br.run(job, progress=False).report.quality
    assert ran is not None
    assert (ran.kept, ran.curves) == (report.quality.kept, report.quality.curves)
    assert ran.pilot_cost_usd == pytest.approx(report.quality.pilot_cost_usd)


def test_from_python_a_frame_has_a_target_too(tmp_path: Path) -> None:
    rows = [{"text": f"question {row}", "answer": "no"} for row in range(ROWS)]
    settings = {
        "pilot.judge": "reference",
        "pilot.reference": "answer",
        "pilot.rows": ASKED,
        "router.use": "length",
    }
    report = br.pilot(
        rows,
        prompt="text",
        strong="gpt-6.1-sol",
        weak="gpt-6-luna",
        simulate=True,
        quality=0.95,
        output=tmp_path / "run",
        progress=False,
        settings=settings,
    )
    assert report.quality is not None
    assert report.quality.target == 0.95


def test_from_python_what_could_not_be_graded_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(br.IncompleteRun, match="pilot complete"):
        assert br.pilot(pilot_job(tmp_path, answers=30), progress=False).quality is not None
