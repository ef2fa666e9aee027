"""`reconcile`: its table, its exit codes, its JSON; what it finds is report/test_invoice's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command import Said, assert_one_message
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "night", [[ok(0, cost_usd=1.0), ok(1, "weak", cost_usd=0.5, service_tier="flex")]])


def _invoice(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "costs.csv"
    path.write_text("\n".join(("date,model,usd", *lines)) + "\n")
    return path


def test_a_bill_that_agrees(run: Path, tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    invoice = _invoice(tmp_path, "2026-11-23,big-model,1.004", "2026-11-23,small-model,0.5")
    said = batchroute("reconcile", run, "--invoice", invoice)
    assert said.code == 0
    assert "night beside costs.csv  agrees" in said.out
    assert batchroute("reconcile", run, "--invoice", invoice, "--within", "0.001").code == 3


def test_a_bill_that_differs_says_where(run: Path, tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    invoice = _invoice(tmp_path, "2026-11-23,big-model,1", "2026-11-23,small-model,0.9", "2026-11-23,\x1b[31m,1")
    said = batchroute("reconcile", run, "--invoice", invoice)
    assert said.code == 3
    assert max(map(len, said.out.splitlines())) <= 80
    lines = [line.split() for line in said.out.splitlines()]
    assert ["2026-11-23", "small-model", "0.9000", "0.5000", "+0.4000", "differs"] in lines
    assert ["total", "1.9000", "1.5000", "+0.4000"] in lines
    assert "unknown  other use of the same key" in said.out
    assert "of models of none of the runs: 1.0000" in said.out
    assert "\x1b" not in said.out


def test_the_json(run: Path, tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    said = batchroute("reconcile", run, "--invoice", _invoice(tmp_path, "2026-11-23,big-model,3"), "--json")
    assert said.code == 3
    found = json.loads(said.out)
    assert (found["theirs_usd"], found["ours_usd"], found["difference_usd"]) == (3.0, 1.0, 2.0)
    assert found["columns"] == {"date": "date", "model": "model", "usd": "usd"}
    assert found["not_invoiced_usd"] == {"small-model": 0.5}


def test_columns_in_one_flag_or_in_several(run: Path, tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    path = tmp_path / "own.csv"
    path.write_text('"when, UTC",what,"how much"\n2026-11-23,big-model,1\n')
    together = ["--columns", "date=when, UTC,model=what,usd=how much"]
    apart = ["--columns", "date=when, UTC", "--columns", "model=what", "--columns", "usd=how much"]
    assert batchroute("reconcile", run, "--invoice", path, *together).code == 0
    assert batchroute("reconcile", run, "--invoice", path, *apart).code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--within", "-1"], "--within -1: must be an amount"),
        (["--within", "much"], "--within much: must be an amount"),
        (["--columns", "usd"], "must be NAME=VALUE"),
        (["--columns", "usd=bill"], "the file has no such column"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    run: Path, tmp_path: Path, batchroute: Callable[..., Said], flags: list[str], words: str
) -> None:
    invoice = _invoice(tmp_path, "2026-11-23,big-model,1")
    assert_one_message(batchroute("reconcile", run, "--invoice", invoice, *flags), 2, words)


def test_a_directory_that_is_no_run_s(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    invoice = _invoice(tmp_path, "2026-11-23,big-model,1")
    assert_one_message(batchroute("reconcile", tmp_path, "--invoice", invoice), 2, "not a run directory")
