"""The plan of a job whose pilot decides: before it is asked, when it is at its end, and when the run is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.job.load import load_job
from batchroute.report.figures import read_report
from batchroute.report.quality import read_quality
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.run.plan import plan_job
from batchroute.show.words import money, predicted_rows
from jobs import judged, simulated, write_job
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.spec import Job
    from command import Said

    Command = Callable[..., Said]

ROWS = 300
SUMS = {
    "name": "sums",
    **simulated(latency_s=0.0, response_tokens=40),
    "routing": {"quality": 0.9},
    "pilot": {"rows": 100, "judge": "reference", "reference": "answer"},
    "endpoints.strong.simulate": {"latency_s": 0.0, "response_tokens": 60, "skill": 0.98},
    "endpoints.weak.simulate": {"latency_s": 0.0, "response_tokens": 20, "skill": 0.85},
    "endpoints.strong.price": {"input": 2.0, "output": 10.0},
    "endpoints.weak.price": {"input": 0.2, "output": 1.0},
}
BOUNDED = {"endpoints.strong.params": {"max_tokens": 100}, "endpoints.weak.params": {"max_tokens": 100}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sums(tmp_path / "prompts.jsonl", ROWS)
    return tmp_path


def loaded(folder: Path, *changes: dict[str, Any]) -> Job:
    return load_job(write_job(folder, SUMS, *changes), environ={})


def as_json(batchroute: Command, folder: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    said = batchroute("plan", write_job(folder, SUMS, *changes), "--json")
    assert said.code == 0, said.err
    shown: dict[str, Any] = json.loads(said.out)
    return shown


def test_before_the_pilot_there_is_a_range_and_no_threshold(folder: Path, batchroute: Command) -> None:
    shown = as_json(batchroute, folder, BOUNDED)
    assert shown["threshold"] is None
    assert shown["strong_rows"] is None
    pilot, cost = shown["pilot"], shown["cost_usd"]
    assert pilot["rows"] == 100
    assert 0 < pilot["cost_usd"]["low"] < pilot["cost_usd"]["mid"] < pilot["cost_usd"]["high"] < pilot["most_usd"]
    by_share = {point["strong_fraction"]: point["cost_usd"] for point in shown["frontier"]}
    assert list(by_share) == [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
    assert cost["mid"] == pytest.approx(by_share[0.5])
    assert cost["low"] < by_share[0.0] < cost["mid"] < by_share[1.0] < cost["high"]
    assert by_share[1.0] == pytest.approx(shown["all_strong_usd"] + pilot["cost_usd"]["mid"])
    assert by_share[0.0] == pytest.approx(shown["all_weak_usd"] + pilot["cost_usd"]["mid"])


def test_it_is_said_in_words_too(folder: Path, batchroute: Command) -> None:
    said = batchroute("plan", write_job(folder, SUMS, BOUNDED))
    words = " ".join(said.out.split())
    assert "pilot, beside these 100" in words
    assert "pilot: 100 rows are asked on both sides first, at most" in words
    assert (
        "the pilot decides how many rows go strong: shown is half of them, between all weak and all strong"
        in words
    )
    unbounded = " ".join(batchroute("plan", write_job(folder, SUMS)).out.split())
    assert "without an amount at most beside the rows" in unbounded


def test_a_judge_costs_and_takes_its_time(folder: Path) -> None:
    reference, rubric = plan_job(loaded(folder)), plan_job(loaded(folder, {"pilot": {}}, judged()))
    assert reference.pilot is not None
    assert rubric.pilot is not None
    assert reference.pilot.cost_usd is not None
    assert rubric.pilot.cost_usd is not None
    assert rubric.pilot.cost_usd.mid > reference.pilot.cost_usd.mid
    assert rubric.time_s > reference.time_s


def test_a_job_without_one_has_no_key_for_it(folder: Path, batchroute: Command) -> None:
    assert "pilot" not in as_json(batchroute, folder, {"routing": {"threshold": 0.5}, "pilot": None})


def test_beside_a_threshold_it_only_costs(folder: Path, batchroute: Command) -> None:
    without = as_json(batchroute, folder, {"routing": {"threshold": 0.5}, "pilot": None})
    measured = as_json(batchroute, folder, {"routing": {"threshold": 0.5}})
    assert measured["threshold"] == 0.5
    assert measured["strong_rows"] == without["strong_rows"]
    for end in ("low", "mid", "high"):
        assert measured["cost_usd"][end] == pytest.approx(
            without["cost_usd"][end] + measured["pilot"]["cost_usd"][end]
        )


def test_a_pilot_that_is_done_gives_threshold_lengths_and_its_own_bill(folder: Path) -> None:
    job = loaded(folder)
    run_job(job, RunOptions(environ={}, pilot_only=True))
    found, plan = read_quality(Path(job.output.path)), plan_job(job)
    assert found is not None
    assert found.verdict is not None
    assert plan.pilot is not None
    assert plan.pilot.found == found
    assert plan.threshold == (found.threshold if found.verdict == "route" else plan.threshold)
    assert plan.threshold is not None
    assert plan.strong_rows is not None
    assert all("in this job's pilot" in " ".join(endpoint.assumed) for endpoint in plan.endpoints)
    end = run_job(job, RunOptions(environ={}))
    report = read_report(Path(job.output.path))
    assert end.complete
    assert report is not None
    assert report.pilot_cost_usd is not None
    assert plan.pilot.cost_usd is not None
    assert plan.pilot.cost_usd.low == plan.pilot.cost_usd.high == pytest.approx(report.pilot_cost_usd)
    assert (report.threshold, report.strong_rows) == (plan.threshold, plan.strong_rows)
    assert plan.cost_usd is not None
    assert report.total_usd is not None
    assert plan.cost_usd.low <= report.total_usd <= plan.cost_usd.high
    [cost, *_] = predicted_rows(report)
    assert cost[3] == money(report.total_usd), "with the pilot, as the plan has it"
    over = plan_job(job)
    assert over.is_over
    assert over.pilot is not None
    assert over.pilot.cost_usd is not None
    assert over.pilot.cost_usd.mid == report.pilot_cost_usd
    assert over.cost_usd is not None
    assert over.cost_usd.mid == pytest.approx(report.total_usd)


def test_another_target_is_decided_anew(folder: Path) -> None:
    """The answers are on file, and nobody has yet chosen by them."""
    run_job(loaded(folder), RunOptions(environ={}, pilot_only=True))
    plan = plan_job(loaded(folder, {"routing": {"quality": 0.99}}))
    assert plan.threshold is None
    assert plan.pilot is not None
    assert plan.pilot.cost_usd is not None
    assert plan.pilot.cost_usd.low < plan.pilot.cost_usd.high, "of either side's answers beside"
    assert plan.pilot.time_s == 0


def test_check_says_that_it_asks_no_more(folder: Path, batchroute: Command) -> None:
    path = write_job(folder, SUMS, BOUNDED)
    run_job(load_job(path, environ={}), RunOptions(environ={}, pilot_only=True))
    said = batchroute("check", path)
    assert said.code == 0
    assert "pilot: is at its end, and asks no more; " in said.out
    assert "pilot: at most" not in said.out
    other = write_job(folder, SUMS, BOUNDED, {"routing": {"quality": 0.99}})
    assert "pilot: at most" in batchroute("check", other).out
