"""The page of one run: its figures, its drawings, its size, and how it is read."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.build import build_report
from batchroute.report.by import spending_by
from batchroute.report.details import MOST_KINDS, read_details
from batchroute.show import words
from batchroute.show.page.bill import savings_table
from batchroute.show.page.render import render_run
from batchroute.show.page.values import round_ticks, stacked
from pages import Page, everything, page_of, settled_run
from runs import FINISHED_AT, WEAK_SIMULATED, failed, ok, refused, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_the_page_says_what_the_report_says(tmp_path: Path) -> None:
    rows = [
        ok(n, "strong" if n < 10 else "weak", score=n / 100, finished_at=FINISHED_AT + timedelta(seconds=n))
        for n in range(100)
    ]
    page = Page(page_of(settled_run(tmp_path, rows, weak=WEAK_SIMULATED)))
    for said in ("SIMULATED: the weak side", "big-model", "0.0570", "10.0 %", "threshold 0.50000"):
        assert said in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 3


def _figures(report: Report) -> list[str]:
    """What of a report a page must say, as words write it."""
    amounts = (report.total_usd, report.savings_usd, report.all_strong_usd, report.all_weak_usd)
    counts = (report.rows, report.ok, report.refused, report.failed, report.strong_rows, report.attempts)
    bills = [words.money(bill.cost_usd) for bill in report.models]
    latencies = [words.seconds(latency.p95) for latency in report.latency_s.values() if latency]
    shares = [words.percent(report.strong_fraction), words.percent(report.savings_fraction)]
    saved = [words.money(abs(usd)) for _, usd in words.causes_of(report)]
    return [*map(words.money, amounts), *saved, *map(words.count, counts), *bills, *latencies, *shares]


RUNS = {
    "plain": [ok(0), ok(1, "weak"), ok(2, "weak", cached_tokens=500)],
    "taken over": [ok(0, attempts=0, cost_usd=0.0), ok(1, "weak")],
    "flex": [ok(0, service_tier="flex", cost_usd=0.0015), refused(1), refused(2, None)],
    "dearer than all strong": [ok(0, cost_usd=0.5), ok(1, "weak", cost_usd=0.4)],
    "unknown": [ok(0, cost_usd=None, prompt_tokens=None, completion_tokens=None), ok(1, "weak")],
    "refused alone": [refused(0), refused(1, "weak")],
}


@pytest.mark.parametrize("rows", RUNS.values(), ids=RUNS)
def test_every_figure_is_the_reports(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    run = settled_run(tmp_path, rows, failures=[failed(len(rows), cost_usd=0.01)])
    text = Page(page_of(run)).text
    report = build_report(run)
    assert [figure for figure in _figures(report) if figure not in text] == []
    if report.savings_usd is None:
        assert "What was saved is not known" in text


def test_the_steps_from_all_strong_end_at_the_bill(tmp_path: Path) -> None:
    rows = [ok(0), ok(1, "weak"), ok(2, attempts=0, cost_usd=0.0), ok(3, service_tier="priority", cost_usd=0.009)]
    table = savings_table(build_report(settled_run(tmp_path, rows)))
    ends = [max((piece.left + piece.width for piece in row.bar), default=0.0) for row in table.rows]
    starts = [min((piece.left for piece in row.bar), default=0.0) for row in table.rows]
    steps = range(1, len(table.rows) - 2)
    # Each step hangs from the level that the one before it left: a saving goes to the left, a loss to the right.
    level = ends[0]
    for step in steps:
        saved = table.rows[step].head.startswith("Saved")
        assert (ends[step] if saved else starts[step]) == pytest.approx(level)
        level = starts[step] if saved else ends[step]
    assert ends[-2] == pytest.approx(level)
    assert all(start >= 0 and end <= 100.001 for start, end in zip(starts, ends, strict=True))


def test_rows_taken_over_and_rows_moved_for_the_budget_stand_on_the_page(tmp_path: Path) -> None:
    rows = [ok(0, attempts=0, cost_usd=0.0), ok(1, "weak", score=0.9, route_reason="budget")]
    text = Page(page_of(settled_run(tmp_path, rows))).text
    assert "1 of the rows: taken over at no cost" in text
    assert "1 of the rows: weak to keep the budget" in text


def test_of_many_kinds_of_errors_and_models_the_page_stays_small(tmp_path: Path) -> None:
    rows = [
        refused(n, error_type=f"kind-{n:04d}" + "x" * 500, model=f"model-{n:04d}" + "y" * 500, error="z" * 5000)
        for n in range(1000)
    ]
    run = settled_run(tmp_path, rows)
    page = render_run(build_report(run), read_details(run, samples=1), spending_by([run], "error_type"))
    assert len(page.encode()) < 150_000
    text = Page(page).text
    assert f"{1000 - MOST_KINDS:,} other kinds" in text
    assert "980 more models" in text


@given(top=st.floats(1e-6, 1e9))
def test_ticks_are_few_and_reach_the_top(top: float) -> None:
    ticks = round_ticks(top)
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] <= top * (1 + 1e-6) < ticks[-1] + 2.5 * (ticks[1] - ticks[0])


@given(amounts=st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=5))
def test_a_bar_fills_its_track_and_no_more(amounts: list[float | None]) -> None:
    whole = sum(amount or 0.0 for amount in amounts)
    bar = stacked([("weak", amount) for amount in amounts], whole)
    assert all(piece.left >= 0 and piece.width > 0 for piece in bar)
    assert sum(piece.width for piece in bar) == pytest.approx(100.0 if bar else 0.0)


def _levels(page: Page) -> list[int]:
    return [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]


def test_the_page_can_be_read_without_seeing_it(tmp_path: Path) -> None:
    page = Page(render_run(*everything(tmp_path)))
    levels = _levels(page)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") > 5
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("role") == "img")
    assert dict(page.tags)["html"] == {"lang": "en"}


def test_the_most_expensive_rows_come_first(tmp_path: Path) -> None:
    rows = [ok(n, id=f"q{n}", cost_usd=n / 1000) for n in range(20)]
    found = read_details(settled_run(tmp_path, rows, failures=[failed(20, cost_usd=0.5)])).most_expensive
    assert [row.row for row in found] == [20, *range(19, 10, -1)]
    assert (found[0].id, found[1].id) == (None, "q19")


def test_the_timeline_adds_up_to_the_bill(tmp_path: Path) -> None:
    rows = [
        ok(n, "weak" if n % 3 else "strong", cost_usd=0.01, finished_at=FINISHED_AT + timedelta(seconds=n * n))
        for n in range(50)
    ]
    timeline = read_details(settled_run(tmp_path, rows)).timeline
    assert timeline is not None
    assert timeline.began == FINISHED_AT
    assert (sum(timeline.rows["strong"]), sum(timeline.rows["weak"])) == (17, 33)
    assert sum(timeline.cost_usd["strong"]) == pytest.approx(0.17)
    assert 49 * 49 <= timeline.slice_s * len(timeline.rows["weak"]) < 49 * 49 * 1.1


def test_a_run_without_rows_has_a_page(tmp_path: Path) -> None:
    page = Page(page_of(write_run(tmp_path / "run", rows=0), samples=3))
    assert "svg" not in {tag for tag, _ in page.tags}
    assert "complete" in page.text
    assert "0 of 0 rows" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    rows = [
        ok(n, "weak" if n % 3 else "strong", finished_at=FINISHED_AT + timedelta(seconds=n)) for n in range(100)
    ]
    (tmp_path / "page.html").write_text(page_of(settled_run(tmp_path, rows), samples=2), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    shown = subprocess.run(
        [
            str(CHROMIUM),
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=390,900",
            "--enable-logging=stderr",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert shown.stdout.count("<svg") == 3
    assert "CONSOLE" not in shown.stderr
