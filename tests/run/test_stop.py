"""Runs that end early: by their caller, by the clock, by a fault of their input; what is in flight is kept."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from batchroute.errors import ModelFault, UsageFault
from batchroute.report.build import build_report
from batchroute.run.engine import Run, RunOptions, run_job
from batchroute.run.stop import Stopper, seconds_until
from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from batchroute.types import Floats
    from servers import ThreadedSimulator

OPTIONS = RunOptions(environ={})


def job_for(folder: Path, server: ThreadedSimulator, changes: dict[str, Any] | None = None) -> Job:
    urls = {f"endpoints.{name}.base_url": server.url for name in ("strong", "weak")}
    return job_of(folder / "prompts.jsonl", folder / "run", {**urls, **(changes or {})})


def answered(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(folder / "run" / "results").to_table().to_pylist()
    return rows


def assert_every_answer_is_kept(folder: Path, server: ThreadedSimulator) -> None:
    """What the provider billed stands in the results, request by request."""
    rows = answered(folder)
    assert sum(row["attempts"] for row in rows) == server.stats().requests > 0
    assert sum(row["completion_tokens"] for row in rows) == server.stats().completion_tokens
    assert {row["status"] for row in rows} == {"ok"}


# --- by its caller


def test_a_run_is_stopped_by_its_caller_and_goes_on_later(tmp_path: Path, server: ThreadedSimulator) -> None:
    rows = 400
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(rows)))
    server.control({"latency_s": 0.05})
    job = job_for(tmp_path, server)

    async def stop_soon(progress: Progress) -> None:
        while progress.settled < 50:  # noqa: ASYNC110 - counters tell no one
            await asyncio.sleep(0.01)
        run.stop("enough for today")

    said: list[str] = []
    run = Run(job, RunOptions(environ={}, watch=stop_soon, notify=said.append))
    end = asyncio.run(run.go())
    assert (end.stopped, end.signal, end.exit_code(0.0)) == (("enough for today",), None, 4)
    assert said == ["enough for today"]
    assert 50 <= end.ok < rows
    assert_every_answer_is_kept(tmp_path, server)
    assert run_job(job, OPTIONS).complete
    assert server.stats().requests == rows


# --- the report


def test_whoever_runs_a_job_from_python_gets_its_report_and_success(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(20)))
    job = job_for(tmp_path, server)
    seen: list[str] = []

    async def look(progress: Progress) -> None:
        seen.append(json.loads((tmp_path / "run" / "report.json").read_text())["state"])

    run_job(job, RunOptions(environ={}, watch=look))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (seen, report["state"], report["ok"]) == (["running"], "complete", 20)
    success = tmp_path / "run" / "_SUCCESS"
    assert success.exists()
    assert not run_job(job, OPTIONS).asked
    assert success.exists(), "a run that finds everything complete takes nothing away"
    assert json.loads((tmp_path / "run" / "report.json").read_text())["state"] == "complete"


def test_a_job_with_rows_left_has_no_success(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(20)))
    job = job_for(tmp_path, server)
    assert run_job(job, RunOptions(environ={}, limit=10)).complete
    server.control({"error_rate": 1.0})
    once = {f"endpoints.{name}.max_attempts": 1 for name in ("strong", "weak")}
    end = run_job(job_for(tmp_path, server, {**once, "limits.outage_s": 0.2}), OPTIONS)
    assert not end.complete
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    assert json.loads((tmp_path / "run" / "report.json").read_text())["state"] == "incomplete"


@pytest.mark.parametrize(
    ("prompts", "ok_if_refused", "code", "state"),
    [
        (["fine"] * 3, 0.0, 0, "complete"),
        (["[[fault:422]]", "fine", "fine"], 0.0, 3, "refusals"),
        (["fine", "[[fault:422]]"], 0.5, 0, "complete"),
        (["fine", "[[fault:500]]"], 1.0, 3, "incomplete"),
        (["[[fault:422]]", "[[fault:500]]"], 0.0, 3, "incomplete"),
        (["fine", None], 0.0, 3, "refusals"),  # a row that the input refuses
    ],
)
def test_success_stands_where_the_exit_code_is_0_and_the_state_says_why(
    tmp_path: Path,
    server: ThreadedSimulator,
    prompts: list[str | None],
    ok_if_refused: float,
    code: int,
    state: str,
) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": text} for text in prompts))
    once = {f"endpoints.{name}.max_attempts": 1 for name in ("strong", "weak")}
    job = job_for(tmp_path, server, {**once, "limits.ok_if_refused": ok_if_refused})
    for _ in range(2):  # the second time no row but failed ones is left to be asked
        end = run_job(job, OPTIONS)
        written = json.loads((tmp_path / "run" / "report.json").read_text())["state"]
        assert (end.exit_code(ok_if_refused), written, build_report(tmp_path / "run").state) == (
            code,
            state,
            state,
        )
        assert (tmp_path / "run" / "_SUCCESS").exists() == (code == 0)


# --- by a fault of the input or of the router


class BreaksOnBoom:
    """Scores 1 for texts that hold "up", 0 for others, and no number for one that holds "boom"."""

    def score(self, prompts: Sequence[str]) -> Floats:
        return np.array([np.nan if "boom" in text else float("up" in text) for text in prompts])


def test_a_router_that_fails_on_the_way_loses_no_answer_and_cuts_no_lane_off(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    rows = [{"prompt": f"{'up' if row % 2 else 'down'} {row} " + "x" * 1000} for row in range(12_000)]
    lines(tmp_path / "prompts.jsonl", *rows, {"prompt": "boom"})
    server.control({"latency_s": 0.3})
    changes = {"router.use": "test_stop:BreaksOnBoom", "limits.drain_s": 30}
    end = run_job(job_for(tmp_path, server, changes), OPTIONS)
    assert end.exit_code(0.0) == 4
    assert "BreaksOnBoom" in end.stopped[0]
    assert_every_answer_is_kept(tmp_path, server)
    assert {row["route"] for row in answered(tmp_path)} == {"strong", "weak"}


def test_a_router_that_fails_before_anything_was_sent_is_the_users_fault(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "fine"}, {"prompt": "boom"})
    changes = {"router.use": "test_stop:BreaksOnBoom", "routing.threshold": None, "routing.strong_fraction": 0.5}
    said: list[str] = []
    with pytest.raises(ModelFault, match="BreaksOnBoom"):
        run_job(job_for(tmp_path, server, changes), RunOptions(environ={}, notify=said.append))
    assert server.stats().requests == 0
    assert said == [], "it is raised, and one message is enough"


def test_a_threshold_that_cannot_be_settled_does_not_leave_a_run_that_seems_to_run(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "fine"})
    changes = {"routing.threshold": None, "routing.budget_usd": 1e-9, "router.use": "random"}
    bounded = {f"endpoints.{name}.params": {"max_tokens": 100} for name in ("strong", "weak")}
    with pytest.raises(UsageFault, match="not enough"):
        run_job(job_for(tmp_path, server, {**changes, **bounded}), OPTIONS)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["state"] == "incomplete"
    assert server.stats().requests == 0


@dataclass
class Part:
    """A part of a run that has made so many attempts."""

    sent: int
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True

    def abandon(self) -> None:
        pass


@pytest.mark.parametrize("sent", [0, 1])
def test_a_fault_is_said_at_once_where_answers_are_still_awaited_also_those_of_an_embedder(sent: int) -> None:
    said: list[str] = []

    async def work() -> None:
        stopper = Stopper(20.0, said.append)
        parts = [Part(0), Part(sent)]
        for part in parts:
            stopper.add(part)
        stopper.fail(ModelFault("broken"))
        assert [part.stopped for part in parts] == [True, True]
        assert stopper.sent == sent, "and with exit 2 nothing was sent"

    asyncio.run(work())
    assert said == ["broken"] * sent


def test_an_input_that_is_cut_off_meanwhile_loses_no_answer(tmp_path: Path, server: ThreadedSimulator) -> None:
    """Each lane reads the input again while it sends: what it finds too short then is met after paid answers."""
    path = lines(tmp_path / "prompts.jsonl", *({"prompt": f"{row} " + "x" * 2000} for row in range(9_000)))
    share = {"routing.threshold": None, "routing.strong_fraction": 0.5}  # nothing is sent before all is scored
    job = job_for(tmp_path, server, {"router.use": "random", "limits.drain_s": 30, **share})

    async def cut(progress: Progress) -> None:
        while progress.settled < 100:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 2 // 3)

    end = run_job(job, RunOptions(environ={}, watch=cut))
    assert end.exit_code(0.0) == 4
    assert "restore it, or score it again" in end.stopped[0]
    assert_every_answer_is_kept(tmp_path, server)


# --- by the clock


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this process into a time zone."""

    def put(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"


@pytest.mark.parametrize(
    ("where", "now", "clock", "hours"),
    [
        ("UTC", "2026-11-23T05:30+00:00", "06:00", 0.5),
        ("UTC", "2026-11-23T06:00+00:00", "06:00", 24),
        ("UTC", "2026-11-23T22:00+00:00", "06:00", 8),
        ("UTC", "2026-11-23T00:00:36+00:00", "00:00", 23.99),
        (BERLIN, "2026-11-23T01:15+01:00", "06:00", 4.75),
        # Clocks go from 02:00 to 03:00.
        (BERLIN, "2026-03-29T01:15+01:00", "06:00", 3.75),
        (BERLIN, "2026-03-28T22:00+01:00", "06:00", 7),
        # Clocks go from 03:00 back to 02:00: 02:30 comes twice.
        (BERLIN, "2026-10-25T01:15+02:00", "06:00", 5.75),
        (BERLIN, "2026-10-25T02:15+02:00", "02:30", 0.25),
        (BERLIN, "2026-10-25T02:45+02:00", "02:30", 0.75),
        (BERLIN, "2026-10-25T02:45+01:00", "02:30", 23.75),
    ],
)
def test_the_next_time_a_clock_shows_is_today_or_tomorrow_also_when_clocks_change(
    zone: Callable[[str], None], where: str, now: str, clock: str, hours: float
) -> None:
    zone(where)
    assert seconds_until(clock, datetime.fromisoformat(now)) == pytest.approx(hours * 3600)
