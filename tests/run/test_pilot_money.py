"""What a pilot costs: never more than the budget, all of it on the bill, and each answer on it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest

from batchroute.report.build import build_report
from pilots import pilot_job

if TYPE_CHECKING:
    from pathlib import Path

    from pilots import PilotJob

ROWS = 40
SAMPLED = 12
SMALL: dict[str, Any] = {"pilot.rows": SAMPLED}


def assert_adds_up(job: PilotJob) -> None:
    """At any stop: what the report says, written by the run or made anew, is what the providers charge."""
    written, anew = job.report(), build_report(job.run)
    assert written["total_usd"] == pytest.approx(job.billed_usd()) == anew.total_usd
    assert written["total_usd"] == pytest.approx(written["cost_usd"] + written["pilot_cost_usd"])
    assert (written["cost_usd"], written["pilot_cost_usd"]) == (anew.cost_usd, anew.pilot_cost_usd)
    costs = ds.dataset(job.run / "results").to_table(columns=["cost_usd"])["cost_usd"].to_pylist()
    assert written["cost_usd"] == pytest.approx(sum(costs) + written["failed_cost_usd"])


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_budget_holds_for_all_of_it(tmp_path: Path, concurrency: int) -> None:
    """It ends amid asking, amid judging and amid the rest; each time a higher one goes on from there."""
    with pilot_job(tmp_path, ROWS) as job:
        lanes = {f"endpoints.{side}.max_concurrency": concurrency for side in ("strong", "weak")}
        bounds = {f"endpoints.{side}.params": {"max_tokens": 250} for side in ("strong", "weak")}
        judge = job.judged_by("rubric", params={"max_tokens": 100}, max_concurrency=concurrency)
        stopped: list[str] = []
        for limit in (0.008, 0.03, 0.055, 1.0):
            job.write(SMALL, judge, bounds, lanes, {"limits.max_cost_usd": limit})
            end = job.done()
            assert job.billed_usd() <= limit
            assert_adds_up(job)
            stopped += [each.partition(":")[0] for each in end.stopped]
        assert end.complete
        assert {"strong", "judge"} <= set(stopped)
        assert job.asked_twice() == 0
        assert job.requests == ROWS + SAMPLED + 2 * SAMPLED


def test_a_row_that_money_moves_to_the_weak_side_takes_its_answer_there(tmp_path: Path) -> None:
    with pilot_job(tmp_path, ROWS) as job:
        bounds = {f"endpoints.{side}.params": {"max_tokens": 250} for side in ("strong", "weak")}
        budget = {"limits.max_cost_usd": 0.033, "limits.on_budget": "downgrade", "routing": {"quality": 0.95}}
        job.write(SMALL, bounds, budget)
        assert job.done().complete
        assert job.report()["budget_rows"]
        assert job.billed_usd() <= 0.033
        assert_adds_up(job)
        assert job.asked_twice() == 0


def test_answers_of_a_price_that_is_not_known_cost_nothing_that_is_known(tmp_path: Path) -> None:
    unknown = {"endpoints.strong.model": "house-brand-70b", "endpoints.strong.price": None}
    with pilot_job(tmp_path, ROWS) as job:
        job.write(SMALL, unknown)
        for options in ({"pilot_only": True}, {}):
            job.done(**options)
            report = job.report()
            assert (report["pilot_cost_usd"], report["total_usd"], report["savings_usd"]) == (None, None, None)


def test_what_ends_otherwise_goes_on_with_the_answer_that_is_there(tmp_path: Path) -> None:
    """An answer that is cut sends its row to the other side, whose answer the pilot has: the row pays both."""
    with pilot_job(tmp_path, ROWS) as job:
        job.providers["weak"].control({"poison": {"no_room": 0.5}})
        job.write({"pilot.rows": ROWS, "endpoints.weak.on_finish": {"length": "other"}})
        assert job.done().complete
        table = ds.dataset(job.run / "results").to_table(columns=["route_reason", "attempts"]).to_pylist()
        moved = [row for row in table if row["route_reason"] == "finish"]
        assert moved
        assert {row["attempts"] for row in moved} == {2}
        assert job.requests == 2 * ROWS
        assert_adds_up(job)


def test_refused_rows_are_asked_again_where_that_is_wanted(tmp_path: Path) -> None:
    with pilot_job(tmp_path, ROWS) as job:
        for side in ("strong", "weak"):
            job.providers[side].control({"poison": {"content_filter": 0.4}})
        job.write(SMALL)
        refused = job.done().refused
        assert refused
        for side in ("strong", "weak"):
            job.providers[side].control({"poison": {}})
        asked = job.requests
        assert job.done(retry_refused=True).complete
        assert job.requests - asked == refused
        assert_adds_up(job)


def test_a_price_that_changes_changes_no_bill(tmp_path: Path) -> None:
    """What was paid at the old one is on the bill as it was, whoever takes the answer, and when."""
    with pilot_job(tmp_path, ROWS) as job:
        job.write({"pilot.rows": ROWS})
        job.done(pilot_only=True)
        before = job.report()["total_usd"]
        dearer = {f"endpoints.{side}.price": {"input": 20.0, "output": 100.0} for side in ("strong", "weak")}
        job.write({"pilot.rows": ROWS}, dearer)
        assert job.done().complete
        assert job.report()["total_usd"] == pytest.approx(before)


def test_a_target_that_changes_before_any_row_is_answered_asks_nothing(tmp_path: Path) -> None:
    """Nor does a job that only measures by now; what was found is found anew for it."""
    with pilot_job(tmp_path, ROWS) as job:
        found: list[tuple[Any, ...]] = []
        for routing in ({"quality": 0.99}, {"quality": 0.5}, {"strong_fraction": 0.25}, {"strong_fraction": 0.75}):
            job.write(SMALL, {"routing": routing})
            job.done(pilot_only=True)
            quality = job.report()["quality"]
            found.append((quality["target"], quality["strong_share"]))
            assert job.requests == 2 * SAMPLED
        assert found[0] == (0.99, 1.0)
        assert found[1][1] < 1.0
        assert found[2][1] < found[3][1]
        assert job.done().complete
        assert_adds_up(job)


def test_a_pilot_beside_a_finished_run_takes_rows_from_either(tmp_path: Path) -> None:
    with pilot_job(tmp_path, ROWS) as job:
        job.write({"pilot": None, "routing": {"threshold": 0.05}, "output.path": "before"})
        job.done()
        asked, billed = job.requests, job.billed_usd()
        job.write(SMALL, {"input.reuse": "before"})
        assert job.done().complete
        assert job.requests - asked <= 2 * SAMPLED + ROWS
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd() - billed)
        assert sum(job.places().values()) == ROWS
