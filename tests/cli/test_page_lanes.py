"""What the page says of lanes, and of a run that is not complete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from batchroute.report.lanes import LaneTimeline
from batchroute.show.page.render import render_run
from pages import SLOTS, Page, everything

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_lane_waited_for_is_drawn_and_said(tmp_path: Path) -> None:
    page = Page(render_run(*everything(tmp_path)))
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
    report, details = everything(tmp_path)
    lane = structs.replace(report.lanes["weak"], last_error=said, state=f"stopped: {said}", doing="stopped")
    report = structs.replace(report, lanes={"weak": lane})
    text = Page(render_run(report, replace(details, has_texts=False))).text
    assert f"Last error: {shown}" in text
    assert f"The weak lane is stopped: {shown}." in text
    assert "private" not in text
    assert said.partition("\n")[0] in Page(render_run(report, details)).text


def test_the_rows_of_a_lane_are_said_to_be_those_of_the_last_run(tmp_path: Path) -> None:
    """The bill beside them is that of all runs."""
    report, details = everything(tmp_path)
    lane = structs.replace(report.lanes["weak"], ok=138, refused=0, failed=2, in_flight=0)
    idle = structs.replace(lane, ok=0, failed=0)
    text = Page(render_run(structs.replace(report, lanes={"weak": lane, "strong": idle}), details)).text
    assert "In the last run 138 answered, 2 failed." in text
    assert "In the last run no rows." in text


def test_a_long_night_has_no_more_bars_than_a_short_one(tmp_path: Path) -> None:
    report, details = everything(tmp_path)
    timeline = LaneTimeline(started_at=0.0, step_s=1.0, slots=SLOTS * 10_000)  # type: ignore[arg-type]
    lanes = {name: structs.replace(lane, timeline=timeline) for name, lane in report.lanes.items()}
    page = render_run(structs.replace(report, lanes=lanes), details)
    assert len(page) < 150_000


def test_a_run_that_is_not_complete_says_what_to_do(tmp_path: Path) -> None:
    text = Page(render_run(*everything(tmp_path))).text
    assert "The strong lane is away: connection refused." in text
    assert "1 row failed" in text
    assert "the next run asks them again" in text
