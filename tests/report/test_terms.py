"""Words that not everybody knows are explained below their table, and runs have room in 80 columns."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from batchroute.report.build import build_report
from batchroute.report.comparison import compare
from batchroute.show.comparison import render_comparison
from batchroute.show.report import render_report
from batchroute.store.ledger import Ledger, write_ledger
from runs import ok, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from batchroute.report.figures import Report


def _shown(renderable: RenderableType, columns: int = 80) -> str:
    console = Console(file=StringIO(), width=columns, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def _text(renderable: RenderableType) -> str:
    return " ".join(_shown(renderable).split())


@pytest.fixture
def report(tmp_path: Path) -> Report:
    run = write_run(tmp_path / "2026-11-20", [[ok(0), ok(1, "weak")]], rows=2)
    write_ledger(run / "ledger.json", Ledger(unconfirmed=Decimal("0.05")))
    return build_report(run)


def test_a_report_explains_what_it_says(report: Report) -> None:
    shown = _text(render_report(report))
    for explained in (
        "unconfirmed: requests that were sent and brought no usage",
        "expected wins (win mass): the sum of the scores",
        "the built-in router ranks a little better than prompt length does",
    ):
        assert explained in shown
    plainer = _text(render_report(msgspec.structs.replace(report, unconfirmed_usd=0.0, builtin_router=False)))
    assert "unconfirmed" not in plainer
    assert "built-in router" not in plainer


@pytest.mark.parametrize(
    ("router", "is_builtin"),
    [
        ('use = "mf"', True),
        ('model = "mine"', False),
        ('use = "length"', False),
        ('use = "mine.router:Class"', False),
    ],
)
def test_only_the_router_that_ships_is_called_so(tmp_path: Path, router: str, is_builtin: bool) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    job = run / "job.toml"
    job.write_text(job.read_text().replace("[router.embedder]", f"[router]\n{router}\n[router.embedder]"))
    assert build_report(run).builtin_router is is_builtin


@pytest.mark.parametrize("nights", [2, 4, 5, 30])
def test_nights_have_room_in_80_columns(report: Report, nights: int) -> None:
    reports = [msgspec.structs.replace(report, run=f"2026-11-{night + 1:02}") for night in range(nights)]
    shown = _shown(render_comparison(compare(reports)))
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for night in reports:
        assert any(night.run in line for line in shown.splitlines())
    text = " ".join(shown.split())
    assert "drift: whether scores are spread as in the first run" in text
    assert "strong share (strong fraction)" in text
    assert "unconfirmed: requests" in text
    total = ["total", f"{2 * nights:,}", "0", "0", "50.0", "%", f"{0.0033 * nights:.4f}"]
    assert any(line.split()[:7] == total for line in shown.splitlines()) == (nights > 4)


def test_the_sum_of_many_nights_says_what_it_lacks(report: Report) -> None:
    unknown = msgspec.structs.replace(report, cost_unknown_rows=1)
    lines = [line.split() for line in _shown(render_comparison(compare([report, *[unknown] * 4]))).splitlines()]
    assert ["unconfirmed", "0.2500"] in lines
    assert ["total,", "at", "least"] in [line[:3] for line in lines]
    known = msgspec.structs.replace(report, unconfirmed_usd=0.0)
    shown = _shown(render_comparison(compare([known] * 5)))
    assert "unconfirmed" not in shown
    assert "at least" not in shown


def test_a_wide_terminal_has_more_nights_side_by_side(report: Report) -> None:
    shown = _shown(render_comparison(compare([report] * 8)), columns=160)
    assert any(line.split() == ["2026-11-20"] * 8 for line in shown.splitlines())
