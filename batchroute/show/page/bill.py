"""What a run cost and what routing saved, as tables: the first thing that who signs the bill reads.

Every amount is written by words, from a figure of the report; only widths of bars are reckoned here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.report.figures import sum_if_known
from batchroute.show import terms, words
from batchroute.show.by import label, notes, quality_cells
from batchroute.show.page.values import Row, Segment, Table, stacked
from batchroute.show.words import count, money, percent, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.report.by import Breakdown, BreakdownLine
    from batchroute.report.figures import ModelBill, Report

_MOST_MODELS = 20
_MINUS = "\N{MINUS SIGN}"  # as wide as a plus


def budget_bar(report: Report) -> list[Segment]:
    """What was spent of the limit, and what may have been."""
    limit = report.max_cost_usd or 0.0
    parts = stacked([("spent", report.total_usd), ("unconfirmed", report.unconfirmed_usd)], limit)
    return [Segment(part.look, min(part.left, 100.0), min(part.width, 100.0 - part.left)) for part in parts]


def unknown_savings(report: Report) -> str | None:
    """Why it is not known what was saved."""
    if report.savings_usd is not None:
        return None
    if report.total_usd is None or report.cost_unknown_rows:
        return "What was saved is not known, as the bill is not: of some rows the price or the usage is unknown."
    return "What was saved is not known: all rows strong is reckoned from the strong side's price and all usage."


def savings_table(report: Report) -> Table:
    """From all rows strong down to the bill, cause by cause as far as they are known."""
    causes = words.causes_of(report)
    if report.savings_usd is not None and not causes:
        causes = [("saved, by causes unknown", report.savings_usd)]
    levels = [report.all_strong_usd or 0.0]
    for _, usd in causes:
        levels.append(levels[-1] - usd)
    low = min(0.0, *levels)
    track = (max(*levels, report.total_usd or 0.0, report.all_weak_usd or 0.0) - low) or 1.0

    def bar(look: str, one: float, other: float | None) -> list[Segment]:
        left, right = sorted((one, one if other is None else other))
        return [Segment(look, 100 * (left - low) / track, 100 * (right - left) / track)]

    rows = [Row("All rows strong", [money(report.all_strong_usd)], bar("strong", 0.0, report.all_strong_usd))]
    for (cause, usd), before, after in zip(causes, levels, levels[1:], strict=False):
        look = "saved" if usd >= 0 else "more"
        rows.append(Row(_named(cause, usd), [_less(usd)], bar(look, after, before)))
    sides = [
        ("strong", report.strong_cost_usd),
        ("weak", report.weak_cost_usd),
        ("router", report.router_cost_usd),
        ("pilot", report.pilot_cost_usd),
    ]
    pieces = [Segment(piece.look, piece.left - 100 * low / track, piece.width) for piece in stacked(sides, track)]
    rows.append(Row(_total_words(report, "The bill"), [money(report.total_usd)], pieces, look="sum"))
    weak = bar("weak", 0.0, report.all_weak_usd)
    rows.append(Row("All rows weak, for comparison", [money(report.all_weak_usd)], weak, look="aside"))
    return Table("From all rows strong to the bill", ["", "USD"], rows, bars="drawn to scale")


def _total_words(report: Report, label: str) -> str:
    return f"{label}, at least" if report.cost_unknown_rows and report.total_usd is not None else label


def _named(cause: str, usd: float) -> str:
    return (cause if usd >= 0 else cause.replace("saved", "lost")).capitalize()


def _less(usd: float) -> str:
    """An amount as it changes the sum above it; what is rounded to nothing has no sign."""
    amount = money(abs(usd))
    return amount if amount == money(0.0) else f"{_MINUS if usd > 0 else '+'}{amount}"


def models_table(report: Report) -> Table:
    """The bill by side and model, to its sum."""
    bills = sorted(report.models, key=lambda bill: -(bill.cost_usd or 0.0))
    dearest = max((bill.cost_usd or 0.0 for bill in bills), default=0.0)
    rows = [_model_row(bill, dearest) for bill in bills[:_MOST_MODELS]]
    if others := bills[_MOST_MODELS:]:
        rows.append(Row(f"{count(len(others))} more models", [*_sums(others), "", "", ""]))
    settled = report.ok + report.refused + report.failed
    if (unrouted := settled - sum(bill.ok + bill.refused + bill.failed for bill in bills)) > 0:
        rows.append(Row("Refused before routing", ["", count(unrouted), "", "", ""]))
    if report.router_cost_usd != 0:
        bar = stacked([("router", report.router_cost_usd)], max(dearest, report.router_cost_usd or 0.0))
        rows.append(Row("Router (embeddings)", [money(report.router_cost_usd), "", "", "", ""], bar))
    if report.pilot_cost_usd != 0:
        bar = stacked([("pilot", report.pilot_cost_usd)], max(dearest, report.pilot_cost_usd or 0.0))
        rows.append(Row("Pilot (beside the rows)", [money(report.pilot_cost_usd), "", "", "", ""], bar))
    tokens = map(count, (report.prompt_tokens, report.cached_tokens, report.completion_tokens))
    rows.append(Row(_total_words(report, "Total"), [money(report.total_usd), count(settled), *tokens], look="sum"))
    return Table(
        "Cost by side and model",
        ["Side and model", "USD", "Rows", "Prompt tokens", "of them cached", "Output tokens"],
        rows,
        bars="USD, to scale",
        notes=[f"{count(moved)} of the rows: {what}." for what, moved in words.moved_words(report)],
    )


def _model_row(bill: ModelBill, dearest: float) -> Row:
    tokens = map(count, (bill.prompt_tokens, bill.cached_tokens, bill.completion_tokens))
    rows = bill.ok + bill.refused + bill.failed
    bar = stacked([(bill.route, bill.cost_usd)], dearest)
    return Row(
        plain(bill.model or "never sent"),
        [money(bill.cost_usd), count(rows), *tokens],
        bar,
        bill.route,
        bill.route,
    )


def _sums(bills: Sequence[ModelBill]) -> tuple[str, str]:
    rows = sum(bill.ok + bill.refused + bill.failed for bill in bills)
    return money(sum_if_known(bill.cost_usd for bill in bills)), count(rows)


def beside_table(report: Report) -> Table | None:
    """What stands beside the sum, or in it for no answer; None where there is nothing of the kind."""
    rows = []
    if report.failed_cost_usd:
        rows.append(Row("In the total, for rows without an answer", [money(report.failed_cost_usd)]))
    if report.unconfirmed_usd != 0:
        most = "" if report.unconfirmed_usd is None else ", at most"
        rows.append(Row(f"Not in the total: unconfirmed{most}", [money(report.unconfirmed_usd)]))
    notes = [words.sentence(note) for note in [words.unconfirmed_words(report)] if note is not None]
    return Table("Beside the bill", ["", "USD"], rows, notes=notes) if rows else None


def plan_table(report: Report) -> Table | None:
    """What the plan said and what came."""
    lines = words.predicted_rows(report)
    rows = [Row(what[:1].upper() + what[1:], cells) for what, *cells in lines]
    return Table("Plan and actual", ["", "Planned", "Between", "Actual"], rows) if rows else None


def column_table(bill: Breakdown) -> Table:
    """The bill by a column; its lines, which are bounded, add up to it."""
    dearest = max((line.cost_usd or 0.0 for line in bill.lines), default=0.0)
    rows = [
        Row(label(bill, line), _spending(line), stacked([("amount", line.cost_usd)], dearest))
        for line in bill.lines
    ]
    if bill.router_cost_usd != 0:
        rows.append(Row("Router (embeddings)", [money(bill.router_cost_usd), *[""] * 5]))
    if bill.pilot_cost_usd != 0:
        rows.append(Row("Pilot (beside the rows)", [money(bill.pilot_cost_usd), *[""] * 5]))
    all_rows = _spending(bill.all_rows)
    at_least = bill.all_rows.cost_unknown_rows and bill.total_usd is not None
    rows.append(
        Row("Total, at least" if at_least else "Total", [money(bill.total_usd), *all_rows[1:]], look="sum")
    )
    return Table(
        f"Cost by {plain(bill.column)}",
        [plain(bill.column), "USD", "Rows", "Strong share", "Refused or failed", "Prompt tokens", "Output tokens"],
        rows,
        bars="USD, to scale",
        notes=[words.sentence(note) for note in notes(bill) if note != terms.UNCONFIRMED.line],
    )


def column_quality_table(bill: Breakdown) -> Table | None:
    """What is kept on the graded rows of each value; None where no row was graded."""
    rows = [
        Row(label(bill, line), [*quality_cells(line.quality)], look="sum" if line.kind == "total" else "")
        for line in (*bill.lines, bill.all_rows)
        if line.quality is not None
    ]
    column = plain(bill.column)
    return Table(f"Quality by {column}", [column, "Graded rows", "Kept", "Interval"], rows) if rows else None


def _spending(line: BreakdownLine) -> list[str]:
    return [
        money(line.cost_usd),
        count(line.rows),
        "" if line.strong_share is None else percent(line.strong_share),
        count(line.refused + line.failed),
        count(line.prompt_tokens),
        count(line.completion_tokens),
    ]
