"""What a run says of its lanes: in its progress while it works, in status.json, and at last in report.json."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.report.build import build_report
from batchroute.report.figures import read_report
from batchroute.report.together import read_status
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from batchroute.store.files import unfinished_name
from batchroute.store.layout import RunLayout
from inputs import lines
from jobs import job_of, on_both
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.report.lanes import LaneReport
    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress
    from batchroute.types import Doing, LaneState


def job_for(folder: Path, url: str, rows: int, changes: dict[str, Any] | None = None) -> Job:
    """All rows go to the weak lane; the prompts are of no account."""
    lines(folder / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(rows)))
    ours = {"routing.threshold": 1.0, **on_both("base_url", url), **on_both("max_concurrency", 8)}
    return job_of(folder / "prompts.jsonl", folder / "run", {**ours, **(changes or {})})


@dataclass
class Seen:
    """What the weak lane said of itself, looked at again and again; `said` is what the user was told."""

    states: list[LaneState] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    end: RunEnd | None = None

    async def watch(self, progress: Progress) -> None:
        while True:
            self.states.append(progress.lanes["weak"].state())
            await asyncio.sleep(0.02)

    def run(self, job: Job) -> Seen:
        self.end = run_job(
            job, RunOptions(environ={"KEY": "wrong-key-1"}, watch=self.watch, notify=self.said.append)
        )
        return self

    @property
    def doing(self) -> set[Doing]:
        return {state.doing for state in self.states}


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is waited for is in a thread, or a server
        await asyncio.sleep(0.01)


def weak_of(folder: Path) -> LaneReport:
    """The same in report.json and in status.json."""
    report, status = read_report(folder / "run"), read_status(folder / "run")
    assert report is not None
    assert status is not None
    assert report.lanes == status.lanes
    return report.lanes["weak"]


def test_a_run_without_trouble(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=0.05)) as server:
        seen = Seen().run(job_for(tmp_path, server.url, 60))
    assert "sending" in seen.doing
    weak = weak_of(tmp_path)
    assert (weak.state, weak.doing, weak.last_error, weak.ok, weak.rows) == ("done", "done", None, 60, 60)
    assert seen.said == []


def test_a_port_that_refuses_is_named_once_and_given_up(tmp_path: Path) -> None:
    with threaded_simulator() as server:
        server.refuse()
        seen = Seen().run(job_for(tmp_path, server.url, 30, {"limits.outage_s": 1.5}))
        where = f"127.0.0.1:{server.port}"
    away = [state for state in seen.states if state.doing == "away"]
    assert away
    assert {state.reason for state in away} == {f"connection refused ({where})"}
    opened, stopped = seen.said
    assert re.fullmatch(rf"the weak lane is away: connection refused \({where}\), gives up at \d\d:\d\d", opened)
    assert stopped.startswith(f"the weak lane stopped: does not answer (connection refused ({where}));")
    weak = weak_of(tmp_path)
    assert (weak.state, weak.last_error) == ("stopped: does not answer", f"connection refused ({where})")
    assert json.loads((tmp_path / "run" / "report.json").read_bytes())["state"] == "incomplete"


def test_an_endpoint_that_comes_back(tmp_path: Path) -> None:
    """The last error stays, though a retry helped and no row has failed."""
    with threaded_simulator() as server:
        seen = Seen()
        job = job_for(tmp_path, server.url, 200, {"endpoints.weak.requests_per_minute": 3000})

        async def meanwhile(progress: Progress) -> None:
            await until(lambda: progress.settled >= 20)
            await asyncio.to_thread(server.refuse)
            await until(lambda: progress.lanes["weak"].state().doing == "away")
            await asyncio.to_thread(server.listen)
            await seen.watch(progress)

        end = run_job(job, RunOptions(environ={}, watch=meanwhile, notify=seen.said.append))
    assert (end.ok, end.failed) == (200, 0)
    gone, back = seen.said
    assert gone.startswith("the weak lane is away: ")
    assert re.fullmatch(r"the weak lane goes on: the endpoint answers again, after \d+ s", back)
    weak = weak_of(tmp_path)
    assert weak.state == "done"
    assert "connect" in (weak.last_error or "") or "hung up" in (weak.last_error or "")


def test_an_endpoint_that_answers_its_last_rows_badly_is_not_said_to_be_well_again(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(faults={"500": 1.0})) as server:
        changes = {"limits.outage_s": 4.0, "endpoints.weak.max_attempts": 2}
        seen = Seen().run(job_for(tmp_path, server.url, 20, changes))
    gone, back = seen.said
    assert gone.startswith("the weak lane is away: HTTP 500: ")
    assert re.fullmatch(
        r"the weak lane goes on: the endpoint answers, but with errors: HTTP 500: .*, after \d+ s", back
    )


def test_a_429_and_a_rate_of_the_job(tmp_path: Path) -> None:
    behaviour = Behaviour(latency_s=0.01, requests_per_minute=60, retry_after_s=1.0)
    with threaded_simulator(behaviour) as server:
        server.control({"requests_per_minute": 600})
        job = job_for(tmp_path, server.url, 60, {"endpoints.weak.requests_per_minute": 1200})
        seen = Seen()

        async def meanwhile(progress: Progress) -> None:
            looking = asyncio.create_task(seen.watch(progress))
            await until(lambda: "paced" in seen.doing)
            await asyncio.to_thread(server.control, {"faults": {"429": 1.0}, "retry_after_s": 0.5})
            await until(lambda: "rate_limited" in seen.doing)
            await asyncio.to_thread(server.control, {"faults": {}, "requests_per_minute": None})
            await looking

        end = run_job(job, RunOptions(environ={}, watch=meanwhile, notify=seen.said.append))
    assert end.ok == 60
    assert {"paced", "rate_limited"} <= seen.doing
    assert "HTTP 429" in (weak_of(tmp_path).last_error or "")


def test_no_money_for_the_next_row(tmp_path: Path) -> None:
    money = {"limits.max_cost_usd": 0.05, **on_both("params", {"max_tokens": 400})}
    with threaded_simulator(Behaviour(latency_s=0.05, response_tokens=400)) as server:
        seen = Seen().run(job_for(tmp_path, server.url, 200, money))
    weak = weak_of(tmp_path)
    assert (weak.state, weak.doing) == ("no money for the next row", "no_money")
    assert "no_money" in seen.doing
    assert "raise limits.max_cost_usd" in seen.said[-1]
    status = read_status(tmp_path / "run")
    assert status is not None
    assert (status.max_cost_usd, status.spent_usd) == (0.05, pytest.approx(weak.cost_usd))


def test_a_key_that_is_rejected(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(api_key="right-key-1")) as server:
        Seen().run(job_for(tmp_path, server.url, 20, on_both("api_key_env", "KEY")))
    weak = weak_of(tmp_path)
    assert weak.state == "stopped: key rejected"
    assert (weak.last_error or "").startswith("HTTP 401")
    assert "wrong-key" not in (tmp_path / "run" / "report.json").read_text()


def test_a_run_that_is_stopped_says_why(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=0.1)) as server:
        Seen().run(job_for(tmp_path, server.url, 5000, {"limits.max_wall_s": 0.5}))
    assert weak_of(tmp_path).state == "stopped: limits.max_wall_s is reached"


def test_timelines_go_on_over_the_runs_of_a_directory(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=0.1)) as server:
        Seen().run(job_for(tmp_path, server.url, 200, {"limits.max_wall_s": 0.5}))
        first = weak_of(tmp_path).timeline
        Seen().run(job_for(tmp_path, server.url, 200))
        second = weak_of(tmp_path)
        again = Seen().run(job_for(tmp_path, server.url, 200))  # nothing is asked
    assert first is not None
    assert second.timeline is not None
    assert first.started_at == second.timeline.started_at
    total = sum(sum(slot.values()) for slot in second.timeline.slots)
    assert total > sum(sum(slot.values()) for slot in first.slots)
    assert again.end is not None
    assert not again.end.asked
    assert weak_of(tmp_path) == second


def test_the_time_of_a_run_that_was_killed_counts(tmp_path: Path) -> None:
    """It has left no report but the one that it began with; its status was written to the last seconds."""
    run = tmp_path / "run"
    with threaded_simulator(Behaviour(latency_s=0.1)) as server:
        Seen().run(job_for(tmp_path, server.url, 200, {"limits.max_wall_s": 0.5}))
        first, begun_with = read_report(run), RunLayout(run).report.read_bytes()
        Seen().run(job_for(tmp_path, server.url, 200, {"limits.max_wall_s": 0.5}))
        RunLayout(run).report.write_bytes(begun_with)
        killed = build_report(run)
        Seen().run(job_for(tmp_path, server.url, 200))
    last = read_report(run)
    assert first is not None
    assert last is not None
    assert (first.wall_s or 0) + 0.4 < (killed.wall_s or 0) < (last.wall_s or 0)
    assert killed.rows_per_s == pytest.approx((killed.ok + killed.refused) / (killed.wall_s or 0))


@pytest.mark.parametrize("broken", [b"", b"{", b'{"updated_at": "today"}'])
def test_a_status_that_cannot_be_read_is_replaced(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "run").mkdir()
    with threaded_simulator(Behaviour(latency_s=0.1)) as server:
        job = job_for(tmp_path, server.url, 200, {"limits.max_wall_s": 0.3})
        run_job(job, RunOptions(environ={}))
        RunLayout(tmp_path / "run").status.write_bytes(broken)
        run_job(job_for(tmp_path, server.url, 200), RunOptions(environ={}))
    assert weak_of(tmp_path).state == "done"


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The answers decide whether the disk is good enough."""
    in_the_way = tmp_path / "run" / unfinished_name("status.json") / "a folder"
    with threaded_simulator(Behaviour(latency_s=0.1)) as server:
        job = job_for(tmp_path, server.url, 200, {"limits.max_wall_s": 0.3})
        run_job(job, RunOptions(environ={}))
        RunLayout(tmp_path / "run").status.unlink()
        in_the_way.mkdir(parents=True)
        end = run_job(job_for(tmp_path, server.url, 200), RunOptions(environ={}))
    assert (end.ok, end.exit_code(0.0)) == (200, 0)
    assert read_status(tmp_path / "run") is None
