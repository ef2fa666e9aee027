"""Answers that did not end by themselves: kept, refused, or asked of the other side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from batchroute.report.build import build_report
from batchroute.run.engine import run_job
from batchroute.run.handover import Spool
from batchroute.run.options import RunOptions
from batchroute.send.request import Request
from batchroute.types import Prompt
from test_engine import OPTIONS, asked, assert_each_row_once, failed, job_for, prompt, results, write_input

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchroute.job.spec import Job
    from servers import ThreadedSimulator

ROWS = 300
CUT = {"max_tokens": 140}  # about half of the simulated answers are longer
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", "job.toml", "--quiet"]

Servers = tuple["ThreadedSimulator", "ThreadedSimulator"]


@pytest.fixture
def job(tmp_path: Path, servers: Servers) -> Job:
    return job_with(tmp_path, servers, {})


def job_with(folder: Path, servers: Servers, changes: Mapping[str, Any]) -> Job:
    if not (folder / "prompts.jsonl").exists():
        write_input(folder, ROWS)
    other = {"endpoints.weak.params": CUT, "endpoints.weak.on_finish": {"length": "other"}}
    return job_for(folder, *servers, {**other, **changes})


def by_row(folder: Path) -> dict[int, dict[str, Any]]:
    return {row["row"]: row for row in results(folder)}


def assert_cut_weak_answers_went_on(folder: Path, servers: Servers) -> None:
    """Each cut answer of the weak side was paid there and answered on the strong one, each request sent once."""
    strong, weak = servers
    rows = by_row(folder)
    assert len(rows) == ROWS
    moved = {row for row, result in rows.items() if result["route_reason"] == "finish"}
    assert 20 < len(moved) < len(weak.stats().asked) - 20
    assert all(rows[row]["route"] == "strong" and rows[row]["attempts"] == 2 for row in moved)
    assert not any(row["route"] == "weak" and row["finish_reason"] == "length" for row in rows.values())
    assert set(Counter(strong.stats().asked).values()) == set(Counter(weak.stats().asked).values()) == {1}
    stats = [server.stats() for server in servers]
    assert sum(row["prompt_tokens"] for row in rows.values()) == sum(each.prompt_tokens for each in stats)
    assert sum(row["completion_tokens"] for row in rows.values()) == sum(each.completion_tokens for each in stats)


def test_a_cut_answer_is_asked_of_the_other_side_and_both_are_paid(
    tmp_path: Path, servers: Servers, job: Job
) -> None:
    end = run_job(job, OPTIONS)
    assert (end.ok, end.refused, end.failed, end.exit_code(0.0)) == (ROWS, 0, 0, 0)
    assert_cut_weak_answers_went_on(tmp_path, servers)


def test_each_side_is_paid_at_its_own_price(tmp_path: Path, servers: Servers) -> None:
    prices = {"strong": {"input": 0.0, "output": 10.0}, "weak": {"input": 0.0, "output": 1.0}}
    run_job(
        job_with(tmp_path, servers, {f"endpoints.{side}.price": price for side, price in prices.items()}), OPTIONS
    )
    billed = {
        side: server.stats().completion_tokens * prices[side]["output"] / 1e6
        for side, server in zip(("strong", "weak"), servers, strict=True)
    }
    assert sum(row["cost_usd"] for row in results(tmp_path)) == pytest.approx(sum(billed.values()))
    moved = [row for row in results(tmp_path) if row["route_reason"] == "finish"]
    assert all(row["cost_usd"] > CUT["max_tokens"] * 1.0 / 1e6 for row in moved)


def test_both_sides_may_hand_over_and_no_row_moves_twice(tmp_path: Path, servers: Servers) -> None:
    both = {"endpoints.strong.params": CUT, "endpoints.strong.on_finish": {"length": "other"}}
    end = run_job(job_with(tmp_path, servers, both), OPTIONS)
    assert (end.ok, end.exit_code(0.0)) == (ROWS, 0)
    rows = by_row(tmp_path)
    went = Counter(row["route"] for row in rows.values() if row["route_reason"] == "finish")
    assert went["strong"] > 20
    assert went["weak"] > 20
    assert max(row["attempts"] for row in rows.values()) == 2
    assert sum(asked(*servers).values()) == ROWS + sum(went.values())


@pytest.mark.parametrize("input_route", ["strong", "weak"])
def test_a_row_that_demands_its_side_keeps_its_answer(tmp_path: Path, servers: Servers, input_route: str) -> None:
    lines = [json.dumps({"prompt": prompt(row), "route": input_route}) for row in range(40)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    run_job(job_with(tmp_path, servers, {"input.route": "route"}), OPTIONS)
    assert {(row["route"], row["route_reason"], row["attempts"]) for row in results(tmp_path)} == {
        (input_route, "override", 1)
    }


def test_a_refused_finish_keeps_the_paid_answer(tmp_path: Path, servers: Servers) -> None:
    job = job_with(tmp_path, servers, {"endpoints.weak.on_finish": {"length": "refuse"}})
    end = run_job(job, OPTIONS)
    refused = [row for row in results(tmp_path) if row["status"] == "refused"]
    assert end.refused == len(refused) > 20
    for row in refused:
        assert (row["error_type"], row["finish_reason"], row["route"]) == ("length", "length", "weak")
        assert "endpoints.weak.on_finish" in row["error"]
        assert row["response"]
        assert row["cost_usd"]


def test_a_row_that_fits_the_other_side_no_more_keeps_its_answer(tmp_path: Path, servers: Servers) -> None:
    run_job(job_with(tmp_path, servers, {"endpoints.strong.max_input_tokens": 1}), OPTIONS)
    kept = [row for row in results(tmp_path) if row["route"] == "weak"]
    assert {row["finish_reason"] for row in kept} == {"stop", "length"}


def test_the_budget_holds_for_both_answers_of_a_row(tmp_path: Path, servers: Servers) -> None:
    limit = 0.05
    bounded = {"endpoints.strong.params": {"max_tokens": 400}, "limits.max_cost_usd": limit}
    job = job_with(tmp_path, servers, bounded)
    end = run_job(job, OPTIONS)
    assert end.exit_code(0.0) == 4
    assert true_bill(servers) <= limit
    assert end.ok < ROWS
    more = job_with(tmp_path, servers, {**bounded, "limits.max_cost_usd": 50.0})
    assert run_job(more, OPTIONS).exit_code(0.0) == 0
    assert_cut_weak_answers_went_on(tmp_path, servers)
    assert sum(row["cost_usd"] for row in results(tmp_path)) == pytest.approx(true_bill(servers))


def true_bill(servers: Servers) -> float:
    stats = [server.stats() for server in servers]
    return sum(each.prompt_tokens * 2.0 + each.completion_tokens * 10.0 for each in stats) / 1e6


def test_with_a_downgrade_at_the_budget_rows_move_once_for_either_reason(tmp_path: Path, servers: Servers) -> None:
    limit = 0.4
    changes = {
        "endpoints.strong.params": {"max_tokens": 400},
        "endpoints.weak.price": {"input": 0.2, "output": 1.0},
        "limits.max_cost_usd": limit,
        "limits.on_budget": "downgrade",
    }
    end = run_job(job_with(tmp_path, servers, changes), OPTIONS)
    strong, weak = (server.stats() for server in servers)
    bill = strong.prompt_tokens * 2.0 + strong.completion_tokens * 10.0
    bill += weak.prompt_tokens * 0.2 + weak.completion_tokens
    assert bill / 1e6 <= limit
    assert end.exit_code(0.0) in {0, 4}
    assert {row["route_reason"] for row in results(tmp_path)} >= {"score"}
    assert max(Counter(strong.asked).values()) == max(Counter(weak.asked).values()) == 1


def test_killed_between_the_two_sides_a_row_goes_on_at_the_second(tmp_path: Path, servers: Servers) -> None:
    """The strong side answers slowly, so that many rows have left the weak one when the kill comes."""
    strong, weak = servers
    strong.control({"latency_s": 0.3})
    job = job_with(tmp_path, servers, {"endpoints.strong.max_concurrency": 2})
    path = tmp_path / "job.toml"
    path.write_text(tomli_w.dumps(job.model_dump(mode="json", exclude_none=True)))
    for _ in range(3):
        run = subprocess.Popen(COMMAND, cwd=tmp_path)
        before = sum(strong.stats().asked.values())
        while sum(strong.stats().asked.values()) < before + 12 and run.poll() is None:
            os.sched_yield()
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert len(weak.stats().asked) > ROWS // 4
    strong.control({"latency_s": 0.0})
    end = run_job(job, OPTIONS)
    assert (end.ok, end.exit_code(0.0)) == (ROWS, 0)
    assert_each_row_once(tmp_path, ROWS)
    rows = by_row(tmp_path).values()
    assert sum(row["route_reason"] == "finish" for row in rows) > 20
    assert not any(row["route"] == "weak" and row["finish_reason"] == "length" for row in rows)
    # Only what was in flight at a kill is paid twice.
    assert sum(asked(weak).values()) <= len(asked(weak)) + 3 * 8
    assert sum(asked(strong).values()) <= len(asked(strong)) + 3 * 2


def test_what_failed_on_the_second_side_is_asked_there_again(tmp_path: Path, servers: Servers, job: Job) -> None:
    strong, _ = servers
    strong.control({"faults": {"500": 1.0}})
    changes = {"limits.outage_s": 0.5, "endpoints.strong.max_attempts": 1}
    first = run_job(job_with(tmp_path, servers, changes), OPTIONS)
    assert first.ok < ROWS
    strong.control({"faults": {}})
    assert run_job(job, OPTIONS).exit_code(0.0) == 0
    moved = [row for row in results(tmp_path) if row["route_reason"] == "finish"]
    assert len(moved) > 20
    assert {row["route"] for row in moved} == {"strong"}
    assert not failed(tmp_path)


def test_a_stop_leaves_no_lane_waiting_for_the_other(tmp_path: Path, servers: Servers, job: Job) -> None:
    for server in servers:
        server.control({"latency_s": 0.05})

    async def stopped_early() -> int:
        from batchroute.run.engine import JobRun  # noqa: PLC0415 - beside its use

        run = JobRun(job, RunOptions(environ={}))
        asyncio.get_running_loop().call_later(0.6, run.stop, "enough")
        return (await run.go()).exit_code(0.0)

    assert asyncio.run(asyncio.wait_for(stopped_early(), 60)) == 4
    for server in servers:
        server.control({"latency_s": 0.0})
    assert run_job(job, OPTIONS).exit_code(0.0) == 0
    assert_cut_weak_answers_went_on(tmp_path, servers)


def test_a_report_counts_moved_rows_where_they_ended(tmp_path: Path, servers: Servers, job: Job) -> None:
    run_job(job, OPTIONS)
    report = build_report(tmp_path / "run")
    assert report.strong_rows == sum(row["route"] == "strong" for row in results(tmp_path))
    assert report.ok == ROWS


def test_a_spool_gives_back_what_was_put_in_order_and_takes_its_room_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    requests = [
        Request(
            Prompt("a.jsonl", row, f"id {row}", b"[]", {"n": 1}), b"x" * row, 3, 0.5, "finish", 1, Decimal("0.01")
        )
        for row in range(50)
    ]
    for request in requests[:30]:
        spool.put(request)
    assert [spool.take() for _ in range(20)] == requests[:20]
    for request in requests[30:]:
        spool.put(request)
    assert [spool.take() for _ in range(30)] == requests[20:]
    assert not spool
    spool.put(requests[0])
    assert spool.take() == requests[0]
    assert not list(tmp_path.iterdir())
    spool.close()
