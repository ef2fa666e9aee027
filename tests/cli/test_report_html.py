from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from batchroute.report.build import build_report
from batchroute.report.by import spending_by
from batchroute.report.comparison import compare
from batchroute.report.details import MOST_KINDS, Details, ErrorExample, ExpensiveRow, Sample, read_details
from batchroute.report.lanes import LaneReport, LaneTimeline
from batchroute.show import words
from batchroute.show.page.bill import savings_table
from batchroute.show.page.render import render_nights, render_run
from batchroute.show.page.values import round_ticks, stacked
from runs import FINISHED_AT, WEAK_SIMULATED, failed, ok, refused, write_run

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
    return render_run(build_report(run), read_details(run, samples=samples))


def _run(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    return write_run(folder / "night", [rows], rows=len(rows), **options)


def test_the_page_says_what_the_report_says(tmp_path: Path) -> None:
    rows = [
        ok(n, "strong" if n < 10 else "weak", score=n / 100, finished_at=FINISHED_AT + timedelta(seconds=n))
        for n in range(100)
    ]
    page = _Page(_page(_run(tmp_path, rows, weak=WEAK_SIMULATED)))
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
    run = _run(tmp_path, rows, failures=[failed(len(rows), cost_usd=0.01)])
    text = _Page(_page(run)).text
    report = build_report(run)
    assert [figure for figure in _figures(report) if figure not in text] == []
    if report.savings_usd is None:
        assert "What was saved is not known" in text


def test_the_steps_from_all_strong_end_at_the_bill(tmp_path: Path) -> None:
    rows = [ok(0), ok(1, "weak"), ok(2, attempts=0, cost_usd=0.0), ok(3, service_tier="priority", cost_usd=0.009)]
    table = savings_table(build_report(_run(tmp_path, rows)))
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
    text = _Page(_page(_run(tmp_path, rows))).text
    assert "1 of the rows: taken over at no cost" in text
    assert "1 of the rows: weak to keep the budget" in text


SLOTS = [
    {"sending": 4.0, "paced": 1.0},
    {"rate_limited": 5.0},
    {"sending": 1.0, "waiting": 1.0, "tier_full": 3.0},
    {},
    {"away": 5.0},
    {"sending": 2.0, "no_money": 3.0},
]


def _everything(folder: Path) -> tuple[Report, Details]:
    """A report with something for every part of the page to show."""
    rows = [ok(0), ok(1, "weak", finish_reason="length"), refused(2)]
    run = _run(folder, rows, failures=[failed(3)], scores=[("prompts.jsonl", n, n / 10) for n in range(4)])
    lane = LaneReport(
        state="away: connection refused",
        doing="away",
        last_error="connection refused",
        timeline=LaneTimeline(started_at=0.0, step_s=5.0, slots=SLOTS),  # type: ignore[arg-type]
    )
    report = structs.replace(build_report(run), lanes={"strong": lane, "weak": lane})
    return report, read_details(run, samples=3)


def test_what_a_lane_waited_for_is_drawn_and_said(tmp_path: Path) -> None:
    page = _Page(render_run(*_everything(tmp_path)))
    assert page.text.count("Last error: connection refused") == 2
    said = [attrs["aria-label"] or "" for _, attrs in page.tags if attrs.get("role") == "img"]
    bands = next(text for text in said if text.startswith("The strong lane over 30.0 s"))
    for share in ("sending 28.0 %", "paused by 429 20.0 %", "endpoint away 20.0 %", "service tier full 12.0 %"):
        assert share in bands
    assert "7.0 s (28.0 %)" in page.text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("HTTP 422: cannot read: a private prompt", "HTTP 422"),
        ("HTTP 500: a private prompt\nand more", "HTTP 500"),
        ("HTTP 200, but the choice is an error: a private prompt", "HTTP 200"),
        ("connection refused (127.0.0.1:7999)", "connection refused (127.0.0.1:7999)"),
    ],
)
def test_what_a_provider_wrote_to_a_lane_is_there_on_demand_only(tmp_path: Path, said: str, shown: str) -> None:
    report, details = _everything(tmp_path)
    lane = structs.replace(report.lanes["weak"], last_error=said, state=f"stopped: {said}", doing="stopped")
    report = structs.replace(report, lanes={"weak": lane})
    text = _Page(render_run(report, replace(details, has_texts=False))).text
    assert f"Last error: {shown}" in text
    assert f"The weak lane is stopped: {shown}." in text
    assert "private" not in text
    assert said.partition("\n")[0] in _Page(render_run(report, details)).text


def test_a_long_night_has_no_more_bars_than_a_short_one(tmp_path: Path) -> None:
    report, details = _everything(tmp_path)
    timeline = LaneTimeline(started_at=0.0, step_s=1.0, slots=SLOTS * 10_000)  # type: ignore[arg-type]
    lanes = {name: structs.replace(lane, timeline=timeline) for name, lane in report.lanes.items()}
    page = render_run(structs.replace(report, lanes=lanes), details)
    assert len(page) < 150_000


