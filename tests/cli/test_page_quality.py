"""What a pilot found on the page: the sentence, the curve with its band, and nights side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from batchroute.report.build import build_report
from batchroute.report.comparison import compare
from batchroute.report.figures import json_text
from batchroute.report.lanes import LaneReport
from batchroute.report.quality import CurvePoint
from batchroute.show.comparison import render_comparison
from batchroute.show.notebook import run_html
from batchroute.show.page.lanes import lanes_of
from batchroute.show.page.quality import kept_plot, shares_table
from batchroute.show.page.render import render_nights
from batchroute.show.quality import sentence_of
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotRecord, PilotStore
from pages import Page, page_of
from qualities import BROKEN, EACH, MEASURED, ROUTE, UNPRICED, quality_of
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.quality import Quality

NUMBERS = re.compile(r"-?\d+\.\d+")


def run_with(folder: Path, name: str, quality: Quality | None, pilot_usd: tuple[float | None, ...] = ()) -> Path:
    """A run of two rows whose pilot found this, with answers beside the rows at these costs, one of the judge."""
    run = write_run(folder / name, [[ok(0), ok(1, "weak")]], rows=2)
    if quality is not None:
        (run / "pilot").mkdir()
        (run / "pilot" / "pilot.json").write_bytes(json_text(quality))
    if pilot_usd:
        store = PilotStore(RunLayout(run), mode=0o700)
        for row, usd in enumerate(pilot_usd):
            store.put(PilotRecord("pilot" if row else "verdict", "weak", "prompts.jsonl", row, cost_usd=usd))
        store.close()
    return run


@pytest.mark.parametrize("name", EACH)
def test_each_verdict_stands_on_the_page(tmp_path: Path, name: str) -> None:
    run = run_with(tmp_path, "night", EACH[name])
    page, found = Page(page_of(run)), build_report(run).quality
    assert found is not None
    assert sentence_of(found) in page.text
    assert not re.search(r"None|nan\b", page.text)
    drawings = [tag for _, tag in page.tags if tag.get("role") == "img"]
    is_drawn = kept_plot(EACH[name]) is not None
    assert any("strong keeps" in str(tag["aria-label"]) for tag in drawings) == is_drawn
    assert is_drawn == any(point.kept is not None for point in EACH[name].curves.get(EACH[name].router, []))


def test_a_broken_target_is_the_first_thing_read(tmp_path: Path) -> None:
    text = Page(page_of(run_with(tmp_path, "night", BROKEN))).text
    assert text.index("The quality target of 95 % is broken: on 412 watched rows") < text.index("It cost, USD")
    assert "What watched rows keep" in text


def test_a_page_without_a_pilot_has_nothing_of_it(tmp_path: Path) -> None:
    page = page_of(run_with(tmp_path, "night", None))
    assert "quality that is kept" not in page
    assert "Pilot" not in Page(page).text


def test_the_curve_says_itself_in_words() -> None:
    plot = kept_plot(ROUTE)
    assert plot is not None
    assert plot.caption == "Quality kept against cost"
    assert plot.text == (
        "By the job's router, 100.0 % strong keeps 100.0 %, 0.0 % strong keeps 90.0 %. "
        "By prompt length, 100.0 % strong keeps 100.0 %, 0.0 % strong keeps 90.0 %. "
        "By random, 100.0 % strong keeps 100.0 %, 0.0 % strong keeps 90.0 %. "
        "The target is 95 %. Chosen is 35.0 % strong, which keeps 95.9 % (92.7 to 99.1 %) at 42 % of the cost."
    )
    assert [look for look, _ in plot.legend] == ["kept", "length", "random", "target"]
    assert plot.mark is not None
    assert (round(plot.mark.at, 1), plot.mark.label) == (41.5, "35.0 % strong")


def test_without_prices_it_is_drawn_over_the_strong_share() -> None:
    plot = kept_plot(UNPRICED)
    assert plot is not None
    assert (plot.caption, plot.x_label) == ("Quality kept against the strong share", "rows that go strong")
    assert plot.mark is not None
    assert plot.mark.at == pytest.approx(35.0)


def test_without_a_target_no_line_is_one() -> None:
    plot = kept_plot(MEASURED)
    assert plot is not None
    assert all("target" not in shape.look for shape in plot.shapes)


levels = st.none() | st.floats(0, 3)
points = st.builds(
    lambda share, ends, cost: CurvePoint(share=share, low=ends[0], kept=ends[1], high=ends[2], cost_share=cost),
    st.floats(0, 1),
    st.tuples(levels, levels, levels),
    st.none() | st.floats(0, 4),
)


@given(used=st.lists(points, max_size=6), length=st.lists(points, max_size=6), target=st.none() | st.just(0.95))
def test_everything_is_drawn_within_the_frame(
    used: list[CurvePoint], length: list[CurvePoint], target: float | None
) -> None:
    plot = kept_plot(quality_of(curves={"job": used, "length": length}, target=target, tested=[]))
    if plot is None:
        assert all(point.kept is None for point in used)
        return
    for shape in plot.shapes:
        assert all(-0.01 <= float(number) <= 100.01 for number in NUMBERS.findall(shape.path)), shape
    for ticks in (plot.x_ticks, plot.y_ticks):
        assert all(-0.01 <= tick.at <= 100.01 for tick in ticks)
        assert 2 <= len(ticks) <= 12
    assert len({tick.label for tick in plot.y_ticks}) == len(plot.y_ticks)


def test_a_row_of_the_shares_does_not_break() -> None:
    table = shares_table(ROUTE)
    assert table is not None
    [chosen] = [row for row in table.rows if row.look == "chosen"]
    assert chosen.head == "35.0\N{NO-BREAK SPACE}%\N{NO-BREAK SPACE}strong"
    assert chosen.cells[3:] == ["chosen", "94.3 %", "93.5 %"]


def test_the_pilot_is_on_every_bill_that_adds_up(tmp_path: Path) -> None:
    run = run_with(tmp_path, "night", ROUTE, (0.02, 0.5))
    report = build_report(run)
    assert (report.pilot_cost_usd, report.judge_cost_usd) == (0.52, 0.02)
    assert report.total_usd == pytest.approx(0.003 + 0.0003 + 0.52)
    text = Page(page_of(run)).text
    assert re.search(r"Pilot \(beside the rows\)\s*0\.5200", text)
    assert "0.5233" in text
    assert "beside the rows" in run_html(run, report, ())
    assert report.quality is not None
    assert sentence_of(report.quality) in run_html(run, report, ()).replace("&#x27;", "'")


def test_what_the_pilot_cost_may_be_unknown(tmp_path: Path) -> None:
    report = build_report(run_with(tmp_path, "night", UNPRICED, (0.02, None)))
    assert (report.pilot_cost_usd, report.judge_cost_usd, report.total_usd) == (None, None, None)


def test_nights_stand_side_by_side(tmp_path: Path) -> None:
    qualities = {"mon": ROUTE, "tue": BROKEN, "wed": None}
    compared = compare([build_report(run_with(tmp_path, name, found)) for name, found in qualities.items()])
    page = Page(render_nights(compared)).text
    for words in ("Quality by run", "route", "route, broken", "93.8 to 98.4 %", "95 %", "94.2 %"):
        assert words in page
    assert "Quality by run" not in Page(render_nights(compare(compared.runs[2:]))).text


def compared_on_a_terminal(folder: Path, names: Sequence[str]) -> str:
    """In 80 columns."""
    reports = [build_report(run_with(folder, f"night-{number}", EACH[name])) for number, name in enumerate(names)]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render_comparison(compare(reports)))
    return captured.get()


def test_few_nights_stand_side_by_side_on_a_terminal(tmp_path: Path) -> None:
    text = compared_on_a_terminal(tmp_path, ["route", "all weak"])
    assert re.search(r"quality kept +96\.1 % +97\.2 %", text)
    assert re.search(r"target +95 % +95 %", text)
    assert re.search(r"verdict +route +all weak", text)


def test_many_nights_have_a_line_each(tmp_path: Path) -> None:
    text = compared_on_a_terminal(tmp_path, ["route", "all weak", "broken", "measured", "nothing graded", "route"])
    assert re.search(r"night-2 +96\.1 % +95 % +route, broken +94\.2 % +0\.0000", text)
    assert re.search(r"night-3 +96\.1 % +- +measured +- ", text)
    assert "night-2: the quality target of 95 % is broken:" in re.sub(r"\s+", " ", text)
    assert "…" not in text


def test_a_judges_lane_names_the_judge_and_gives_verdicts(tmp_path: Path) -> None:
    run = run_with(tmp_path, "night", quality_of(judge="rubric", judge_model="gpt-6.1-sol"))
    lane = LaneReport(state="done", doing="done", rows=800, ok=800, is_beside=True)
    report = msgspec.structs.replace(build_report(run), lanes={"judge": lane})
    [shown] = lanes_of(report, has_texts=False)
    assert (shown.name, shown.model) == ("judge", "gpt-6.1-sol")
