from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest

from batchroute.errors import JobFault, RunFault, Stopped, UsageFault
from batchroute.job.endpoint import EndpointSpec
from batchroute.job.secrets import endpoint_secrets
from batchroute.report.build import build_report
from batchroute.report.figures import read_report
from batchroute.run.end import RunEnd
from batchroute.run.engine import arun_job, run_job
from batchroute.run.options import RunOptions
from batchroute.run.plan import plan_job
from batchroute.send.http import request_headers
from batchroute.simulate.traffic import prompt_digest
from batchroute.store.sharded import Share
from inputs import lines
from jobs import job_of
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from servers import ThreadedSimulator

OPTIONS = RunOptions(environ={})
CONCURRENCY = 8


def prompt(row: int) -> str:
    """Distinct in every row; the length router sends about half of them strong at a threshold of 0.5."""
    return f"question {row} " + "x" * (row * 37 % 1000)


def write_input(folder: Path, rows: int, torn: int = 0) -> Path:
    """`torn` lines at the end are no JSON."""
    return lines(folder / "prompts.jsonl", *({"prompt": prompt(row)} for row in range(rows)), *["{torn"] * torn)


def job_for(
    folder: Path, strong: ThreadedSimulator, weak: ThreadedSimulator, changes: Mapping[str, Any] | None = None
) -> Job:
    ours = {
        f"endpoints.{side}.{key}": value
        for side, server in (("strong", strong), ("weak", weak))
        for key, value in {"base_url": server.url, "max_concurrency": CONCURRENCY, "max_attempts": 2}.items()
    }
    return job_of(folder / "prompts.jsonl", folder / "run", {**ours, **(changes or {})})


def results(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(folder / "run" / "results").to_table().to_pylist()
    return rows


def failed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "failed.jsonl").read_bytes().splitlines()]


def asked(*servers: ThreadedSimulator) -> Counter[str]:
    """Requests by prompt, over these servers."""
    return sum((Counter(server.stats().asked) for server in servers), Counter[str]())


def assert_each_row_once(folder: Path, rows: int) -> None:
    found = [row["row"] for row in (*results(folder), *failed(folder))]
    assert Counter(found) == Counter(range(rows))


