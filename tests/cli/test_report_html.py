from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from runs import FINISHED_AT, WEAK_SIMULATED, failed, ok, refused, write_run

pytest.importorskip("matplotlib", reason="the page's charts are an extra")

from batchroute.report.build import build_report
from batchroute.report.details import Details, ExpensiveRow, Sample, read_details
from batchroute.show.html import render_html

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.figures import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Page(HTMLParser):
    """The tags of a page with their attributes, and all its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(run: Path, *, samples: int = 0) -> str:
    return render_html(build_report(run), read_details(run, samples=samples))


def _run(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    return write_run(folder / "night", [rows], rows=len(rows), **options)


def test_the_page_says_what_the_report_says(tmp_path: Path) -> None:
    rows = [ok(n, "strong" if n < 10 else "weak", score=n / 100, cached_tokens=0) for n in range(100)]
    page = _Page(_page(_run(tmp_path, rows, weak=WEAK_SIMULATED)))
    for words in ("SIMULATED: the weak side", "strong: big-model", "0.0570", "10.0 %", "threshold 0.50000"):
        assert words in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 4


def test_rows_taken_over_and_rows_moved_for_the_budget_stand_on_the_page(tmp_path: Path) -> None:
    rows = [ok(0, attempts=0, cost_usd=0.0), ok(1, "weak", score=0.9, route_reason="budget")]
    text = _Page(_page(_run(tmp_path, rows))).text
    assert "of them taken over at no cost" in text
    assert "of them weak to keep the budget" in text


def test_the_page_is_one_file_without_script_or_network(tmp_path: Path) -> None:
    html = _page(_run(tmp_path, [ok(0), ok(1, "weak")]), samples=2)
    page = _Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name.endswith(("href", "src"))]
    assert all((value or "").startswith("#") for value in targets)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J"
    rows = [ok(0, id=evil, response=evil, topic=evil, model=evil), refused(1, error_type=evil)]
    run = _run(tmp_path, rows, extra=[pa.field("topic", pa.string())], name=evil)
    page = _Page(_page(run, samples=5))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.text.count("<img src=x onerror=alert(1)>") >= 3
    assert "\x1b" not in page.text


def _tags(report: Report, text: str) -> list[str]:
    others = {"strong": {text: 1}}
    named = structs.replace(
        report, name=text, run=text, errors={text: 1}, service_tiers=others, other_models=others
    )
    expensive = ExpensiveRow(text, 0, text, text, 1, 1, 1.0, text, text)
    sample = Sample(text, 0, text, 0.5, "weak", text, {text: text})
    return [tag for tag, _ in _Page(render_html(named, Details(None, [expensive], [sample]))).tags]


def test_no_text_of_a_row_adds_an_element(tmp_path: Path) -> None:
    report = build_report(write_run(tmp_path / "run", rows=0))
    expected = _tags(report, "plain")

    @given(text=st.text(st.characters(exclude_categories=["Cs"])))
    @example(text="</pre></td><b>")
    @settings(max_examples=50)
    def holds(text: str) -> None:
        assert _tags(report, text) == expected

    holds()


def test_text_of_rows_is_only_there_on_demand(tmp_path: Path) -> None:
    run = _run(tmp_path, [ok(0, response="a private answer")])
    assert "a private answer" not in _page(run)
    assert "a private answer" in _page(run, samples=1)


def test_samples_are_the_rows_nearest_to_the_threshold(tmp_path: Path) -> None:
    rows = [ok(n, score=n / 10) for n in range(10)]
    run = write_run(tmp_path / "run", [rows[::2], rows[1::2]], rows=10)
    samples = read_details(run, samples=3).samples
    assert [sample.row for sample in samples] == [4, 5, 6]
    assert samples[0].response == "answer 4"


def test_the_most_expensive_rows_come_first(tmp_path: Path) -> None:
    rows = [ok(n, id=f"q{n}", cost_usd=n / 1000) for n in range(20)]
    found = read_details(_run(tmp_path, rows, failures=[failed(20, cost_usd=0.5)])).most_expensive
    assert [row.row for row in found] == [20, *range(19, 10, -1)]
    assert (found[0].id, found[1].id) == (None, "q19")


def test_the_timeline_adds_up_to_the_bill(tmp_path: Path) -> None:
    rows = [
        ok(n, "weak" if n % 3 else "strong", cost_usd=0.01, finished_at=FINISHED_AT + timedelta(seconds=n * n))
        for n in range(50)
    ]
    timeline = read_details(_run(tmp_path, rows)).timeline
    assert timeline is not None
    assert timeline.began == FINISHED_AT
    assert (sum(timeline.rows["strong"]), sum(timeline.rows["weak"])) == (17, 33)
    assert sum(timeline.cost_usd["strong"]) == pytest.approx(0.17)
    assert 49 * 49 <= timeline.slice_s * len(timeline.rows["weak"]) < 49 * 49 * 1.1


def test_a_run_without_rows_has_a_page(tmp_path: Path) -> None:
    page = _Page(_page(write_run(tmp_path / "run", rows=0), samples=3))
    assert "svg" not in {tag for tag, _ in page.tags}
    assert "complete" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    rows = [ok(n, "weak" if n % 3 else "strong", score=n / 100) for n in range(100)]
    (tmp_path / "page.html").write_text(_page(_run(tmp_path, rows), samples=2), encoding="utf-8")
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
    assert shown.stdout.count("<svg") == 4
    assert "CONSOLE" not in shown.stderr
