"""A report on a terminal, read from the top like an invoice: rows, money, then how it went.

Knows rich and the figures; computes nothing but shares. Text that came from outside (names, error types) is
stripped of control characters and never read as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from batchroute.cli.show.words import (
    count,
    duration,
    money,
    moved_words,
    percent,
    plain,
    seconds,
    simulated_words,
    unknown_cost_words,
)
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from batchroute.report.figures import Report

_BAR_WIDTH = 2
_FEWEST_BARS, _MOST_BARS = 10, 25
_JOINED = (1, 2, 4)  # bins of the histogram in a bar
_BAR_HEIGHT = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def render_report(report: Report) -> RenderableType:
    """All of a report, within 80 columns."""
    blocks: list[RenderableType] = [
        _title(report),
        *_warnings(report),
        _bill(report),
        _savings(report),
        _speed(report),
    ]
    if report.errors:
        blocks.append(_errors(report.errors))
    if any(report.score_histogram):
        blocks.append(_histogram(report))
    return Group(*(Padding(block, (0, 0, 1, 0)) for block in blocks))


def _title(report: Report) -> Text:
    parts = [f"{count(report.ok)} answered", f"{count(report.refused)} refused", f"{count(report.failed)} failed"]
    if report.remaining:
        parts.append(f"{count(report.remaining)} remaining")
    title = Text.assemble((plain(report.name), "bold"), f"  {report.state}\n")
    moved = ", ".join(f"{count(rows)} {words}" for words, rows in moved_words(report))
    return title.append(f"{count(report.rows)} rows: {', '.join(parts)}" + (f"\nof them {moved}" if moved else ""))


def _warnings(report: Report) -> list[Text]:
    lines = [words for words in (simulated_words(report), unknown_cost_words(report)) if words]
    return [Text(line, style="bold yellow") for line in lines]


def _table(*columns: str) -> Table:
    """A table whose first column is words and whose others are figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bill(report: Report) -> Table:
    table = _table("", "rows", "share", "prompt tok", "cached", "output tok", "USD")
    routed = report.strong_rows + report.weak_rows
    for bill in report.models:
        rows = bill.ok + bill.refused + bill.failed
        table.add_row(
            Text(f"{bill.route}  {plain(bill.model or 'never sent')}"),
            count(rows),
            percent(rows / routed if routed else None),
            count(bill.prompt_tokens),
            count(bill.cached_tokens),
            count(bill.completion_tokens),
            money(bill.cost_usd),
        )
    settled = report.ok + report.refused + report.failed
    if settled > routed:
        table.add_row("refused before routing", count(settled - routed), *[""] * 5)
    if report.router_cost_usd != 0:
        table.add_row("router (embeddings)", *[""] * 5, money(report.router_cost_usd))
    table.add_section()
    tokens = (report.prompt_tokens, report.cached_tokens, report.completion_tokens)
    label = "total, at least" if report.cost_unknown_rows else "total"
    table.add_row(label, count(settled), "", *map(count, tokens), money(report.total_usd), style="bold")
    return table


def _savings(report: Report) -> Table:
    table = _table("", "USD", "")
    table.add_row("all strong would have cost", money(report.all_strong_usd), "")
    table.add_row("all weak would have cost", money(report.all_weak_usd), "")
    table.add_row(
        "saved against all strong", money(report.savings_usd), percent(report.savings_fraction), style="bold"
    )
    if report.failed_cost_usd:
        table.add_row("in the total: rows without an answer", money(report.failed_cost_usd), "")
    if report.unconfirmed_usd:
        table.add_row("not in the total: unconfirmed", money(report.unconfirmed_usd), "at most")
    return table


def _speed(report: Report) -> Group:
    table = _table("latency, seconds", "p50", "p95", "p99")
    for side in SIDES:
        if latency := report.latency_s.get(side):
            table.add_row(side, *map(seconds, (latency.p50, latency.p95, latency.p99)))
    speed = "" if report.rows_per_s is None else f", {report.rows_per_s:,.1f} rows/s"
    sent = f"{count(report.attempts)} requests, {count(report.retries)} of them retries"
    return Group(Text(f"{sent}; time {duration(report.wall_s)}{speed}"), table)


def _errors(errors: dict[str, int]) -> Table:
    table = _table("refused or failed for", "rows")
    for error_type, rows in errors.items():
        table.add_row(Text(plain(error_type)), count(rows))
    return table


def _histogram(report: Report) -> Text:
    """The score distribution as bars; a caret stands under the threshold."""
    low, high, bins = _occupied(report.score_histogram)
    bars = "\n".join(_bars(bins))
    width = _BAR_WIDTH * len(bins)
    ends = f"{low:.2f}", f"{high:.2f}"
    axis = ends[0] + "score".center(width - sum(map(len, ends))) + ends[1]
    text = Text(f"{bars}\n{axis}")
    threshold = report.threshold
    if threshold is not None:
        place = min(width - 1, max(0, int(width * (threshold - low) / (high - low))))
        text.append(f"\n{' ' * place}^ threshold {threshold:.5f}, strong from here", style="bold")
    if report.win_mass_kept is not None:
        strong = f"the {percent(report.strong_fraction)} of the rows that went strong"
        text.append(
            f"\n{strong} hold {percent(report.win_mass_kept)} of all expected wins (the sum of the scores)"
        )
    return text


def _occupied(bins: Sequence[int]) -> tuple[float, float, list[int]]:
    """The part of a histogram over [0, 1] that has rows, as a few bars, and where it begins and ends."""
    occupied = [number for number, rows in enumerate(bins) if rows]
    joined = next(size for size in _JOINED if -(-(occupied[-1] + 1) // size) - occupied[0] // size <= _MOST_BARS)
    first, last = occupied[0] // joined * joined, -(-(occupied[-1] + 1) // joined) * joined
    last = min(max(last, first + _FEWEST_BARS * joined), len(bins))
    first = max(0, min(first, last - _FEWEST_BARS * joined))
    bars = [sum(bins[start : start + joined]) for start in range(first, last, joined)]
    return first / len(bins), last / len(bins), bars


def _bars(bins: Sequence[int]) -> Iterable[str]:
    eighths = [round(8 * _BAR_HEIGHT * rows / max(bins)) or (rows > 0) for rows in bins]
    for level in reversed(range(_BAR_HEIGHT)):
        yield "".join(_EIGHTHS[min(8, max(0, height - 8 * level))] * _BAR_WIDTH for height in eighths)
