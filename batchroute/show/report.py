"""A report on a terminal, read from the top like an invoice: rows, money, then how it went.

Computes nothing but shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchroute.show import terms, words
from batchroute.show.pilot import quality_parts
from batchroute.show.tables import add_row, blocks, table, title, warnings
from batchroute.show.words import count, duration, money, percent, plain, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.report.figures import Report

_BAR_WIDTH = 2
_FEWEST_BARS, _MOST_BARS = 10, 25
_JOINED = (1, 2, 4)  # bins of the histogram in a bar
_BAR_HEIGHT = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def render_report(report: Report) -> RenderableType:
    """All of a report, within 80 columns."""
    parts: list[RenderableType] = [_title(report), *warnings(words.warnings_of(report))]
    if report.quality is not None:
        parts += quality_parts(report.quality, few=True)
    parts += [_bill(report), _savings(report)]
    if report.predicted is not None:
        parts.append(_predicted(report))
    parts.append(_speed(report))
    if report.errors:
        parts.append(_errors(report.errors))
    if finish := words.finish_rows(report):
        parts.append(_finish(finish))
    if served := words.served_words(report):
        parts.append(Text("\n".join(served)))
    if any(report.score_histogram):
        parts.append(_scores(report))
    return blocks(parts)


def _title(report: Report) -> Text:
    parts = [f"{count(report.ok)} answered", f"{count(report.refused)} refused", f"{count(report.failed)} failed"]
    if report.remaining:
        parts.append(f"{count(report.remaining)} remaining")
    moved = ", ".join(f"{count(rows)} {what}" for what, rows in words.moved_words(report))
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
    if report.pilot_cost_usd != 0:
        add_row(bill, "pilot (beside the rows)", *[""] * 5, money(report.pilot_cost_usd))
    tokens = (report.prompt_tokens, report.cached_tokens, report.completion_tokens)
    label = "total, at least" if report.cost_unknown_rows and report.total_usd is not None else "total"
    add_row(bill, label, count(settled), "", *map(count, tokens), money(report.total_usd), bold=True)
    return bill


def _savings(report: Report) -> Group:
    sums = table("", "USD", "")
    add_row(sums, "all strong would have cost", money(report.all_strong_usd))
    add_row(sums, "all weak would have cost", money(report.all_weak_usd))
    saved = money(report.savings_usd), percent(report.savings_fraction)
    add_row(sums, "saved against all strong", *saved, bold=True)
    for cause, usd in words.saved_rows(report):
        add_row(sums, f"  {cause}", usd)
    if report.failed_cost_usd:
        add_row(sums, "in the total: rows without an answer", money(report.failed_cost_usd))
    if report.unconfirmed_usd != 0:
        most = "" if report.unconfirmed_usd is None else "at most"
        add_row(sums, "not in the total: unconfirmed", money(report.unconfirmed_usd), most)
    limit = [] if report.max_cost_usd is None else [words.spent_of(report.total_usd, report.max_cost_usd)]
    notes = filter(
        None, (words.unanswered_words(report), words.lengths_words(report), words.unconfirmed_words(report))
    )
    return Group(*map(Text, limit), sums, *(Text(note, style="dim") for note in notes))


def _predicted(report: Report) -> Group:
    compared = table("", "planned", "between", "actual")
    for row in words.predicted_rows(report):
        add_row(compared, *row)
    return Group(compared, Text(terms.STRONG_SHARE.line, style="dim"))


def _finish(rows: Iterable[tuple[str, list[str]]]) -> Table:
    ended = table("how answers ended", *words.FINISH_HEADINGS)
    for name, cells in rows:
        add_row(ended, name, *cells)
    return ended


def _speed(report: Report) -> Group:
    latencies = table("latency, seconds", "p50", "p95", "p99")
    for side, latency in report.latency_s.items():
        if latency is not None:
            add_row(latencies, side, *map(seconds, (latency.p50, latency.p95, latency.p99)))
    rate = "" if report.rows_per_s is None else f", {words.speed(report.rows_per_s)}"
    requests = Text(f"{words.requests_words(report)}; time {duration(report.wall_s)}{rate}")
    engine = words.engine_words(report)
    return Group(requests, *([] if engine is None else [Text(engine)]), latencies)


def _errors(errors: dict[str, int]) -> Table:
    found = table("refused or failed for", "rows")
    for error_type, rows in errors.items():
        add_row(found, plain(error_type), count(rows))
    return found


def _scores(report: Report) -> Text:
    drawn = draw_histogram(report.score_histogram, report.threshold)
    if wins := words.wins_words(report):
        drawn.append(f"\n{wins}")
        drawn.append(f"\n{terms.EXPECTED_WINS.line}", style="dim")
    if report.builtin_router:
        drawn.append(f"\n{terms.BUILTIN_ROUTER}", style="dim")
    return drawn


def draw_histogram(histogram: Sequence[int], threshold: float | None) -> Text:
    """Rows per score from a histogram over [0, 1] that has some, as far as there are rows."""
    low, high, bars = _occupied(histogram)
    width = _BAR_WIDTH * len(bars)
    ends = f"{low:.2f}", f"{high:.2f}"
    axis = ends[0] + "score".center(width - sum(map(len, ends))) + ends[1]
    text = Text("\n".join((*_lines(bars), axis)))
    if threshold is not None:
        column = min(width - 1, max(0, int(width * (threshold - low) / (high - low))))
        text.append(f"\n{' ' * column}^ threshold {words.threshold(threshold)}, strong from here", style="bold")
    return text


def _occupied(bins: Sequence[int]) -> tuple[float, float, list[int]]:
    """The part of a histogram over [0, 1] that has rows, as a few bars, and where it begins and ends.

    Scores from 0.00 to 0.44 fill bins 0 to 43 of 100. That is too many bars one a bin, so two are joined: 22 bars.
    """
    occupied = [number for number, rows in enumerate(bins) if rows]
    joined = next(size for size in _JOINED if -(-(occupied[-1] + 1) // size) - occupied[0] // size <= _MOST_BARS)
    first, last = occupied[0] // joined * joined, -(-(occupied[-1] + 1) // joined) * joined
    last = min(max(last, first + _FEWEST_BARS * joined), len(bins))
    first = max(0, min(first, last - _FEWEST_BARS * joined))
    bars = [sum(bins[start : start + joined]) for start in range(first, last, joined)]
    return first / len(bins), last / len(bins), bars


def _lines(bars: Sequence[int]) -> Iterable[str]:
    # A bar of few rows among many is one eighth high, not nothing.
    eighths = [round(8 * _BAR_HEIGHT * rows / max(bars)) or (rows > 0) for rows in bars]
    for level in reversed(range(_BAR_HEIGHT)):
        yield "".join(_EIGHTHS[min(8, max(0, height - 8 * level))] * _BAR_WIDTH for height in eighths)
