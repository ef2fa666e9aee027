"""Pages of reports for tests: rendered, and taken apart."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from msgspec import structs

from batchroute.report.build import build_report
from batchroute.report.details import Details, read_details
from batchroute.report.lanes import LaneReport, LaneTimeline
from batchroute.show.page.render import render_run
from runs import failed, ok, refused, write_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.figures import Report


class Page(HTMLParser):
    """The tags of a page with their attributes, and all its text but the style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.text += data


def page_of(run: Path, *, samples: int = 0) -> str:
    return render_run(build_report(run), read_details(run, samples=samples))


def settled_run(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    return write_run(folder / "night", [rows], rows=len(rows), **options)


SLOTS = [
    {"sending": 4.0, "paced": 1.0},
    {"rate_limited": 5.0},
    {"sending": 1.0, "waiting": 1.0, "tier_full": 3.0},
    {},
    {"away": 5.0},
    {"sending": 2.0, "no_money": 3.0},
]


def everything(folder: Path) -> tuple[Report, Details]:
    """A report with something for every part of the page to show."""
    rows = [ok(0), ok(1, "weak", finish_reason="length"), refused(2)]
    run = settled_run(folder, rows, failures=[failed(3)], scores=[("prompts.jsonl", n, n / 10) for n in range(4)])
    lane = LaneReport(
        state="away: connection refused",
        doing="away",
        last_error="connection refused",
        timeline=LaneTimeline(started_at=0.0, step_s=5.0, slots=SLOTS),  # type: ignore[arg-type]
    )
    report = structs.replace(build_report(run), lanes={"strong": lane, "weak": lane})
    return report, read_details(run, samples=3)
