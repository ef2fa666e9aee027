"""Watched rows: a random share asked of both sides, graded at the end, night after night."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from batchroute.report.graded import with_grades
from batchroute.report.quality import read_quality
from batchroute.route.forecast.pilot import NOTHING
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.run.pilot.files import write_quality
from batchroute.run.pilot.found import paid_beside
from batchroute.run.pilot.watch import WatchedGrades, WatchedRows, watch_figures
from batchroute.store.layout import RunLayout
from pilots import CONCURRENCY, pilot_job, skilled
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pilots import PilotJob

ROWS = 240


@pytest.fixture
def job(tmp_path: Path) -> Iterator[PilotJob]:
    with pilot_job(tmp_path, ROWS) as made:
        yield made


def quality_of(job: PilotJob) -> Any:
    found = read_quality(job.run)
    assert found is not None
    return found


def sides_requests(job: PilotJob) -> int:
    return sum(job.providers[side].stats().requests for side in ("strong", "weak"))


def watched(job: PilotJob) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(RunLayout(job.run).watched_rows).to_pylist()
    return rows


@pytest.mark.parametrize("judge", ["reference", "rubric", "pairwise"])
def test_both_sides_answers_to_a_share_of_the_rows_say_what_was_kept(job: PilotJob, judge: str) -> None:
    by_model = {} if judge == "reference" else job.judged_by(judge)
    job.write({"pilot.watch": 0.4, "routing.quality": 0.5}, by_model)
    assert job.done().exit_code(0.0) == 0
    rows, report = watched(job), job.report()
    assert 0.25 * ROWS < len(rows) < 0.5 * ROWS
    assert {row["route"] for row in rows} <= {"strong", "weak"}
    assert all(row["strong_response"] and row["weak_response"] for row in rows)
    found = quality_of(job)
    assert found.watch.rows == len(rows) + 40
    assert found.watch.low <= found.watch.kept <= found.watch.high
    assert sum(group.rows for group in found.watch.by_route) == found.watch.rows
    assert sides_requests(job) == ROWS + 40 + len(rows)
    assert job.places() == Counter(range(ROWS))
    assert report["total_usd"] == pytest.approx(job.billed_usd())


def test_a_run_that_goes_on_watches_the_same_rows_and_asks_none_of_them_again(job: PilotJob) -> None:
    job.write({"pilot.watch": 0.4, "routing.quality": 0.5})
    job.killed_after(150, 0.0)
    assert job.done().exit_code(0.0) == 0
    interrupted = {row["row"] for row in watched(job)}
    assert sides_requests(job) <= ROWS + 40 + len(interrupted) + 2 * CONCURRENCY  # those in flight at the kill
    job.write({"pilot.watch": 0.4, "routing.quality": 0.5, "output.path": "whole"})
    run_job(job.load(), RunOptions(environ={}))
    whole = {row["row"] for row in pq.read_table(RunLayout(job.folder / "whole").watched_rows).to_pylist()}
    assert len(interrupted ^ whole) <= 4  # the answer of one killed between its own side's and its mark


@pytest.mark.parametrize("judge", ["reference", "rubric"])
def test_a_run_that_was_killed_before_the_watched_rows_were_graded_grades_them(job: PilotJob, judge: str) -> None:
    by_model = {} if judge == "reference" else job.judged_by(judge)
    job.write({"pilot.watch": 0.4, "routing.quality": 0.5}, by_model)
    job.done()
    layout, found, requests = RunLayout(job.run), quality_of(job), job.requests
    verdicts = layout.verdicts.read_bytes() if by_model else b""
    layout.watched_rows.unlink()
    layout.verdicts.unlink(missing_ok=True)
    write_quality(layout, replace(found, watch=None))
    job.done()
    assert quality_of(job) == found
    assert len(watched(job)) + 40 == found.watch.rows
    assert not by_model or layout.verdicts.read_bytes() == verdicts
    assert job.requests == requests  # all answers and verdicts were on file


def test_rows_that_were_done_before_they_were_to_be_watched_are_not_asked_of_the_other_side(job: PilotJob) -> None:
    job.write({"routing.quality": 0.5})
    job.killed_after(160, 0.0)
    job.write({"pilot.watch": 0.4, "routing.quality": 0.5})
    job.done()
    beside = sides_requests(job) - ROWS - 40
    assert 0 < len(watched(job)) <= beside <= len(watched(job)) + 2 * CONCURRENCY  # those in flight at the kill
    job.write({"pilot.watch": 0.8, "routing.quality": 0.5})
    requests = job.requests
    assert job.done().exit_code(0.0) == 0
    assert job.requests == requests


def test_a_target_that_is_missed_ends_with_3_and_without_success(tmp_path: Path) -> None:
    # The weak side turns bad after the pilot: its skill is that of another provider when the rest is asked.
    with pilot_job(tmp_path, 400, weak=skilled("weak", skill=1.0)) as job:
        job.write({"pilot.watch": 0.5, "pilot.rows": 100, "routing.quality": 0.9, "routing.confidence": 0.8})
        job.done(pilot_only=True)
        (tmp_path / "later").mkdir()
        with pilot_job(tmp_path / "later", 1, weak=skilled("weak", skill=0.0)) as later:
            url = later.providers["weak"].url
            job.write(
                {"pilot.watch": 0.5, "pilot.rows": 100, "routing.quality": 0.9, "routing.confidence": 0.8},
                {"endpoints.weak.base_url": url},
            )
            end = job.done()
        found = quality_of(job)
        assert found.strong_share == 0
        assert (found.broken, end.exit_code(0.0)) == (True, 3)
        assert found.watch.high < 0.9
        assert job.report()["state"] == "complete"
        assert not RunLayout(job.run).success.exists()


def test_fewer_than_thirty_rows_bound_nothing() -> None:
    few = WatchedGrades(np.ones(20), np.zeros(20), ["weak"] * 20)
    found = watch_figures(few, 0.9)
    assert (found.rows, found.kept, found.low, found.high) == (20, 0.0, None, None)
    many = WatchedGrades(np.ones(40), np.zeros(40), ["weak"] * 40)
    assert watch_figures(many, 0.9).high == pytest.approx(0.0, abs=0.2)


def test_a_pilot_of_an_earlier_night_is_taken_over_while_the_prompts_are_the_same(job: PilotJob) -> None:
    job.write({"pilot.watch": 0.3, "routing.quality": 0.5})
    job.done()
    first = quality_of(job)
    before = job.requests
    write_sums(job.folder / "prompts.jsonl", ROWS, seed=1)
    night = {"pilot.reuse": "run", "output.path": "night"}
    job.write({"routing.quality": 0.5}, night)
    run_job(job.load(), RunOptions(environ={}))
    found = read_quality(job.folder / "night")
    assert found is not None
    assert (found.reused, found.why_new, found.asked) == (str(job.run), None, 0)
    assert found.rows == first.rows + len(watched(job))  # watched rows count into it
    assert job.requests - before == ROWS
    # The places of that night's rows are those of others now, and what they cost was paid then.
    layout = RunLayout(job.folder / "night")
    places = pl.scan_parquet(layout.pilot_rows).select("file", "row", route=pl.lit("weak"))
    assert with_grades(places, layout.path).collect()["strong_grade"].count() == 0
    assert paid_beside(layout, 0.5) == NOTHING


def test_what_an_earlier_night_kept_is_an_estimate_of_this_one_even_where_all_its_rows_were_asked(
    job: PilotJob,
) -> None:
    job.write({"routing.quality": 0.3, "pilot.rows": ROWS})
    job.done()
    first = quality_of(job)
    job.write({"routing.quality": 0.3, "pilot.rows": ROWS}, {"pilot.reuse": "run", "output.path": "night"})
    run_job(job.load(), RunOptions(environ={}))
    found = read_quality(job.folder / "night")
    assert found is not None
    assert found.verdict == first.verdict == "all weak"
    assert found.low < found.kept == first.kept == first.low == first.high < found.high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"endpoints.weak.params": {"temperature": 0.5}}, "endpoints.weak.params changed"),
        ({"pilot.match": "number"}, "pilot.match changed"),
        ({"router.use": "random"}, "router.use changed"),
    ],
)
def test_another_question_needs_a_pilot_of_its_own(job: PilotJob, change: dict[str, Any], why: str) -> None:
    job.write({"routing.quality": 0.5})
    job.done()
    job.write({"routing.quality": 0.5, "pilot.reuse": "run", "output.path": "night"}, change)
    run_job(job.load(), RunOptions(environ={}))
    found = read_quality(job.folder / "night")
    assert found is not None
    assert (found.reused, found.why_new, found.asked) == (None, why, 40)


def test_a_night_after_none_needs_a_pilot_of_its_own(job: PilotJob) -> None:
    """As a first one, or one after a holiday."""
    job.write({"routing.quality": 0.5, "pilot.reuse": "yesterday"})
    assert job.done().exit_code(0.0) == 0
    found = quality_of(job)
    assert (found.reused, found.asked) == (None, 40)
    assert found.why_new == f"{job.folder / 'yesterday'} is not there"


def test_other_prompts_need_a_pilot_of_their_own(job: PilotJob) -> None:
    job.write({"routing.quality": 0.5, "router.use": "length"})
    job.done()
    long = "".join(f'{{"prompt": "{"x " * 200} What is {n} + {n}?", "answer": {2 * n}}}\n' for n in range(200))
    (job.folder / "prompts.jsonl").write_text(long)
    job.write({"routing.quality": 0.5, "router.use": "length"}, {"pilot.reuse": "run", "output.path": "night"})
    run_job(job.load(), RunOptions(environ={}))
    found = read_quality(job.folder / "night")
    assert found is not None
    assert found.reused is None
    assert found.why_new is not None
    assert "drift" in found.why_new


def test_which_rows_are_watched_is_drawn_by_their_place_and_the_seed(job: PilotJob) -> None:
    job.write()
    endpoints, store = job.load().endpoints, None
    drawn = [
        WatchedRows(endpoints, {}, store, share=0.3, seed=seed)._is_watched(file, np.arange(10_000))  # type: ignore[arg-type]
        for seed, file in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))
    ]
    assert (drawn[0] == drawn[1]).all()
    for other in drawn[2:]:
        assert 0.25 < (drawn[0] & other).mean() / drawn[0].mean() < 0.35
    assert all(0.28 < each.mean() < 0.32 for each in drawn)
