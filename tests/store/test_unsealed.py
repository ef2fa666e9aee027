"""What is not in the sealed parts: journals of runs that were killed, rows that a stop left open."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from rich.console import Console

from batchroute.report.build import build_report
from batchroute.show.report import render_report
from batchroute.store.layout import RunLayout
from batchroute.store.ledger import Ledger, write_ledger
from runs import failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report


def shown(report: Report) -> str:
    console = Console(file=StringIO(), width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(render_report(report))
    return captured.get()


def test_a_killed_runs_journal_counts_and_is_said_to_be_unsealed(tmp_path: Path) -> None:
    rows = [ok(0), ok(1, "weak"), refused(2), ok(3)]
    sealed = build_report(write_run(tmp_path / "a" / "run", [rows], failures=[failed(4, cost_usd=0.01)], rows=5))
    killed_run = write_run(tmp_path / "b" / "run", [rows[:1]], failures=[failed(3)], rows=5)
    # The row that failed before has its answer since; a journal whose part is there has told all it had.
    write_journal(killed_run, 0, rows[:1])
    write_journal(killed_run, 1, [rows[1], failed(4)])
    write_journal(killed_run, 2, [rows[2], rows[3], failed(4, cost_usd=0.01)])
    killed = build_report(killed_run)
    assert killed.unsealed == 3
    assert structs.replace(killed, unsealed=0) == sealed
    assert "of them 3 not sealed yet: run the job again" in shown(killed)


def test_a_run_that_has_all_its_answers_in_the_journal_is_not_complete(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows=1)
    write_journal(run, 1, [ok(0)])
    report = build_report(run)
    assert (report.state, report.remaining, report.unsealed) == ("incomplete", 0, 1)


def test_what_an_unfinished_row_cost_is_in_the_bill(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=3)
    begun = {**ok(1, attempts=2, cost_usd=0.25, response=None, latency_s=None), "status": "open"}
    overtaken = {**ok(0, cost_usd=0.5), "status": "open"}
    write_journal(run, 1, [begun, overtaken])
    report = build_report(run)
    assert (report.ok, report.remaining, report.strong_rows, report.unsealed) == (1, 2, 1, 0)
    assert (report.attempts, report.retries, report.prompt_tokens) == (3, 1, 2000)
    assert report.failed_cost_usd == 0.25
    assert report.cost_usd == pytest.approx(0.253)
    assert report.win_mass_kept == 1.0
    assert sum(bill.cost_usd or 0 for bill in report.models) == pytest.approx(0.253)
    assert "in the total: rows without an answer" in shown(report)


def test_a_run_with_nothing_but_an_unfinished_row_has_a_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows=3)
    write_journal(run, 1, [{**ok(1, cost_usd=0.25), "status": "open"}])
    assert "0.2500" in shown(build_report(run))


def test_what_a_killed_run_had_reserved_is_unconfirmed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, cost_usd=0.25)]], rows=2)
    write_ledger(RunLayout(run).ledger, Ledger(Decimal("0.125"), Decimal(1)))
    assert build_report(run).unconfirmed_usd == 0.75
    write_ledger(RunLayout(run).ledger, Ledger(Decimal("0.125"), None))
    assert build_report(run).unconfirmed_usd == 0.125
