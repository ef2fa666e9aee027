"""A report as one self-contained page: no script, no network, nothing of a row that is not escaped.

Knows the template and what it is given; figures come from the report, drawings from charts.py and so
from matplotlib: ask `require_matplotlib` before you import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batchroute.show import charts, words

if TYPE_CHECKING:
    from batchroute.report.details import Details
    from batchroute.report.figures import Report


_FILTERS = (
    "count",
    "money",
    "percent",
    "seconds",
    "duration",
    "speed",
    "threshold",
    "plain",
    "printable",
    "sentence",
)


def render_html(report: Report, details: Details) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("batchroute", "show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    return environment.get_template("page.html.j2").render(
        report=report,
        details=details,
        words=words,
        charts=_charts(report, details),
    )


def _charts(report: Report, details: Details) -> dict[str, Markup]:
    """Titles and drawings, those that there is something to draw for."""
    drawings = {}
    if any(report.score_histogram):
        drawings["Scores and the threshold"] = charts.score_chart(report)
    if details.timeline is not None:
        drawings["Cost over time"] = charts.cost_chart(details.timeline)
        drawings["Throughput"] = charts.speed_chart(details.timeline)
    if any(report.latency_s.values()):
        drawings["Latency"] = charts.latency_chart(report)
    return {title: Markup(drawing) for title, drawing in drawings.items()}  # noqa: S704  # drawn by us from figures
