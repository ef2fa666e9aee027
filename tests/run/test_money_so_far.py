"""The money that a display shows while a run works, against what the report says of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchroute.report.build import build_report
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from inputs import lines
from jobs import job_of, on_both
from servers import threaded_simulator

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report
    from batchroute.run.progress import Progress

ROWS = 60
WEAK = {"input": 0.25, "output": 1.0}


def ran(
    folder: Path, changes: dict[str, Any], limit: int | None = None, retry: bool = False
) -> tuple[Progress, Report]:
    """The counters of a run as they stood at its end, and the report."""
    seen: list[Progress] = []

    async def watch(progress: Progress) -> None:
        seen.append(progress)

    ours = {"routing": {"threshold": 0.01}, "endpoints.weak.price": WEAK, **changes}
    job = job_of(folder / "prompts.jsonl", folder / "run", ours)
    run_job(job, RunOptions(environ={}, limit=limit, watch=watch, retry_refused=retry))
    return seen[0], build_report(folder / "run")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"{row} {'x ' * (row * 37 % 200)}"} for row in range(ROWS)))
    return tmp_path


def assert_same(progress: Progress, report: Report) -> None:
    money = progress.money()
    assert report.savings_usd is not None
    assert money.spent_usd == pytest.approx(report.total_usd, abs=1e-12)
    assert money.all_strong_usd == pytest.approx(report.all_strong_usd, abs=1e-12)
    assert money.saved_usd == pytest.approx(report.savings_usd, abs=1e-12)
    assert progress.done == report.ok + report.refused


@pytest.mark.parametrize("limits", [{}, {"limits.max_cost_usd": 5.0, **on_both("params", {"max_tokens": 100})}])
def test_it_is_the_directorys_over_all_runs(prompts: Path, limits: dict[str, Any]) -> None:
    """A pilot first, then the rest: in money and rows the second run has both, in its lanes only its own."""
    with threaded_simulator(Behaviour()) as server:
        changes = {**on_both("base_url", server.url), **limits}
        first, pilot = ran(prompts, changes, limit=20)
        assert_same(first, pilot)
        progress, report = ran(prompts, changes)
    assert_same(progress, report)
    assert (progress.done_before, progress.settled) == (20, ROWS - 20)
    assert progress.max_cost_usd == limits.get("limits.max_cost_usd")
    sent = sum(lane.sent() for lane in progress.lanes.values())
    assert sent == ROWS - 20
    assert pilot.prompt_tokens is not None
    assert pilot.completion_tokens is not None
    tokens = (report.prompt_tokens or 0) + (report.completion_tokens or 0)
    before = pilot.prompt_tokens + pilot.completion_tokens
    assert sum(lane.tokens for lane in progress.lanes.values()) == tokens - before
    spent_here = sum(lane.cost_usd for lane in progress.lanes.values())
    assert spent_here == pytest.approx((report.cost_usd or 0) - (pilot.cost_usd or 0), abs=1e-12)


def test_an_answer_that_sends_its_row_elsewhere_is_counted_once(prompts: Path) -> None:
    with threaded_simulator(Behaviour()) as server:
        changes = {
            **on_both("base_url", server.url),
            "endpoints.weak.params": {"max_tokens": 3},
            "endpoints.weak.on_finish": {"length": "other"},
            "routing": {"threshold": 1.0},
        }
        progress, report = ran(prompts, changes)
    assert report.finish_rows
    assert progress.money().spent_usd == pytest.approx(report.total_usd, abs=1e-12)
    assert sum(lane.cost_usd for lane in progress.lanes.values()) == pytest.approx(report.total_usd, abs=1e-12)
    tokens = (report.prompt_tokens or 0) + (report.completion_tokens or 0)
    assert sum(lane.tokens for lane in progress.lanes.values()) == tokens


def test_what_has_no_price_has_no_sum(prompts: Path) -> None:
    with threaded_simulator(Behaviour()) as server:
        changes = {**on_both("base_url", server.url), **on_both("price", None)}
        progress, report = ran(prompts, changes)
        assert (report.total_usd, progress.money().spent_usd) == (None, None)
        only_weak = {
            **on_both("base_url", server.url),
            "endpoints.strong.price": None,
            "output.path": str(prompts / "other"),
        }
        progress, _ = ran(prompts, only_weak)
    assert progress.money().spent_usd
    assert progress.money().saved_usd is None
