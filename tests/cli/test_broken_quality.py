"""A night whose watched rows break the quality target: said wherever a night is looked at, and exit code 3."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchroute.report.build import build_report
from batchroute.report.figures import json_text, write_report
from batchroute.run.end import RunEnd
from batchroute.show.notebook import run_html
from batchroute.show.summary import summary_of
from inputs import lines
from jobs import job_of, simulated, write_job
from qualities import BROKEN, ROUTE
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.report.figures import Report
    from command import Said

    Command = Callable[..., Said]

BROKEN_WORDS = (
    "the quality target of 95 % is broken: on 412 watched rows at most 94.2 % of the strong side's quality is "
    "kept; all answers are on file; run the next job with a new pilot, without pilot.reuse"
)


def night(folder: Path, *, broken: bool) -> Path:
    run = write_run(folder / "night", [[ok(0), ok(1, "weak")]], rows=2)
    (run / "pilot").mkdir()
    (run / "pilot" / "pilot.json").write_bytes(json_text(BROKEN if broken else ROUTE))
    write_report(run, build_report(run))
    return run


def report_of(folder: Path, *, broken: bool) -> Report:
    return build_report(night(folder, broken=broken))


@pytest.mark.parametrize("broken", [True, False])
def test_it_is_said_wherever_the_night_is_looked_at(tmp_path: Path, batchroute: Command, broken: bool) -> None:
    run = night(tmp_path, broken=broken)
    said = {
        "status": batchroute("status", run).out,
        "status --json": json.loads(batchroute("status", run, "--json").out)["why"],
        "report": batchroute("report", run).out,
        "report.json": json.loads((run / "report.json").read_bytes())["quality"]["broken"],
        "notebook": run_html(run, build_report(run), ()).replace("&#x27;", "'"),
    }
    found = {
        place: words if isinstance(words, bool) else BROKEN_WORDS[1:] in re.sub(r"\s+", " ", str(words))
        for place, words in said.items()
    }
    assert found == dict.fromkeys(found, broken)
    assert " complete " in said["status"]
    assert (run / "_SUCCESS").exists() != broken


def test_the_last_line_of_the_run_says_why_it_exits_3(tmp_path: Path) -> None:
    end = RunEnd(rows=2, ok=2, refused=0, failed=0, wall_s=1.0, asked=True, is_quality_broken=True)
    job = job_of(Path("in.jsonl"), Path("runs/x"))
    broken = summary_of(job, end, report_of(tmp_path, broken=True))
    assert (broken.state, broken.exit_code, broken.why) == ("complete", 3, [BROKEN_WORDS])
    line = broken.line(datetime(2026, 11, 28, 5, 12).astimezone())
    assert line == f"2026-11-28T05:12 nightly complete 2 rows, $0.0033, 1 s, runs/x: {BROKEN_WORDS}"
    kept = replace(end, is_quality_broken=False)
    report = msgspec.structs.replace(report_of(tmp_path / "kept", broken=False))
    assert (summary_of(job, kept, report).exit_code, summary_of(job, kept, report).why) == (0, [])


JUDGE = """
class Judge:
    batches = 0  # the first is the pilot's

    def grade(self, rows):
        Judge.batches += len(rows) > 100  # not the few that are graded to see whether it can
        return [0.0 if Judge.batches > 1 and row["side"] == "weak" else 1.0 for row in rows]
"""


def test_a_run_whose_target_is_broken_exits_3_and_tells_the_jobs_command(
    tmp_path: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weak side is as good as the strong one in the pilot, and worth nothing from then on."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fickle_judge.py").write_text(JUDGE)
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {number}"} for number in range(400)))
    told = tmp_path / "told.json"
    pilot = {"rows": 200, "judge": "fickle_judge:Judge", "watch": 1.0}
    job = write_job(
        tmp_path,
        simulated(latency_s=0.0),
        {"routing": {"quality": 0.95}, "pilot": pilot, "notify.command": ["sh", "-c", f"cat > {told}"]},
    )
    ran = batchroute("run", job, "--quiet")
    assert ran.code == 3, ran.err
    report = json.loads(told.read_bytes())
    assert (report["state"], report["quality"]["verdict"], report["quality"]["broken"]) == (
        "complete",
        "all weak",
        True,
    )
    assert report["quality"]["watch"]["rows"] == 400
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    assert "complete 400 rows, " in ran.err
    assert "the quality target of 95 % is broken: on 400 watched rows at most " in ran.err
    assert batchroute("run", job, "--quiet").code == 3
