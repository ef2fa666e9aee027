"""Rows that move to the weak side for the budget's sake, counted at the provider."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.build import build_report
from batchroute.route.downgrade import CostLine, Downgrade, Outstanding
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.send.budget import Account, Budget
from batchroute.send.request import Request
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from batchroute.store.ledger import Ledger
from batchroute.types import SIDES, Prompt
from command import assert_one_message
from inputs import lines
from jobs import job_of, simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress
    from command import Said
    from servers import ThreadedSimulator

    Servers = tuple[ThreadedSimulator, ThreadedSimulator]

ROWS = 400
EXPENSIVE, CHEAP = {"input": 10.0, "output": 40.0}, {"input": 0.5, "output": 2.0}
USD = {"strong": (Decimal(10), Decimal(40)), "weak": (Decimal("0.5"), Decimal(2))}


def prompt(row: int) -> str:
    """About two in three go strong by length at a threshold of 0.35."""
    return f"question {row} " + "x" * (row * 37 % 1000)


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(count_prompts=True, latency_s=0.002, response_tokens=150)


def run(
    folder: Path, servers: Servers, budget: float, changes: Mapping[str, Any] | None = None, **options: Any
) -> RunEnd:
    ours: dict[str, Any] = {"routing.threshold": 0.35, "limits.max_cost_usd": budget}
    ours["limits.on_budget"] = "downgrade"
    for side, server, price in zip(SIDES, servers, (EXPENSIVE, CHEAP), strict=True):
        of = f"endpoints.{side}"
        ours |= {f"{of}.base_url": server.url, f"{of}.price": price, f"{of}.max_concurrency": 8}
        ours |= {f"{of}.params": {"max_tokens": 600}, f"{of}.max_attempts": 2}
    job = job_of(folder / "prompts.jsonl", folder / "run", {**ours, **(changes or {})})
    return run_job(job, RunOptions(environ={}, **options))


def results(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(folder / "run" / "results").to_table().to_pylist()
    return sorted(rows, key=lambda row: row["row"])


def billed_usd(servers: Servers) -> Decimal:
    total = Decimal(0)
    for side, server in zip(SIDES, servers, strict=True):
        stats, (full, output) = server.stats(), USD[side]
        total += (stats.prompt_tokens * full + stats.completion_tokens * output) / 1_000_000
    return total


def asked(servers: Servers) -> Counter[str]:
    return sum((Counter(server.stats().asked) for server in servers), Counter[str]())


def write_input(folder: Path, **columns: Callable[[int], Any]) -> None:
    own = [{name: value(row) for name, value in columns.items()} for row in range(ROWS)]
    lines(folder / "prompts.jsonl", *({"prompt": prompt(row), **own[row]} for row in range(ROWS)))


@pytest.fixture
def costs(tmp_path: Path, servers: Servers) -> tuple[float, float]:
    """What the rows cost as routed, and all on the weak side."""
    folder = tmp_path / "before"
    folder.mkdir()
    write_input(folder)
    assert run(folder, servers, 1000.0).complete
    report = build_report(folder / "run")
    assert report.budget_rows == 0
    assert report.cost_usd is not None
    assert report.all_weak_usd is not None
    for server in servers:
        server.control(reset=True)
    return report.cost_usd, report.all_weak_usd


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_last_rows_move_and_all_are_answered_within_the_budget(
    tmp_path: Path, servers: Servers, costs: tuple[float, float], share: float
) -> None:
    write_input(tmp_path)
    routed, weak = costs
    budget = weak + share * (routed - weak) + 0.03
    end = run(tmp_path, servers, budget)
    assert (end.complete, end.stopped, end.ok) == (True, (), ROWS)
    assert billed_usd(servers) <= Decimal(budget)
    assert asked(servers) == Counter(prompt_digest(prompt(row)) for row in range(ROWS)), "each once, by one lane"
    rows = results(tmp_path)
    moved = [row for row in rows if row["route_reason"] == "budget"]
    strong = [row for row in rows if row["route"] == "strong"]
    assert moved
    assert strong
    assert {(row["route"], row["model"]) for row in moved} == {("weak", "small-model")}
    assert all(row["score"] >= 0.35 for row in moved)
    report = build_report(tmp_path / "run")
    assert report.budget_rows == len(moved)
    assert report.cost_usd == pytest.approx(float(billed_usd(servers)))
    assert report.cost_usd > 0.7 * budget, "what there was went into strong answers"


def test_answers_far_longer_than_predicted_are_seen_coming(tmp_path: Path, servers: Servers) -> None:
    """A plan assumes 500 tokens an answer; these have three or four times as many, on both sides."""
    write_input(tmp_path)
    for server in servers:
        server.control({"response_tokens": 3000})
    params = {f"endpoints.{side}.params": {"max_tokens": 2000} for side in SIDES}
    end = run(tmp_path, servers, 6.0, params)
    assert (end.complete, end.ok) == (True, ROWS)
    assert billed_usd(servers) <= 6
    assert 0 < build_report(tmp_path / "run").budget_rows < ROWS


def stopping_after(rows: int) -> Callable[[Progress], Any]:
    async def watch(progress: Progress) -> None:
        while progress.settled < rows:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    return watch


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, servers: Servers, costs: tuple[float, float]) -> None:
    write_input(tmp_path)
    budget = sum(costs) / 2
    before: dict[int, Any] = {}
    for rows in (60, 100):
        assert run(tmp_path, servers, budget, watch=stopping_after(rows)).exit_code(0.0) == 130
        now = {row["row"]: (row["route"], row["route_reason"], row["response"]) for row in results(tmp_path)}
        assert {row: now[row] for row in before} == before, "a row that is done stays as it is"
        before = now
    assert run(tmp_path, servers, budget).complete
    assert asked(servers) == Counter(prompt_digest(prompt(row)) for row in range(ROWS))
    assert billed_usd(servers) <= Decimal(budget)
    assert {row["route_reason"] for row in results(tmp_path)} == {"score", "budget"}


def test_rows_that_demand_a_side_or_fit_no_other_stay(
    tmp_path: Path, servers: Servers, costs: tuple[float, float]
) -> None:
    write_input(tmp_path, side=lambda row: "strong" if row % 8 == 0 else None)
    changes = {"input.route": "side", "endpoints.weak.max_input_tokens": 240}
    assert run(tmp_path, servers, costs[1] + 0.6 * (costs[0] - costs[1]), changes).complete
    for row in results(tmp_path):
        if row["row"] % 8 == 0:
            assert (row["route"], row["route_reason"]) == ("strong", "override")
        elif len(prompt(row["row"])) > 4 * 240:
            assert (row["route"], row["route_reason"]) == ("strong", "score")
    assert build_report(tmp_path / "run").budget_rows > 0


def test_where_even_the_weak_side_costs_too_much_it_stops(
    tmp_path: Path, servers: Servers, costs: tuple[float, float]
) -> None:
    write_input(tmp_path)
    end = run(tmp_path, servers, costs[1] / 2)
    assert end.exit_code(0.0) == 4
    assert all("limits.max_cost_usd" in reason for reason in end.stopped)
    assert {row["route"] for row in results(tmp_path)} == {"weak"}
    assert billed_usd(servers) <= Decimal(costs[1] / 2)
    assert run(tmp_path, servers, costs[0] * 2).complete
    assert asked(servers) == Counter(prompt_digest(prompt(row)) for row in range(ROWS))


def test_faults_do_not_make_two_lanes_ask_a_row(
    tmp_path: Path, servers: Servers, costs: tuple[float, float]
) -> None:
    write_input(tmp_path)
    for server in servers:
        server.control({"error_rate": 0.2, "faults": {"no_usage": 0.05}})
    budget = sum(costs) / 2
    end = run(tmp_path, servers, budget, {f"endpoints.{side}.max_attempts": 6 for side in SIDES})
    assert billed_usd(servers) <= Decimal(budget)
    rows = results(tmp_path)
    assert len({row["row"] for row in rows}) == len(rows) == end.ok + end.refused
    by_strong, by_weak = ({*server.stats().asked} for server in servers)
    moved = {prompt_digest(prompt(row["row"])) for row in rows if row["route_reason"] == "budget"}
    assert by_strong & by_weak <= moved, "only a row that the strong lane gave up is asked by the weak one"


def test_a_downgrade_without_a_budget_is_a_fault(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    write_input(tmp_path)
    job = write_job(tmp_path, simulated(), {"limits.on_budget": "downgrade"})
    assert_one_message(batchroute("run", job), 2, "on_budget", "add max_cost_usd")


def request(row: int, chars: int, most_usd: float) -> Request:
    asked = Prompt("f", row, None, b"[]")
    return Request(asked, b"{}", 0, 0.9, "score", most_usd=Decimal(repr(most_usd)), chars=chars)


rows_with_costs = st.lists(
    # characters; whether it is to go strong; what share of the most it really costs there
    st.tuples(st.integers(0, 1000), st.booleans(), st.floats(0, 1)),
    max_size=60,
)


@given(rows=rows_with_costs, more_usd=st.floats(0, 3))
def test_whatever_strong_answers_cost_the_weak_ones_are_paid_for(
    rows: list[tuple[int, bool, float]], more_usd: float
) -> None:
    """One row at a time, where weak rows cost what is predicted and strong ones anything up to their most."""
    lines_ = {"strong": CostLine(0.05, 1e-5), "weak": CostLine(0.01, 1e-6)}
    outstanding = {name: Outstanding(line, line) for name, line in lines_.items()}
    weak_usd = [outstanding["weak"].usual.usd(1, chars) for chars, _, _ in rows]
    for chars, _, _ in rows:
        outstanding["weak"].add(chars)
    largest = max(weak_usd, default=0.0)
    limit = Decimal(sum(weak_usd) + largest + more_usd + 1e-9)
    budget = Budget(limit, Account(Decimal(0), Ledger(), lambda ledger: None))
    downgrade = Downgrade(budget, outstanding, 10_000, largest)
    moved = []
    for row, (chars, strong, share) in enumerate(rows):
        wanted = request(row, chars, 0.2 if strong else weak_usd[row])
        if not downgrade.admits("strong" if strong else "weak", wanted):
            assert strong
            assert downgrade.idle
            downgrade.move(wanted)
            moved.append(weak_usd[row])
            continue
        cost = Decimal(0.2 * share if strong else weak_usd[row])
        assert budget.reserve(wanted.most_usd)
        budget.spend(wanted.most_usd, cost)
        downgrade.settled("strong" if strong else "weak", wanted, cost)
    for usd in moved:
        assert budget.reserve(Decimal(usd))
        budget.spend(Decimal(usd), Decimal(usd))
    assert budget.taken <= limit
    assert (downgrade.take_moved() is not None) == bool(moved)
    assert moved == [] or more_usd < 0.2 + 0.2 * len(rows) + sum(weak_usd), "nothing moves where there is plenty"


def test_whoever_waits_is_woken_by_each_change_and_then_knows_whether_there_can_be_another() -> None:
    line = CostLine(0.01, 0.0)
    outstanding = {"strong": Outstanding(line, line), "weak": Outstanding(line, line)}
    budget = Budget(Decimal(1), Account(Decimal(0), Ledger(), lambda ledger: None))
    downgrade = Downgrade(budget, outstanding, 10_000, 0.01)
    strong, weak = request(1, 10, 0.1), request(2, 10, 0.01)
    assert downgrade.admits("strong", strong)
    assert downgrade.admits("weak", weak)

    async def work() -> None:
        changes: list[Callable[[], None]] = [
            lambda: downgrade.settled("strong", strong, Decimal("0.05")),
            lambda: downgrade.left("weak", weak),
            lambda: downgrade.fed("weak"),
        ]
        for change in changes:
            assert not downgrade.is_final
            waiting = asyncio.create_task(downgrade.changed())
            await asyncio.sleep(0)
            assert not waiting.done()
            change()
            await waiting
        assert downgrade.is_final

    asyncio.run(work())


@pytest.mark.parametrize("trouble", [{"faults": {"content_filter": 1.0}}, {"error_rate": 1.0}])
@pytest.mark.parametrize("side", SIDES)
def test_a_row_that_waits_for_money_and_one_that_waits_to_hear_of_others_do_not_wait_for_each_other(
    tmp_path: Path, servers: Servers, side: str, trouble: dict[str, Any]
) -> None:
    """A lane holds its first refusals, and failures that may begin an outage, until it knows more."""
    first = "x" * (900 if side == "strong" else 10)
    lines(tmp_path / "prompts.jsonl", {"prompt": first}, *({"prompt": "x" * 900} for _ in range(3)))
    servers[SIDES.index(side)].control(trouble)
    # Where nothing but 500 comes, the last rows fail no sooner than after `outage_s`.
    end = run(tmp_path, servers, 0.04, {"limits.outage_s": 2, "limits.max_wall_s": 60})
    assert end.stopped == ()
    assert end.ok + end.refused + end.failed == 4
