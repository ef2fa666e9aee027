"""A report as one self-contained page: no script, no network, nothing of a row that is not escaped.

Knows the template and what it is given; figures come from the report, charts from charts.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batchroute.cli.show.words import (
    count,
    duration,
    money,
    moved_words,
    percent,
    plain,
    printable,
    seconds,
    simulated_words,
    unknown_cost_words,
)
from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from batchroute.report.details import Details
    from batchroute.report.figures import Report


def render_html(report: Report, details: Details) -> str:
    """The whole page. Raises UsageFault where matplotlib, an extra, is not installed."""
    environment = Environment(
        loader=PackageLoader("batchroute", "cli/show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count,
        money=money,
        percent=percent,
        seconds=seconds,
        duration=duration,
        plain=plain,
        printable=printable,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        details=details,
        moved=moved_words(report),
        charts=_charts(report, details),
        warnings=[words for words in (simulated_words(report), unknown_cost_words(report)) if words],
    )


def _charts(report: Report, details: Details) -> dict[str, Markup]:
    """Titles and drawings, those that there is something to draw for."""
    try:
        from batchroute.cli.show import charts  # an extra, only needed for a page
    except ImportError as missing:
        raise UsageFault("the page's charts need matplotlib: pip install 'batchroute[html]'") from missing
    drawings = {}
    if any(report.score_histogram):
        drawings["Scores and the threshold"] = charts.score_chart(report)
    if details.timeline is not None:
        drawings["Cost over time"] = charts.cost_chart(details.timeline)
        drawings["Throughput"] = charts.speed_chart(details.timeline)
    if any(report.latency_s.values()):
        drawings["Latency"] = charts.latency_chart(report)
    return {title: Markup(drawing) for title, drawing in drawings.items()}  # noqa: S704  # drawn by us from figures
