"""Runs that end early: by their caller, by the clock, by a fault of their input; what is in flight is kept."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from batchroute.errors import ModelFault, UsageFault
from batchroute.job.spec import Limits
from batchroute.report.build import build_report
from batchroute.run.engine import JobRun, run_job
from batchroute.run.options import RunOptions
from batchroute.run.stop import Stopper, seconds_until
from inputs import lines
from jobs import job_of
from virtual_time import run_virtually

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
    run = JobRun(job, RunOptions(environ={}, watch=stop_soon, notify=said.append))
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
    job = job_for(tmp_path, server, {**once, "limits.ok_if_refused": ok_if_refused, "limits.outage_s": 1})
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
    assert "has become shorter since the run began; restore it" in end.stopped[0]
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
        (BERLIN, "2026-03-29T01:15+01:00", "02:30", 0.75),
        (BERLIN, "2026-03-29T01:45+01:00", "02:30", 0.25),
        (BERLIN, "2026-03-29T03:15+02:00", "02:30", 23.25),
        (BERLIN, "2026-03-29T01:15+01:00", "03:00", 0.75),
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


ZONES = {
    "Berlin": (BERLIN, ["2026-03-29T01:00Z", "2026-10-25T01:00Z"]),
    "New York": ("EST5EDT,M3.2.0,M11.1.0", ["2026-03-08T07:00Z", "2026-11-01T06:00Z"]),
    "Dublin, whose winter is the exception": (
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        ["2026-03-29T01:00Z", "2026-10-25T01:00Z"],
    ),
    "Santiago, at midnight": ("<-04>4<-03>,M9.1.6/24,M4.1.6/24", ["2026-09-06T04:00Z", "2026-04-05T03:00Z"]),
    "Lord Howe, by half an hour": (
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        ["2026-10-03T15:30Z", "2026-04-04T15:00Z"],
    ),
    "Kathmandu, never": ("<+0545>-5:45", ["2026-03-29T01:00Z"]),
}

ASK = """
import sys
from datetime import datetime
from batchroute.run.stop import seconds_until
for line in sys.stdin:
    clock, now_s = line.split()
    print(seconds_until(clock, datetime.fromtimestamp(float(now_s)).astimezone()))
"""
CLOCKS = ["00:00", "00:30", "01:30", "02:00", "02:15", "02:30", "03:00", "06:00", "23:59"]


def shown_at(at_s: int) -> datetime:
    return datetime(*time.localtime(at_s)[:5])  # noqa: DTZ001 - what the clock shows, and no more


def seconds_by_watching(clock: str, now_s: int) -> int:
    """Someone looks at a local clock every minute until it shows that time, or one beyond it."""
    hour, minute = map(int, clock.split(":"))
    shown = shown_at(now_s)
    for at_s in range(now_s - now_s % 60 + 60, now_s + 3 * 86_400, 60):
        before, shown = shown, shown_at(at_s)
        if any(
            asked == shown or before < asked < shown
            for asked in (day.replace(hour=hour, minute=minute) for day in (before, shown))
        ):
            return at_s - now_s
    raise AssertionError


@pytest.mark.parametrize("place", ZONES)
def test_a_run_stops_when_a_watched_clock_says_so(zone: Callable[[str], None], place: str) -> None:
    """In the nights around each change, asked by a process that has its zone from its start."""
    name, changes = ZONES[place]
    zone(name)
    asked = [
        (clock, int(datetime.fromisoformat(change).timestamp()) + minutes * 60 + 7)
        for change in changes
        for minutes in (-1500, -700, *range(-160, 120, 23))
        for clock in CLOCKS
    ]
    said = subprocess.run(
        [sys.executable, "-c", ASK],
        input="".join(f"{clock} {now_s}\n" for clock, now_s in asked),
        env=os.environ | {"TZ": name},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = [float(line) for line in said.split()]
    assert found == [seconds_by_watching(clock, now_s) for clock, now_s in asked]


def stopped_after_s(limits: Limits, wall_clock_s: Callable[[float], float]) -> tuple[float, list[str]]:
    """When a run is stopped, in the seconds of its event loop, of which the clock on the wall is a function."""

    async def work() -> tuple[float, list[str]]:
        loop = asyncio.get_running_loop()
        stopper = Stopper(0.0, lambda _: None, lambda: wall_clock_s(loop.time()))
        await stopper.in_time(limits)
        await asyncio.sleep(1)  # what it abandons then
        return loop.time() - 1, stopper.reasons

    return run_virtually(work())


def test_a_run_stops_by_the_clock_on_the_wall_and_by_that_of_its_loop(zone: Callable[[str], None]) -> None:
    zone("UTC")
    five = datetime.fromisoformat("2026-11-23T05:00Z").timestamp()
    until_six = Limits(stop_at="06:00")
    reached = ["limits.stop_at is reached; run again to go on"]
    assert stopped_after_s(until_six, lambda at_s: five + at_s) == (pytest.approx(3600, abs=1), reached)
    # A machine that slept for ten hours, or whose clock was set, while no timer ran.
    slept = stopped_after_s(until_six, lambda at_s: five + at_s + (36_000 if at_s > 100 else 0))
    assert slept == (pytest.approx(105, abs=6), reached)
    behind = stopped_after_s(until_six, lambda at_s: five + at_s - (600 if at_s > 100 else 0))
    assert behind == (pytest.approx(4200, abs=1), reached)
    after_s, reasons = stopped_after_s(Limits(stop_at="06:00", max_wall_s=60), lambda at_s: five + at_s)
    assert (after_s, reasons) == (pytest.approx(60, abs=1), ["limits.max_wall_s is reached; run again to go on"])
