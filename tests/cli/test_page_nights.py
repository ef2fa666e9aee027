"""The page of several runs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.report.build import build_report
from batchroute.report.comparison import compare
from batchroute.show import words
from batchroute.show.page.render import render_nights
from batchroute.store.ledger import Ledger, write_ledger
from pages import Page
from runs import failed, ok, refused, write_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def test_nights_stand_side_by_side(tmp_path: Path) -> None:
    nights = []
    for number in range(3):
        rows = [ok(n, "weak" if n % 3 else "strong", cost_usd=0.001 * (number + 1)) for n in range(30)]
        nights.append(build_report(write_run(tmp_path / f"2026-11-2{number}", [rows], rows=30)))
    nights.append(build_report(write_run(tmp_path / "2026-11-23", [[refused(0)]], rows=1, failures=[failed(1)])))
    page = Page(render_nights(compare(nights)))
    for report in nights:
        assert report.run in page.text
        assert words.money(report.total_usd) in page.text
        assert words.percent(report.savings_fraction) in page.text
    assert words.money(sum(report.total_usd or 0.0 for report in nights)) in page.text
    assert "incomplete" in page.text


def test_sums_over_nights_are_unknown_where_one_of_them_is(tmp_path: Path) -> None:
    known = build_report(write_run(tmp_path / "a", [[ok(0)]], rows=1))
    unknown = build_report(write_run(tmp_path / "b", [[ok(0, cost_usd=None)]], rows=1))
    text = Page(render_nights(compare([known, unknown]))).text
    assert "The cost of 1 row is unknown" in text
    assert "unknown" in text.partition("Saved against all strong")[2][:40]


def test_what_is_unconfirmed_stands_beside_the_sum(tmp_path: Path) -> None:
    nights = [write_run(tmp_path / name, [[ok(0)]], rows=1) for name in ("a", "b")]
    assert "unconfirmed" not in _text(nights)
    write_ledger(nights[1] / "ledger.json", Ledger(unconfirmed=Decimal("0.05")))
    assert "at most 0.0500 unconfirmed" in _text(nights)


def _text(runs: Sequence[Path]) -> str:
    return Page(render_nights(compare([build_report(run) for run in runs]))).text


def test_a_night_that_is_no_whole_one_says_so_beside_its_cost(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", [[ok(0)]], rows=1)
    broken = write_run(tmp_path / "broken", [[ok(0), refused(1)]], rows=300)
    moved = write_run(tmp_path / "moved", [[ok(0, "weak", route_reason="budget"), ok(1, "weak")]], rows=2)
    assert "incomplete, 2 rows done" in _text([whole, broken])
    assert "1 moved to weak by the limit" in _text([whole, moved])
    assert "rows done" not in _text([whole, moved])


def test_many_nights_are_bounded(tmp_path: Path) -> None:
    report = build_report(write_run(tmp_path / "night", [[ok(0), ok(1, "weak")]], rows=2))
    page = render_nights(compare([report] * 2000))
    assert len(page.encode()) < 300_000
    assert "earlier runs are in the sums above" in page
