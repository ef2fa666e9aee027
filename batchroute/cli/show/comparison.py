"""Several runs as a table: one column a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchroute.cli.show.tables import add_row, table
from batchroute.cli.show.words import count, duration, money, percent, plain, seconds, simulated_words, threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from batchroute.report.comparison import Comparison
    from batchroute.report.figures import Report
    from batchroute.types import Side


def render_comparison(comparison: Comparison) -> RenderableType:
    """Cost, share, latency and errors as a table, drift of the scores in words below it."""
    runs = comparison.runs
    figures = table("", *(plain(report.run) for report in runs), folded=True)
    for label, figure in _LINES:
        add_row(figures, label, *map(figure, runs))
    # A set would put the error types in another order each time.
    for error_type in dict.fromkeys(error for report in runs for error in report.errors):
        add_row(figures, f"  {plain(error_type)}", *(count(report.errors.get(error_type, 0)) for report in runs))
    return Group(figures, Text(), *map(Text, _notes(comparison)))


def _p95(report: Report, side: Side) -> str:
    latency = report.latency_s.get(side)
    return seconds(latency.p95 if latency else None)


_LINES: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("state", lambda report: report.state),
    ("rows", lambda report: count(report.rows)),
    ("answered", lambda report: count(report.ok)),
    ("strong share", lambda report: percent(report.strong_fraction)),
    ("threshold", lambda report: threshold(report.threshold)),
    ("total, USD", lambda report: money(report.total_usd)),
    ("all strong, USD", lambda report: money(report.all_strong_usd)),
    ("saved", lambda report: percent(report.savings_fraction)),
    ("output tokens", lambda report: count(report.completion_tokens)),
    ("strong latency p95, s", lambda report: _p95(report, "strong")),
    ("weak latency p95, s", lambda report: _p95(report, "weak")),
    ("time", lambda report: duration(report.wall_s)),
    ("retries", lambda report: count(report.retries)),
    ("refused or failed", lambda report: count(report.refused + report.failed)),
)


def _notes(comparison: Comparison) -> Iterator[str]:
    first, *others = comparison.runs
    for other, found in zip(others, comparison.drifts, strict=True):
        if found is not None:
            index = f"stability index {found.psi:.3f}"
            yield f"{plain(other.run)} against {plain(first.run)}: {found.verdict} ({index})"
    for report in comparison.runs:
        if words := simulated_words(report):
            yield f"{plain(report.run)}: {words}"
