"""A report, or several side by side, as the text of one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from batchroute import __version__
from batchroute.report.comparison import add_up
from batchroute.show import quality as sentences
from batchroute.show import terms, words
from batchroute.show.page import bill, lanes, nights, plots, quality, rows, state

if TYPE_CHECKING:
    from batchroute.report.by import Breakdown
    from batchroute.report.comparison import Comparison
    from batchroute.report.details import Details
    from batchroute.report.figures import Report
    from batchroute.report.quality import Quality

_FILTERS = ("count", "money", "percent", "duration", "speed", "threshold", "plain", "printable", "sentence")


def render_run(report: Report, details: Details, by: Breakdown | None = None) -> str:
    """The page of one run."""
    timeline = details.timeline
    return _rendered(
        "run.html.j2",
        report=report,
        details=details,
        state_lines=state.state_lines(report, has_texts=details.has_texts),
        found=None if report.quality is None else _found(report.quality),
        budget=bill.budget_bar(report),
        savings=bill.savings_table(report),
        unknown_savings=bill.unknown_savings(report),
        plan=bill.plan_table(report),
        models=bill.models_table(report),
        beside=bill.beside_table(report),
        column=None if by is None else bill.column_table(by),
        column_quality=None if by is None else bill.column_quality_table(by),
        lanes=lanes.lanes_of(report, has_texts=details.has_texts),
        lane_times=lanes.times_table(report),
        over_time=[] if timeline is None else [plots.cost_plot(timeline), plots.speed_plot(timeline)],
        scores=plots.score_plot(report),
        errors=rows.errors_table(report, details.errors),
        finish=rows.finish_table(report),
        latency=rows.latency_table(report),
        expensive=rows.expensive_table(details.most_expensive),
    )


def _found(found: Quality) -> dict[str, Any]:
    """What a page says of a pilot."""
    return {
        "sentence": sentences.sentence_of(found),
        "details": list(sentences.details_of(found)),
        "plot": quality.kept_plot(found),
        "tables": [
            each
            for each in (quality.watch_table(found), quality.shares_table(found), quality.routers_table(found))
            if each is not None
        ],
    }


def render_nights(comparison: Comparison, by: Breakdown | None = None) -> str:
    """The page of several runs."""
    return _rendered(
        "nights.html.j2",
        runs=comparison.runs,
        names=nights.names_of(comparison),
        totals=add_up(comparison.runs),
        warnings=nights.warnings(comparison),
        nights=nights.nights_table(comparison),
        quality=nights.quality_table(comparison),
        column=None if by is None else bill.column_table(by),
        column_quality=None if by is None else bill.column_quality_table(by),
        drift=nights.drift_table(comparison),
        requests=nights.requests_table(comparison),
    )


def _rendered(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("batchroute", "show/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    common = {"words": words, "terms": terms, "version": __version__}
    return environment.get_template(template).render(**common, **values)