def test_a_run_with_faults_accounts_for_every_row_and_the_next_asks_the_failed_ones(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    strong, weak = servers
    rows, torn = 400, 5
    write_input(tmp_path, rows, torn)
    job = job_for(tmp_path, strong, weak)
    for server in servers:
        server.control({"error_rate": 0.15, "faults": {"422": 0.05, "truncated": 0.05}})

    first = run_job(job, OPTIONS)
    assert_each_row_once(tmp_path, rows + torn)
    before = {row["row"]: row for row in failed(tmp_path)}
    assert (first.rows, first.failed, first.asked) == (rows + torn, len(before), True)
    assert before
    assert first.ok + first.refused == len(results(tmp_path))
    assert first.exit_code(1.0) == 3
    assert_sums_hold(tmp_path, *servers)

    for server in servers:
        server.control({"error_rate": 0.0, "faults": {}})
    asked_before = asked(*servers)
    second = run_job(job, OPTIONS)
    again = asked(*servers) - asked_before
    assert again == Counter(prompt_digest(prompt(row)) for row in before)
    assert (second.failed, second.complete, second.exit_code(1.0)) == (0, True, 0)
    assert_each_row_once(tmp_path, rows + torn)
    settled = {row["row"]: row for row in results(tmp_path)}
    for row, entry in before.items():
        assert settled[row]["attempts"] == entry["attempts"] + 1
        assert settled[row]["cost_usd"] > (entry["cost_usd"] or 0)
    assert_sums_hold(tmp_path, *servers)

    requests = [server.stats().requests for server in servers]
    third = run_job(job, OPTIONS)
    assert (third.asked, third.exit_code(1.0)) == (False, 0)
    assert [server.stats().requests for server in servers] == requests


def assert_sums_hold(folder: Path, *of: ThreadedSimulator) -> None:
    """Results, failed rows, report and the providers' own counters tell one story."""
    rows = [*results(folder), *failed(folder)]
    report = build_report(folder / "run")
    stats = [server.stats() for server in of]
    assert sum(row["attempts"] for row in rows) == sum(each.requests for each in stats) == report.attempts
    cost = sum(row["cost_usd"] or 0 for row in rows)
    assert report.cost_usd == pytest.approx(cost, rel=1e-9)
    # A body cut off in the middle is billed there and told nobody.
    seen = sum(row["prompt_tokens"] or 0 for row in rows)
    assert 0 < seen <= sum(each.prompt_tokens for each in stats)
    assert report.prompt_tokens == seen


def test_every_row_goes_to_the_side_its_score_names(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    strong, weak = servers
    write_input(tmp_path, 100)
    end = run_job(job_for(tmp_path, strong, weak), OPTIONS)
    assert (end.complete, end.exit_code(0.0)) == (True, 0)
    digests = {"strong": strong.stats().asked, "weak": weak.stats().asked}
    for row in results(tmp_path):
        assert (row["score"] >= 0.5) == (row["route"] == "strong")
        assert prompt_digest(prompt(row["row"])) in digests[row["route"]]
        assert row["model"] == ("big-model" if row["route"] == "strong" else "small-model")
    assert len(digests["strong"]) + len(digests["weak"]) == 100


def test_a_limit_may_grow_from_run_to_run(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 60)
    job = job_for(tmp_path, *servers)
    for limit in (10, 40, None):
        end = run_job(job, RunOptions(environ={}, limit=limit))
        assert (end.rows, end.ok) == (limit or 60, limit or 60)
    assert asked(*servers) == Counter(prompt_digest(prompt(row)) for row in range(60))


def test_rows_beyond_the_limit_do_not_count_though_they_have_scores(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 60)
    job = job_for(tmp_path, *servers)
    plan_job(job, None, lambda rows: None)
    for limit, answered, wanted in ((10, 10, 10), (None, 60, 60), (20, 60, 60)):
        assert run_job(job, RunOptions(environ={}, limit=limit)).complete
        for report in (read_report(tmp_path / "run"), build_report(tmp_path / "run")):
            assert report is not None
            counts = (report.state, report.rows, report.ok, report.remaining)
            assert counts == ("complete", wanted, answered, 0)


@pytest.mark.parametrize("share", [None, Share(0, 1)])
def test_a_display_that_fails_ends_no_run_and_is_a_fault_of_ours_afterwards(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator], share: Share | None
) -> None:
    write_input(tmp_path, 60)

    async def fails(progress: Progress) -> None:
        await asyncio.sleep(0)
        raise KeyError("no colour for that")

    with pytest.raises(KeyError, match="no colour"):
        run_job(job_for(tmp_path, *servers), RunOptions(environ={}, watch=fails, share=share))
    assert len(results(tmp_path)) == 60
    report = read_report(tmp_path / "run")
    assert report is not None
    assert report.state == "complete"


def test_an_empty_input_is_a_complete_run(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 0)
    end = run_job(job_for(tmp_path, *servers), OPTIONS)
    assert (end.rows, end.ok, end.exit_code(0.0)) == (0, 0, 0)
    assert results(tmp_path) == []


def interrupting(number: int, after_rows: int) -> Callable[[Progress], Any]:
    """Watches the progress and sends this process a signal when so many rows are settled."""

    async def watch(progress: Progress) -> None:
        while progress.settled < after_rows:  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.005)
        os.kill(os.getpid(), number)

    return watch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_next_run_pays_for_nothing_twice(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator], number: signal.Signals
) -> None:
    rows = 300
    write_input(tmp_path, rows)
    job = job_for(tmp_path, *servers)
    for server in servers:
        server.control({"latency_s": 0.02})
    said: list[str] = []
    end = run_job(job, RunOptions(environ={}, watch=interrupting(number, 50), notify=said.append))
    assert end.exit_code(0.0) == 128 + number
    assert 50 <= end.ok < rows
    assert not end.complete
    assert "run the same command again" in said[0]
    assert len(results(tmp_path)) == end.ok

    again = run_job(job, OPTIONS)
    assert again.complete
    assert_each_row_once(tmp_path, rows)
    assert asked(*servers) == Counter(prompt_digest(prompt(row)) for row in range(rows))


