"""What a pilot needs is looked for before anything is sent: right answers, the user's code, an earlier run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import JobFault
from batchroute.grade.check import load_check
from batchroute.job.pilot import CheckSpec
from inputs import lines
from jobs import judged, simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

REFERENCE = {
    "routing.threshold": None,
    "routing.quality": 0.95,
    "pilot.judge": "reference",
    "pilot.reference": "answer",
    **simulated(latency_s=0.0),
}
OWN = {"routing.threshold": None, "routing.quality": 0.95, **simulated(latency_s=0.0)}

GRADERS = """
class Good:
    seen = []
    def grade(self, rows):
        for row in rows:
            assert set(row) >= {"prompt", "response", "side", "topic"}, row
        return [0.5] * len(rows)

class TooMany:
    def grade(self, rows):
        return [0.5] * (len(rows) + 1)

class OutOfRange:
    def grade(self, rows):
        return [7.0] * len(rows)

class Raises:
    def grade(self, rows):
        raise KeyError("no gold")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ({"prompt": f"question {n}", "answer": str(n), "topic": "sums"} for n in range(20))
    lines(tmp_path / "prompts.jsonl", *rows)
    (tmp_path / "own_graders.py").write_text(GRADERS)
    return tmp_path


def checked(batchroute: Command, folder: Path, *changes: dict[str, Any]) -> Said:
    return batchroute("check", write_job(folder, *changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pilot.reference": "anwser"}, "no row has a column 'anwser'; did you mean 'answer'?"),
        (
            {"pilot.judge": "own_graders:Nothing", "pilot.reference": None},
            "own_graders:Nothing: cannot be imported",
        ),
        ({"pilot.judge": "no_such_module:It", "pilot.reference": None}, "no_such_module:It: cannot be imported"),
        (
            {"pilot.judge": "check", "pilot.reference": None, "check.regex": "(", "check.function": "own:no"},
            "check.function: own:no: cannot be imported",
        ),
        (
            {"pilot.judge": "check", "pilot.reference": None, "check.schema": "none.json"},
            "none.json cannot be read",
        ),
        ({"pilot.reuse": "prompts.jsonl"}, "prompts.jsonl is not a run directory"),
        ({"pilot.reuse": "run"}, "is this job's own output.path; name another run"),
    ],
)
def test_a_fault_is_found_by_check_and_by_run_before_anything_is_sent(
    folder: Path, batchroute: Command, changes: dict[str, Any], words: str
) -> None:
    path = write_job(folder, REFERENCE, changes)
    for command in ("check", "run", "plan"):
        said = batchroute(command, path)
        assert said.code == 2, command
        assert words in said.err, command
        assert "Traceback" not in said.err
    assert not (folder / "run" / "results").exists() or not list((folder / "run" / "results").iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TooMany", "gave an array of shape [7] for 6 rows"),
        ("OutOfRange", "gave 7.0, not in [0, 1]"),
        ("Raises", "raised KeyError: 'no gold'"),
    ],
)
def test_a_class_that_grades_badly_is_found_on_sample_rows(
    folder: Path, batchroute: Command, name: str, words: str
) -> None:
    said = checked(batchroute, folder, OWN, {"pilot.judge": f"own_graders:{name}", "input.keep": "topic"})
    assert said.code == 2
    assert f"own_graders:{name}: `grade` {words}" in said.err
    assert "on sample rows" in said.err


def test_a_class_that_grades_well_gets_kept_columns(folder: Path, batchroute: Command) -> None:
    said = checked(batchroute, folder, OWN, {"pilot.judge": "own_graders:Good", "input.keep": "topic"})
    assert (said.code, said.err) == (0, "")


def test_every_fault_at_once(folder: Path, batchroute: Command) -> None:
    faults = {"pilot.reference": "anwser", "input.prompt": "promt", "pilot.reuse": "prompts.jsonl"}
    said = checked(batchroute, folder, REFERENCE, faults)
    assert said.code == 2
    for words in ("no row has a column 'anwser'", "no row has a column 'promt'", "pilot.reuse: "):
        assert said.err.count(words) == 1, said.err


def test_a_column_without_one_right_answer_is_a_fault(folder: Path, batchroute: Command) -> None:
    lines(folder / "prompts.jsonl", *({"prompt": f"question {n}", "answer": None} for n in range(9)))
    said = checked(batchroute, folder, REFERENCE)
    assert said.code == 2
    assert "pilot.reference: the column 'answer' is null in all of 9 rows" in said.err


def test_right_answers_that_cannot_be_read_are_counted(folder: Path, batchroute: Command) -> None:
    answers = ["7", None, "about seven", "8"]
    lines(folder / "prompts.jsonl", *({"prompt": "sum", "answer": answer} for answer in answers))
    said = checked(batchroute, folder, REFERENCE, {"pilot.match": "number"})
    assert said.code == 0, said.err
    assert 'pilot.reference: 2 of the first 4 rows have no right answer that match = "number" can read' in said.out


def test_all_are_read_says_nothing(folder: Path, batchroute: Command) -> None:
    assert "pilot.reference" not in checked(batchroute, folder, REFERENCE).out


def test_an_earlier_run_will_do(folder: Path, batchroute: Command) -> None:
    (folder / "earlier").mkdir()
    (folder / "earlier" / "job.toml").write_text("")
    assert checked(batchroute, folder, REFERENCE, {"pilot.reuse": "earlier"}).code == 0


def test_on_a_first_night_there_is_no_earlier_run(folder: Path, batchroute: Command) -> None:
    said = checked(batchroute, folder, REFERENCE, {"pilot.reuse": "yesterday"})
    assert said.code == 0
    assert "yesterday is not there: a pilot of its own is asked" in said.err


def test_a_schema_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"type": "object", "required": ["price"]}))
    check = load_check(CheckSpec.model_validate({"schema": str(path)}))
    assert check.fault({}, '{"price": 3}') is None
    assert check.fault({}, '{"cost": 3}') is not None
    path.write_text("{")
    with pytest.raises(JobFault, match=r"answer\.json is no JSON"):
        load_check(CheckSpec.model_validate({"schema": str(path)}))


def test_without_a_pilot_nothing_is_looked_for(folder: Path, batchroute: Command) -> None:
    assert checked(batchroute, folder).code == 0
    assert checked(batchroute, folder, judged(), simulated(latency_s=0.0)).code == 0
