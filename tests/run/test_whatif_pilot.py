"""A run with a pilot at another threshold: what it would cost with the pilot, and what its grades say is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.report.figures import read_report
from batchroute.report.quality import read_quality
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.run.whatif import share_of_run, what_if
from jobs import job_of, simulated
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

SUMS: dict[str, Any] = {
    **simulated(latency_s=0.0),
    "routing": {"quality": 0.9},
    "pilot": {"rows": 100, "judge": "reference", "reference": "answer"},
    "endpoints.strong.simulate": {"latency_s": 0.0, "response_tokens": 60, "skill": 0.98},
    "endpoints.weak.simulate": {"latency_s": 0.0, "response_tokens": 20, "skill": 0.85},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whatif")
    job = job_of(write_sums(folder / "prompts.jsonl", 300), folder / "run", SUMS)
    run_job(job, RunOptions(environ={}))
    return folder / "run"


def test_at_its_own_threshold_it_is_the_run_itself(run: Path) -> None:
    report, quality = read_report(run), read_quality(run)
    assert report is not None
    assert report.threshold is not None
    assert report.pilot_cost_usd
    assert quality is not None
    found = what_if(run, report.threshold)
    assert (found.changed_rows, found.delta_usd) == (0, 0)
    assert found.cost_usd == pytest.approx(report.total_usd)
    assert found.kept is not None
    assert found.kept.kept == quality.kept
    assert found.kept.low <= found.kept.kept <= found.kept.high


def test_all_strong_pays_the_weak_answers_beside(run: Path) -> None:
    """Of 100 rows that both sides were asked the strong answer becomes the result, the weak one stands beside."""
    report, found = read_report(run), what_if(run, 0.0)
    assert report is not None
    assert report.all_strong_usd is not None
    assert report.total_usd is not None
    assert report.pilot_cost_usd is not None
    assert found.strong_rows == 300
    assert found.cost_usd is not None
    assert report.all_strong_usd < found.cost_usd < report.all_strong_usd + report.pilot_cost_usd
    assert found.delta_usd == pytest.approx(found.cost_usd - report.total_usd)
    assert found.kept is not None
    assert found.kept.kept == 1.0


def test_fewer_strong_rows_keep_less(run: Path) -> None:
    kept = [what_if(run, share_of_run(run, share)).kept for share in (0.9, 0.5, 0.0)]
    estimates = [each.kept for each in kept if each is not None]
    assert len(estimates) == 3
    assert estimates == sorted(estimates, reverse=True)


def test_it_is_said(run: Path, batchroute: Command) -> None:
    said = batchroute("whatif", run, "--strong-fraction", "0.5")
    shown = json.loads(batchroute("whatif", run, "--strong-fraction", "0.5", "--json").out)
    assert {"kept", "low", "high"} < shown.keys()
    assert f"keeps about {shown['kept']:.1%}".replace("%", " %") in said.out
    assert "of the strong side's quality, by the pilot's grades" in said.out


def test_without_a_pilot_nothing_is_said_of_quality(tmp_path: Path, batchroute: Command) -> None:
    path = write_sums(tmp_path / "prompts.jsonl", 20)
    run_job(job_of(path, tmp_path / "run", {**SUMS, "routing": {"threshold": 0.5}, "pilot": None}), RunOptions({}))
    shown = json.loads(batchroute("whatif", tmp_path / "run", "--threshold", "0.4", "--json").out)
    assert list(shown) == ["threshold", "strong_rows", "changed_rows", "cost_usd", "delta_usd", "new_usd"]