def test_a_signal_before_anything_is_sent_stops_the_run(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    """The scores of all rows are there already, so nothing else would hold the lanes back."""
    write_input(tmp_path, 40)
    job = job_for(tmp_path, *servers)
    servers[1].control({"api_key": "another"})
    assert run_job(job, OPTIONS).exit_code(0.0) == 4
    servers[1].control({"api_key": None})
    before = asked(*servers)

    async def run_with_a_signal() -> RunEnd:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        return await arun_job(job, OPTIONS)

    end = asyncio.run(run_with_a_signal())
    assert (end.exit_code(0.0), asked(*servers)) == (143, before)
    assert run_job(job, OPTIONS).complete


@pytest.mark.parametrize(("first", "ok", "refused", "code"), [("[[fault:403]]", 0, 0, 4), ("hello", 2, 1, 3)])
def test_a_row_that_is_forbidden_stops_no_lane_that_had_a_success_in_an_earlier_run(
    tmp_path: Path,
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
    first: str,
    ok: int,
    refused: int,
    code: int,
) -> None:
    """Else every run would end at that row."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": text} for text in (first, "[[fault:403]] again", "goodbye")))
    job = job_for(tmp_path, *servers, {"endpoints.weak.max_concurrency": 1})
    run_job(job, RunOptions(environ={}, limit=1))
    end = run_job(job, OPTIONS)
    assert (end.ok, end.refused, end.exit_code(0.0)) == (ok, refused, code)


def test_a_second_signal_leaves_what_is_in_flight(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 40)
    for server in servers:
        server.control({"latency_s": 60.0})

    async def watch(progress: Progress) -> None:
        while sum(server.stats().requests for server in servers) < 2 * CONCURRENCY:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.005)
        assert sum(lane.in_flight() for lane in progress.lanes.values()) == 2 * CONCURRENCY
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)

    job = job_for(tmp_path, *servers)
    end = run_job(job, RunOptions(environ={}, watch=watch))
    assert (end.exit_code(0.0), end.ok) == (130, 0)
    for server in servers:
        server.control({"latency_s": 0.0})
    assert run_job(job, OPTIONS).ok == 40
    counts = [row["attempts"] for row in results(tmp_path)]
    assert sum(counts) == sum(server.stats().requests for server in servers) == 40 + 2 * CONCURRENCY


def test_a_strong_lane_at_three_requests_a_minute_does_not_hold_up_the_weak_one(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    strong, weak = servers
    rows = 400
    write_input(tmp_path, rows)
    weak_rows = sum(len(prompt(row)) < 500 for row in range(rows))
    job = job_for(tmp_path, strong, weak, {"endpoints.strong.requests_per_minute": 3})

    async def watch(progress: Progress) -> None:
        while progress.lanes["weak"].ok < weak_rows:  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    end = run_job(job, RunOptions(environ={}, watch=watch))
    assert weak.stats().requests == weak_rows
    assert strong.stats().requests <= 2
    assert end.ok == weak_rows + strong.stats().requests


def test_a_wrong_key_stops_its_lane_and_the_other_runs_to_its_end(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    strong, weak = servers
    rows = 200
    write_input(tmp_path, rows)
    strong.control({"api_key": "right-key-123456"})
    key = {"endpoints.strong.api_key_env": "KEY"}
    said: list[str] = []
    job = job_for(tmp_path, strong, weak, key)
    end = run_job(job, RunOptions(environ={"KEY": "wrong-key-123456"}, notify=said.append))
    weak_rows = sum(len(prompt(row)) < 500 for row in range(rows))
    assert (end.ok, end.exit_code(0.0)) == (weak_rows, 4)
    assert strong.stats().requests <= CONCURRENCY
    (message,) = said
    assert "the strong lane stopped: " in message
    assert "or check the key it names, then run again" in message
    assert run_job(job, RunOptions(environ={"KEY": "right-key-123456"})).ok == rows
    assert_each_row_once(tmp_path, rows)


def test_a_run_that_takes_too_long_stops_and_says_why(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 100)
    for server in servers:
        server.control({"latency_s": 0.4})
    job = job_for(tmp_path, *servers, {"limits.max_wall_s": 0.2})
    end = run_job(job, OPTIONS)
    assert end.exit_code(0.0) == 4
    assert end.stopped == ("limits.max_wall_s is reached; run again to go on",)
    assert end.ok < 100


def test_a_changed_job_is_refused_before_anything_is_sent(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 5)
    run_job(job_for(tmp_path, *servers), OPTIONS)
    requests = [server.stats().requests for server in servers]
    with pytest.raises(RunFault, match=r"routing\.threshold changed"):
        run_job(job_for(tmp_path, *servers, {"routing.threshold": 0.25}), OPTIONS)
    assert [server.stats().requests for server in servers] == requests


def test_the_collector_is_left_as_it_was(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 5)
    before = gc.get_threshold()
    run_job(job_for(tmp_path, *servers), OPTIONS)
    assert gc.get_threshold() == before


def whole_run(directory: Path) -> Iterator[None]:
    write_input(directory, 30, torn=1)
    yield
    run_job(simulated(directory), OPTIONS)


def simulated(directory: Path) -> Job:
    changes: dict[str, Any] = {"endpoints.strong.base_url": None, "endpoints.weak.base_url": None}
    changes |= {f"endpoints.{side}.simulate": {"latency_s": 0.0} for side in ("strong", "weak")}
    return job_of(directory / "prompts.jsonl", directory / "run", changes)


def assert_runs_end(hits: list[Any]) -> None:
    for hit in hits:
        assert hit.end in {"killed", "Stopped", "done"}, hit
        assert run_job(simulated(hit.directory), OPTIONS).complete
        assert_each_row_once(hit.directory, 31)


def test_a_run_that_dies_at_a_step_of_the_file_system_goes_on(tmp_path: Path) -> None:
    assert_runs_end(hit_at_every_step("test_engine:whole_run", "kill", tmp_path, every=11))


@pytest.mark.proof
@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_a_run_that_dies_at_any_step_of_the_file_system_goes_on(tmp_path: Path, mishap: Any) -> None:
    assert_runs_end(hit_at_every_step("test_engine:whole_run", mishap, tmp_path))


DONE = RunEnd(rows=10, ok=10, refused=0, failed=0, wall_s=1.0, asked=True)


@pytest.mark.parametrize(
    ("changes", "ok_if_refused", "code"),
    [
        ({}, 0.0, 0),
        ({"ok": 9, "refused": 1}, 0.0, 3),
        ({"ok": 9, "refused": 1}, 0.1, 0),
        ({"ok": 8, "refused": 2}, 0.1, 3),
        ({"ok": 9, "failed": 1}, 1.0, 3),
        ({"ok": 0, "refused": 0, "rows": 0}, 0.0, 0),
        ({"ok": 5, "stopped": ("gone",)}, 0.0, 4),
        ({"ok": 5, "stopped": ("gone",), "failed": 3}, 0.0, 4),
        ({"ok": 5, "signal": 2}, 0.0, 130),
        ({"ok": 5, "signal": 15, "stopped": ("gone",)}, 0.0, 143),
    ],
)
def test_how_a_run_ended_is_an_exit_code(changes: dict[str, Any], ok_if_refused: float, code: int) -> None:
    fields = {name: getattr(DONE, name) for name in ("rows", "ok", "refused", "failed", "wall_s", "asked")}
    assert RunEnd(**{**fields, **changes}).exit_code(ok_if_refused) == code


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {}),
        ({"api_key_env": "KEY"}, {"Authorization": "Bearer key-12345678"}),
        ({"api_key_env": "KEY", "api_key_header": "api-key"}, {"api-key": "key-12345678"}),
        (
            {"api_key_env": "KEY", "headers": {"x-team": "data", "x-token": {"env": "TOKEN"}}},
            {"Authorization": "Bearer key-12345678", "x-team": "data", "x-token": "token-12345678"},
        ),
    ],
)
def test_headers_carry_the_key_where_the_job_says(settings: dict[str, Any], headers: dict[str, str]) -> None:
    spec = EndpointSpec.model_validate({"model": "m", "base_url": "http://127.0.0.1:9/v1", **settings})
    environ = {"KEY": "key-12345678", "TOKEN": "token-12345678"}
    assert request_headers(endpoint_secrets(spec, environ), spec.api_key_header, spec.headers) == headers


def test_a_directory_at_work_is_refused(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 50)
    job = job_for(tmp_path, *servers)
    refused: list[str] = []

    async def watch(_: Progress) -> None:
        try:
            await asyncio.to_thread(run_job_elsewhere, job)
        except Stopped as stopped:
            refused.append(str(stopped))

    for server in servers:
        server.control({"latency_s": 0.2})
    assert run_job(job, RunOptions(environ={}, watch=watch)).complete
    assert len(refused) == 1
    assert f"run: a run is at work here: pid {os.getpid()} on " in refused[0]


def run_job_elsewhere(job: Job) -> RunEnd:
    return run_job(job, OPTIONS)


def test_more_connections_than_the_system_has_files_are_refused(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 1)
    job = job_for(tmp_path, *servers, {"endpoints.weak.max_concurrency": 10**9})
    with pytest.raises(UsageFault, match="open files; lower it, or raise the limit"):
        run_job(job, OPTIONS)


def test_a_key_that_is_not_set_is_said_before_anything_is_sent(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    write_input(tmp_path, 5)
    job = job_for(tmp_path, *servers, {"endpoints.weak.api_key_env": "NOT_SET"})
    with pytest.raises(JobFault, match="NOT_SET"):
        run_job(job, OPTIONS)
    assert asked(*servers) == Counter()
