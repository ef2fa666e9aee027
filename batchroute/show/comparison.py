"""Several runs on a terminal: side by side where they have room, else a line each; then whether prompts changed.

Computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from batchroute.report.comparison import add_up
from batchroute.show import terms, words
from batchroute.show.quality import interval_words, verdict_words
from batchroute.show.tables import add_row, blocks, table
from batchroute.show.words import count, duration, exact_percent, money, percent, plain, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from batchroute.report.comparison import Comparison
    from batchroute.report.figures import Report
    from batchroute.report.quality import Quality
    from batchroute.types import Side

_LABEL_CHARS, _RUN_CHARS = 24, 14  # of a terminal's line, for what a figure is and for each run
_FEW = 4  # runs, which 80 columns hold side by side


def render_comparison(comparison: Comparison) -> RenderableType:
    """Cost, share, latency and errors, drift of the scores in words below them."""
    notes = Text("\n".join(_notes(comparison)))
    explained = Text("\n".join(_terms(comparison)), style="dim")
    return blocks([_Runs(comparison.runs), *([notes] if notes else []), explained])


@dataclass(frozen=True, slots=True)
class _Runs:
    """The figures of runs: a column for each where the terminal has room for all of them, else a line for each."""

    runs: Sequence[Report]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_room = _LABEL_CHARS + _RUN_CHARS * len(self.runs) <= options.max_width
        if has_room:
            yield _columns(self.runs)
            return
        yield _rows(self.runs)
        if any(report.quality is not None for report in self.runs):
            yield Text()
            yield _qualities(self.runs)


def _columns(runs: Sequence[Report]) -> Table:
    figures = table("", *(plain(report.run) for report in runs), folded=True)
    for label, figure in _LINES:
        add_row(figures, label, *map(figure, runs))
    if any(report.quality is not None for report in runs):
        for label, of_quality in _QUALITY:
            cells = ("" if report.quality is None else of_quality(report.quality) for report in runs)
            add_row(figures, label, *cells)
    if any(report.pilot_cost_usd != 0 for report in runs):
        add_row(figures, "pilot, USD", *(money(report.pilot_cost_usd) for report in runs))
    if any(report.unconfirmed_usd != 0 for report in runs):
        add_row(figures, "unconfirmed, USD", *(money(report.unconfirmed_usd) for report in runs))
    # A set would put the error types in another order each time.
    for error_type in dict.fromkeys(error for report in runs for error in report.errors):
        add_row(figures, f"  {plain(error_type)}", *(count(report.errors.get(error_type, 0)) for report in runs))
    return figures


def _rows(runs: Sequence[Report]) -> Table:
    figures = table("", "answered", "refused", "failed", "strong", "total, USD", "saved")
    for report in runs:
        cells = percent(report.strong_fraction), money(report.total_usd), percent(report.savings_fraction)
        add_row(figures, plain(report.run), *map(count, (report.ok, report.refused, report.failed)), *cells)
    total = add_up(runs)
    cells = percent(total.strong_fraction), money(total.total_usd), percent(total.savings_fraction)
    label = "total, at least" if total.cost_unknown_rows and total.total_usd is not None else "total"
    add_row(figures, label, *map(count, (total.ok, total.refused, total.failed)), *cells, bold=True)
    if total.unconfirmed_usd != 0:
        add_row(figures, "unconfirmed", *[""] * 4, money(total.unconfirmed_usd))
    return figures


def _qualities(runs: Sequence[Report]) -> Table:
    figures = table("", "kept", "target", "verdict", "watched", "pilot, USD")
    for report in runs:
        if (quality := report.quality) is not None:
            figures_of = (of_quality(quality) for label, of_quality in _QUALITY if label != "  interval")
            add_row(figures, plain(report.run), *figures_of, money(report.pilot_cost_usd))
    return figures


def _p95(report: Report, side: Side) -> str:
    latency = report.latency_s.get(side)
    return seconds(latency.p95 if latency else None)


_LINES: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("state", lambda report: report.state),
    ("rows", lambda report: count(report.rows)),
    ("answered", lambda report: count(report.ok)),
    ("strong share", lambda report: percent(report.strong_fraction)),
    ("threshold", lambda report: words.threshold(report.threshold)),
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


_QUALITY: tuple[tuple[str, Callable[[Quality], str]], ...] = (
    ("quality kept", lambda quality: percent(quality.kept)),
    ("  interval", lambda quality: interval_words(quality.low, quality.high)),
    ("  target", lambda quality: "-" if quality.target is None else exact_percent(quality.target)),
    ("  verdict", verdict_words),
    ("  watched, at most", lambda quality: "-" if quality.watch is None else percent(quality.watch.high)),
)


def _notes(comparison: Comparison) -> Iterator[str]:
    yield from _drifts(comparison)
    unfinished = [
        f"{plain(report.run)} ({report.state})" for report in comparison.runs if report.state != "complete"
    ]
    if unfinished and len(comparison.runs) > _FEW:  # of few the table says it
        yield f"not complete: {', '.join(unfinished)}"
    for report in comparison.runs:
        if report.quality is not None and (broken := report.quality.broken_words) is not None:
            yield f"{plain(report.run)}: {broken}"
        if unknown := words.unknown_cost_words(report.cost_unknown_rows):
            yield f"{plain(report.run)}: {unknown}"
        if made_up := words.simulated_words(report):
            yield f"{plain(report.run)}: {made_up}"


def _drifts(comparison: Comparison) -> Iterator[str]:
    """A line for each run, but of many only for those whose prompts have changed."""
    first, *others = comparison.runs
    known = [(run, found) for run, found in zip(others, comparison.drifts, strict=True) if found is not None]
    told = [(run, found) for run, found in known if len(others) < _FEW or found.is_shift]
    for run, found in told:
        yield f"{plain(run.run)} against {plain(first.run)}: {found.verdict} (stability index {found.psi:.3f})"
    if len(told) < len(known):
        yield f"no clear change of the prompts against {plain(first.run)}: {count(len(known) - len(told))} runs"


def _terms(comparison: Comparison) -> Iterator[str]:
    yield terms.STRONG_SHARE.line
    if any(report.quality is not None for report in comparison.runs):
        yield terms.KEPT.line
    if any(comparison.drifts):
        yield terms.DRIFT.line
    if any(report.unconfirmed_usd != 0 for report in comparison.runs):
        yield terms.UNCONFIRMED.line