def test_a_run_that_is_not_complete_says_what_to_do(tmp_path: Path) -> None:
    text = _Page(render_run(*_everything(tmp_path))).text
    assert "The strong lane is away: connection refused." in text
    assert "1 row failed" in text
    assert "run the job again" in text


def test_an_example_of_each_error_has_its_words_only_on_demand(tmp_path: Path) -> None:
    rows = [refused(0, id="q0", error="you said: a private prompt"), refused(1, error="again: a private prompt")]
    run = _run(tmp_path, rows, failures=[failed(2, error="HTTP 500: a private path")])
    text = _Page(_page(run)).text
    assert "http_400" in text
    assert "q0 (prompts.jsonl:0)" in text or "prompts.jsonl:1" in text
    assert "prompts.jsonl:2" in text
    assert "private" not in text
    shown = _Page(_page(run, samples=1)).text
    assert "a private prompt" in shown
    assert "a private path" in shown


def test_of_many_kinds_of_errors_and_models_the_page_stays_small(tmp_path: Path) -> None:
    rows = [
        refused(n, error_type=f"kind-{n:04d}" + "x" * 500, model=f"model-{n:04d}" + "y" * 500, error="z" * 5000)
        for n in range(1000)
    ]
    run = _run(tmp_path, rows)
    page = render_run(build_report(run), read_details(run, samples=1), spending_by([run], "error_type"))
    assert len(page.encode()) < 150_000
    text = _Page(page).text
    assert f"{1000 - MOST_KINDS:,} other kinds" in text
    assert "980 more models" in text


def test_nights_stand_side_by_side(tmp_path: Path) -> None:
    nights = []
    for number in range(3):
        rows = [ok(n, "weak" if n % 3 else "strong", cost_usd=0.001 * (number + 1)) for n in range(30)]
        nights.append(build_report(write_run(tmp_path / f"2026-11-2{number}", [rows], rows=30)))
    nights.append(build_report(write_run(tmp_path / "2026-11-23", [[refused(0)]], rows=1, failures=[failed(1)])))
    page = _Page(render_nights(compare(nights)))
    for report in nights:
        assert report.run in page.text
        assert words.money(report.total_usd) in page.text
        assert words.percent(report.savings_fraction) in page.text
    assert words.money(sum(report.total_usd or 0.0 for report in nights)) in page.text
    assert "incomplete" in page.text


def test_sums_over_nights_are_unknown_where_one_of_them_is(tmp_path: Path) -> None:
    known = build_report(write_run(tmp_path / "a", [[ok(0)]], rows=1))
    unknown = build_report(write_run(tmp_path / "b", [[ok(0, cost_usd=None)]], rows=1))
    text = _Page(render_nights(compare([known, unknown]))).text
    assert "The cost of 1 row is unknown" in text
    assert "unknown" in text.partition("Saved against all strong")[2][:40]


def test_many_nights_are_bounded(tmp_path: Path) -> None:
    report = build_report(write_run(tmp_path / "night", [[ok(0), ok(1, "weak")]], rows=2))
    page = render_nights(compare([report] * 2000))
    assert len(page.encode()) < 300_000
    assert "earlier runs are in the sums above" in page


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


def _levels(page: _Page) -> list[int]:
    return [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]


def test_the_page_can_be_read_without_seeing_it(tmp_path: Path) -> None:
    page = _Page(render_run(*_everything(tmp_path)))
    levels = _levels(page)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") > 5
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("role") == "img")
    assert dict(page.tags)["html"] == {"lang": "en"}


def test_the_page_is_one_file_without_script_or_network(tmp_path: Path) -> None:
    report, details = _everything(tmp_path)
    html = render_run(report, details)
    page = _Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name.endswith(("href", "src"))]
    assert all((value or "").startswith("#") for value in targets)
    assert "@import" not in html
    assert "://" not in html
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


def _named(report: Report, text: str) -> Report:
    """The report with the text wherever a name or a message from outside stands."""
    others = {"strong": {text: 1}}
    lanes = {name: structs.replace(lane, state=text, last_error=text) for name, lane in report.lanes.items()}
    models = [structs.replace(bill, model=text) for bill in report.models]
    return structs.replace(
        report,
        name=text,
        run=text,
        errors={text: 1},
        service_tiers=others,
        other_models=others,
        lanes=lanes,
        models=models,
    )


def _tags(report: Report, text: str) -> list[str]:
    expensive = ExpensiveRow(text, 0, text, text, 1, 1, 1.0, text, text)
    sample = Sample(text, 0, text, 0.5, "weak", text, {text: text})
    details = Details(True, None, [ErrorExample(text, text, 0, text, text)], [expensive], [sample])
    named = _named(report, text)
    pages = render_run(named, details), render_nights(compare([named, named]))
    return [tag for page in pages for tag, _ in _Page(page).tags]


def test_no_text_of_a_row_adds_an_element(tmp_path: Path) -> None:
    report, _ = _everything(tmp_path)
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
    assert "0 of 0 rows" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    rows = [
        ok(n, "weak" if n % 3 else "strong", finished_at=FINISHED_AT + timedelta(seconds=n)) for n in range(100)
    ]
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
    assert shown.stdout.count("<svg") == 3
    assert "CONSOLE" not in shown.stderr
