"""Several runs side by side, such as the nights of a job: a line for each, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.show import words
from batchroute.show.page.values import Row, Table, stacked
from batchroute.show.quality import interval_words, verdict_words
from batchroute.show.words import count, duration, exact_percent, money, percent, plain, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.report.comparison import Comparison, Drift
    from batchroute.report.figures import Report
    from batchroute.report.quality import Quality

# Of more, the last ones are shown: a line each in three tables is a good kilobyte.
MOST_RUNS = 120
_MOST_NAMES = 3
_SIDES = [("strong", "strong"), ("weak", "weak"), ("router", "router")]
_PILOT = ("pilot", "pilot, beside the rows")


def nights_table(comparison: Comparison) -> Table:
    """What each run cost and saved, drawn by side."""
    shown = _shown(comparison)
    dearest = max((report.total_usd or 0.0 for report, _ in shown), default=0.0)
    rows = [_night(report, drift, dearest) for report, drift in shown]
    notes = []
    if hidden := len(comparison.runs) - len(shown):
        notes.append(f"{count(hidden)} earlier runs are in the sums above, and not in the table.")
    headings = ["Run", "Rows", "Strong share", "Refused or failed", "USD", "Saved"]
    legend = [*_SIDES, *([_PILOT] if any(report.pilot_cost_usd for report, _ in shown) else [])]
    return Table("Cost by run", headings, rows, bars="USD by side, to scale", legend=legend, notes=notes)


def _night(report: Report, drift: Drift | None, dearest: float) -> Row:
    sides = [
        ("strong", report.strong_cost_usd),
        ("weak", report.weak_cost_usd),
        ("router", report.router_cost_usd),
        ("pilot", report.pilot_cost_usd),
    ]
    remarks: list[str] = [] if report.state == "complete" else [report.state]
    if report.remaining:
        remarks.append(f"{count(report.ok + report.refused + report.failed)} rows done")
    if report.budget_rows:
        remarks.append(f"{count(report.budget_rows)} moved to weak by the limit")
    if report.simulated:
        remarks.append("SIMULATED")
    if drift is not None and drift.is_shift:
        remarks.append(drift.verdict)
    cells = [
        count(report.rows),
        percent(report.strong_fraction),
        count(report.refused + report.failed),
        money(report.total_usd),
        percent(report.savings_fraction),
    ]
    return Row(plain(report.run), cells, stacked(sides, dearest), note=", ".join(remarks) or None)


def quality_table(comparison: Comparison) -> Table | None:
    """What each run keeps, as its pilot and its watched rows say; None where no run has measured it."""
    rows = [
        _quality_row(plain(report.run), report, report.quality)
        for report, _ in _shown(comparison)
        if report.quality is not None
    ]
    headings = ["Run", "Verdict", "Kept", "Interval", "Target", "Watched, at most", "Pilot, USD"]
    return Table("Quality by run", headings, rows) if rows else None


def _quality_row(name: str, report: Report, quality: Quality) -> Row:
    return Row(
        name,
        [
            verdict_words(quality),
            percent(quality.kept),
            interval_words(quality.low, quality.high),
            "-" if quality.target is None else exact_percent(quality.target),
            "-" if quality.watch is None or quality.watch.high is None else percent(quality.watch.high),
            money(report.pilot_cost_usd),
        ],
    )


def drift_table(comparison: Comparison) -> Table | None:
    """Whether the prompts were of the kind that the first run had."""
    rows = [
        Row(
            plain(report.run),
            [f"{drift.psi:.3f}", drift.verdict],
            stacked([("alert" if drift.is_shift else "weak", min(drift.psi, 1.0))], 1.0),
        )
        for report, drift in _shown(comparison)
        if drift is not None
    ]
    first = plain(comparison.runs[0].run)
    return (
        Table(f"Prompts, against {first}", ["Run", "Stability index", "Prompts"], rows, bars="index, up to 1")
        if rows
        else None
    )


def requests_table(comparison: Comparison) -> Table:
    """How the runs went: threshold, time, retries, latency."""
    rows = [
        Row(
            plain(report.run),
            [
                words.threshold(report.threshold),
                duration(report.wall_s),
                count(report.retries),
                *(seconds(None if latency is None else latency.p95) for latency in report.latency_s.values()),
                count(report.completion_tokens),
            ],
        )
        for report, _ in _shown(comparison)
    ]
    p95 = [f"{name} p95, s".capitalize() for name in comparison.runs[0].latency_s]
    return Table("How they went", ["Run", "Threshold", "Time", "Retries", *p95, "Output tokens"], rows)


def names_of(comparison: Comparison) -> str:
    """The names of the jobs, of which most pages have one."""
    names = [*dict.fromkeys(plain(report.name) for report in comparison.runs)]
    return ", ".join(names[:_MOST_NAMES]) + (
        f" and {count(len(names) - _MOST_NAMES)} more" if names[_MOST_NAMES:] else ""
    )


def warnings(comparison: Comparison) -> list[str]:
    """What must be read before any figure."""
    made_up = sum(bool(report.simulated) for report in comparison.runs)
    lines = []
    if made_up:
        lines.append(
            f"SIMULATED: {count(made_up)} of the runs had built-in fake providers; "
            "their answers and their money are made up."
        )
    if unknown_cost := words.unknown_cost_words(sum(report.cost_unknown_rows for report in comparison.runs)):
        lines.append(f"{unknown_cost}.")
    return lines


def _shown(comparison: Comparison) -> Sequence[tuple[Report, Drift | None]]:
    return [*zip(comparison.runs, [None, *comparison.drifts], strict=True)][-MOST_RUNS:]
