"""A report on a terminal, read from the top like an invoice: rows, money, then how it went.

Computes nothing but shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchroute.cli.show.histogram import draw_histogram
from batchroute.cli.show.tables import add_row, blocks, table, title, warnings
from batchroute.cli.show.words import (
    count,
    duration,
    money,
    moved_words,
    percent,
    plain,
    requests_words,
    seconds,
    speed,
    warnings_of,
    wins_words,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.report.figures import Report


def render_report(report: Report) -> RenderableType:
    """All of a report, within 80 columns."""
    parts: list[RenderableType] = [_title(report), *warnings(warnings_of(report))]
    parts += [_bill(report), _savings(report), _speed(report)]
    if report.errors:
        parts.append(_errors(report.errors))
    if any(report.score_histogram):
        parts.append(_scores(report))
    return blocks(parts)


def _title(report: Report) -> Text:
    parts = [f"{count(report.ok)} answered", f"{count(report.refused)} refused", f"{count(report.failed)} failed"]
    if report.remaining:
        parts.append(f"{count(report.remaining)} remaining")
    moved = ", ".join(f"{count(rows)} {words}" for words, rows in moved_words(report))
    rows = f"{count(report.rows)} rows: {', '.join(parts)}" + (f"\nof them {moved}" if moved else "")
    return title(plain(report.name), report.state, rows)


def _bill(report: Report) -> Table:
    bill = table("", "rows", "share", "prompt tok", "cached", "output tok", "USD")
    routed = report.strong_rows + report.weak_rows
    for model in report.models:
        rows = model.ok + model.refused + model.failed
        add_row(
            bill,
            f"{model.route}  {plain(model.model or 'never sent')}",
            count(rows),
            percent(rows / routed if routed else None),
            *map(count, (model.prompt_tokens, model.cached_tokens, model.completion_tokens)),
            money(model.cost_usd),
        )
    settled = report.ok + report.refused + report.failed
    if settled > routed:
        add_row(bill, "refused before routing", count(settled - routed))
    if report.router_cost_usd != 0:
        add_row(bill, "router (embeddings)", *[""] * 5, money(report.router_cost_usd))
    tokens = (report.prompt_tokens, report.cached_tokens, report.completion_tokens)
    label = "total, at least" if report.cost_unknown_rows else "total"
    add_row(bill, label, count(settled), "", *map(count, tokens), money(report.total_usd), bold=True)
    return bill


def _savings(report: Report) -> Table:
    sums = table("", "USD", "")
    add_row(sums, "all strong would have cost", money(report.all_strong_usd))
    add_row(sums, "all weak would have cost", money(report.all_weak_usd))
    saved = money(report.savings_usd), percent(report.savings_fraction)
    add_row(sums, "saved against all strong", *saved, bold=True)
    if report.failed_cost_usd:
        add_row(sums, "in the total: rows without an answer", money(report.failed_cost_usd))
    if report.unconfirmed_usd:
        add_row(sums, "not in the total: unconfirmed", money(report.unconfirmed_usd), "at most")
    return sums


def _speed(report: Report) -> Group:
    latencies = table("latency, seconds", "p50", "p95", "p99")
    for side, latency in report.latency_s.items():
        if latency is not None:
            add_row(latencies, side, *map(seconds, (latency.p50, latency.p95, latency.p99)))
    rate = "" if report.rows_per_s is None else f", {speed(report.rows_per_s)}"
    return Group(Text(f"{requests_words(report)}; time {duration(report.wall_s)}{rate}"), latencies)


def _errors(errors: dict[str, int]) -> Table:
    found = table("refused or failed for", "rows")
    for error_type, rows in errors.items():
        add_row(found, plain(error_type), count(rows))
    return found


def _scores(report: Report) -> Text:
    drawn = draw_histogram(report.score_histogram, report.threshold)
    wins = wins_words(report)
    return drawn if wins is None else drawn.append(f"\n{wins}")
