"""`serve` of a job that names a share or a budget: `router` is the threshold that its run directory knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from msgspec.structs import replace

import jobs
from batchroute.errors import UsageFault
from batchroute.job.load import load_job
from batchroute.report.quality import read_quality
from batchroute.run.engine import run_job
from batchroute.run.kept import served_job
from batchroute.run.options import RunOptions
from batchroute.run.pilot.files import write_quality
from batchroute.run.plan import plan_job
from batchroute.store.identity import known_identity
from batchroute.store.layout import RunLayout
from inputs import lines
from serving import LONG, SHORT, client, headers_of, serving, user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.job.spec import Job
    from command import Said
    from serving import Served

    Command = Callable[..., Said]

# Each way to a threshold that is not the threshold itself.
WAYS: list[dict[str, Any]] = [{"routing.strong_fraction": 0.5}, {"routing.budget_usd": 0.0005}]


def job_of(folder: Path, *changes: dict[str, Any]) -> Job:
    lines(folder / "prompts.jsonl", *({"prompt": SHORT * (1 + 9 * row)} for row in range(20)))
    ours = [{"routing.threshold": None}, jobs.simulated(latency_s=0), jobs.on_both("params", {"max_tokens": 5})]
    return load_job(jobs.write_job(folder, *ours, *changes), environ={})


def routed(served: Served, model: str, text: str) -> dict[str, str]:
    with client(served) as ask:
        return headers_of(ask.chat.completions.with_raw_response.create(model=model, messages=user(text)))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
def test_after_a_plan_router_is_its_threshold(tmp_path: Path, way: dict[str, Any]) -> None:
    job = job_of(tmp_path, way)
    planned = plan_job(job).threshold
    with serving(job) as served:
        assert not any("threshold" in words for words in served.said)
        assert {routed(served, "router", text)["route"] for text in (SHORT, LONG)} == {"strong", "weak"}
        assert float(routed(served, "router", LONG)["threshold"]) == planned


def test_after_a_run_router_is_the_runs_threshold(tmp_path: Path, batchroute: Command) -> None:
    job = job_of(tmp_path, WAYS[0])
    assert batchroute("run", tmp_path / "job.toml", "--quiet").code == 0
    (tmp_path / "run" / "plan.json").unlink(missing_ok=True)
    with serving(job) as served:
        assert routed(served, "router", LONG)["route"] == "strong"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
def test_before_it_says_what_to_do(tmp_path: Path, way: dict[str, Any]) -> None:
    with serving(job_of(tmp_path, way)) as served:
        [words] = [words for words in served.said if "threshold" in words]
        assert "batchroute plan" in words
        assert str(tmp_path / "run") in words
        with pytest.raises(openai.NotFoundError, match="threshold is not known yet"):
            routed(served, "router", LONG)
        assert routed(served, "router-length-0.5", LONG)["route"] == "strong"


def test_the_threshold_of_another_router_or_share_is_not_taken(tmp_path: Path) -> None:
    plan_job(job_of(tmp_path, WAYS[0]))
    for change in ({"routing.strong_fraction": 0.4}, {**WAYS[0], "router.use": "random"}):
        with serving(job_of(tmp_path, change)) as served:
            assert any("not known yet" in words for words in served.said)


QUALITY: dict[str, Any] = {
    "routing.threshold": None,
    "routing.quality": 0.5,
    "pilot": {"rows": 20, "judge": "reference", "reference": "answer"},
}


def job_with_pilot(folder: Path, *changes: dict[str, Any]) -> Job:
    lines(folder / "prompts.jsonl", *({"prompt": f"What is {row} + 3?", "answer": row + 3} for row in range(40)))
    ours = [jobs.simulated(latency_s=0, skill=0.9), QUALITY, *changes]
    return load_job(jobs.write_job(folder, *ours), environ={})


@pytest.mark.parametrize("pilot_only", [False, True])
def test_what_a_pilot_chose_is_served(tmp_path: Path, pilot_only: bool) -> None:
    job = job_with_pilot(tmp_path)
    run_job(job, RunOptions(environ={}, pilot_only=pilot_only))
    planned, served = plan_job(job), served_job(job)
    assert planned.threshold is not None
    assert served.routing.threshold == planned.threshold
    assert (served.pilot, served.judge) == (None, None)
    with serving(served) as server:
        assert float(routed(server, "router", LONG)["threshold"]) == planned.threshold


def test_a_server_routes_by_the_router_that_the_pilot_measured(tmp_path: Path) -> None:
    """Its scores are those of the run from its first row on; a pilot by itself leaves the job's there."""
    job = job_with_pilot(tmp_path)
    run_job(job, RunOptions(environ={}, pilot_only=True))
    found = read_quality(tmp_path / "run")
    assert found is not None
    learnt = replace(found, router="length", verdict="route", threshold=0.125, strong_share=0.5)
    write_quality(RunLayout(tmp_path / "run"), learnt)
    served = served_job(job)
    assert (served.router.use, served.routing.threshold) == ("length", 0.125)


def test_without_one_it_is_one_clear_fault(tmp_path: Path, batchroute: Command) -> None:
    job = job_with_pilot(tmp_path)
    with pytest.raises(UsageFault, match=r"a server has no pilot, and no run in .*run has come to a threshold"):
        served_job(job)
    plan_job(job)  # which cannot know it either
    said = batchroute("serve", tmp_path / "job.toml", "--port", "0")
    assert said.code == 2
    assert "routing.quality: a server has no pilot" in said.err
    assert "--set routing.threshold=T" in said.err
    named = load_job(tmp_path / "job.toml", environ={}, sets=["routing.threshold=0.25"])
    assert served_job(named).routing.threshold == 0.25


def test_another_target_s_threshold_is_not_taken(tmp_path: Path) -> None:
    run_job(job_with_pilot(tmp_path), RunOptions(environ={}, pilot_only=True))
    with pytest.raises(UsageFault, match="a server has no pilot"):
        served_job(job_with_pilot(tmp_path, {"routing.quality": 0.6}))


def test_a_router_that_was_learnt_is_served(tmp_path: Path) -> None:
    """The run's identity names it, and its scores are what the threshold belongs to."""
    learns = {"pilot": {"rows": 40, "judge": "reference", "reference": "answer", "learn": True}}
    job = job_with_pilot(tmp_path, learns)
    run_job(job, RunOptions(environ={}))
    identity = known_identity(RunLayout(tmp_path / "run"))
    assert identity is not None
    served = served_job(job)
    is_own = identity.router == "own"
    assert (served.router.model == str(tmp_path / "run" / "pilot" / "model")) == is_own
    assert served.routing.threshold == identity.threshold
