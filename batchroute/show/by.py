"""A bill by the values of a column on a terminal, within 80 columns: what each value cost, then its tokens.

Computes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchroute.show import terms, words
from batchroute.show.quality import interval_words
from batchroute.show.tables import add_row, blocks, table, title, warnings
from batchroute.show.words import count, money, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.report.by import Breakdown, BreakdownLine
    from batchroute.report.graded import KeptOnRows


def render_breakdown(bill: Breakdown) -> RenderableType:
    """All of a bill by a column."""
    parts: list[RenderableType] = [_title(bill)]
    if bill.simulated:
        parts += warnings([terms.SIMULATED])
    if unknown := words.unknown_cost_words(bill.all_rows.cost_unknown_rows):
        parts += warnings([f"{unknown}."])
    parts += [_costs(bill), _tokens(bill)]
    if bill.all_rows.quality is not None:
        parts.append(Group(_qualities(bill), Text(terms.KEPT.line, style="dim")))
    shares = ["the shares on the right are of the USD that are known"] if bill.all_rows.cost_unknown_rows else []
    if lines := [*shares, *notes(bill)]:
        parts.append(Text("\n".join(lines), style="dim"))
    return blocks(parts)


def _title(bill: Breakdown) -> Text:
    runs = plain(bill.runs[0]) if len(bill.runs) == 1 else f"{count(len(bill.runs))} runs"
    all_rows = bill.all_rows
    ends = (("answered", all_rows.ok), ("refused", all_rows.refused), ("failed", all_rows.failed))
    rows = ", ".join(f"{count(number)} {word}" for word, number in ends)
    return title(runs, f"by {plain(bill.column)}", f"{count(all_rows.rows)} rows: {rows}")


def _costs(bill: Breakdown) -> Table:
    costs = table(plain(bill.column), "rows", "share", "strong", "USD", "share")
    for line in bill.lines:
        add_row(costs, label(bill, line), *_cost_cells(line))
    if bill.router_cost_usd != 0:
        add_row(costs, "router (embeddings)", *[""] * 3, money(bill.router_cost_usd))
    if bill.pilot_cost_usd != 0:
        add_row(costs, "pilot (beside the rows)", *[""] * 3, money(bill.pilot_cost_usd))
    at_least = bill.all_rows.cost_unknown_rows and bill.total_usd is not None
    rows, _, strong, _, _ = _cost_cells(bill.all_rows)
    add_row(costs, "total, at least" if at_least else "total", rows, "", strong, money(bill.total_usd), bold=True)
    if bill.unconfirmed_usd != 0:
        add_row(costs, "not in the total: unconfirmed", *[""] * 3, money(bill.unconfirmed_usd))
    return costs


def _cost_cells(line: BreakdownLine) -> tuple[str, str, str, str, str]:
    strong = "" if line.strong_share is None else percent(line.strong_share)
    shares = percent(line.row_share), "" if line.cost_share is None else percent(line.cost_share)
    return count(line.rows), shares[0], strong, money(line.cost_usd), shares[1]


def _tokens(bill: Breakdown) -> Table:
    tokens = table(plain(bill.column), "prompt tok", "cached", "output tok", "refused", "failed")
    for line in (*bill.lines, bill.all_rows):
        counts = line.prompt_tokens, line.cached_tokens, line.completion_tokens, line.refused, line.failed
        add_row(tokens, label(bill, line), *map(count, counts), bold=line.kind == "total")
    return tokens


def _qualities(bill: Breakdown) -> Table:
    """Of the lines of which rows were graded."""
    kept = table(plain(bill.column), "graded", "kept", "interval")
    for line in (*bill.lines, bill.all_rows):
        if line.quality is not None:
            add_row(kept, label(bill, line), *quality_cells(line.quality), bold=line.kind == "total")
    return kept


def quality_cells(quality: KeptOnRows) -> tuple[str, str, str]:
    """How many rows were graded, what they keep, and its interval, which few of them have not."""
    return count(quality.rows), percent(quality.kept), interval_words(quality.low, quality.high)


def label(bill: Breakdown, line: BreakdownLine) -> str:
    """What a line is called: its value, or what it has instead of one."""
    if line.kind == "value":
        if line.value is None:
            return "(none)"
        return plain(line.value) if line.value.strip() else f'"{plain(line.value)}"'
    if line.kind == "others":
        return f"({count(bill.other_values)} other {'value' if bill.other_values == 1 else 'values'})"
    return "total" if line.kind == "total" else "(not on file)"


def notes(bill: Breakdown) -> Iterator[str]:
    """What must be known to read the lines."""
    if not bill.is_kept and bill.column in {"day", "finished_at"}:
        yield "a day is the one, in UTC, on which a row was settled (finished_at)"
    yield terms.STRONG_SHARE.line
    kinds = {line.kind for line in bill.lines}
    if "others" in kinds:
        shown = sum(line.kind == "value" and line.value is not None for line in bill.lines)
        yield f"the {count(shown)} values that cost most have a line of their own (--top {shown})"
    if "not_on_file" in kinds:
        runs = ", ".join(map(plain, bill.not_kept_by))
        kept_not = f", and {runs} did not keep it" if runs else ""
        yield f"not on file: failed rows have no kept columns until they are answered{kept_not}"
    if bill.all_rows.open:
        yield f"{count(bill.all_rows.open)} of the rows were begun and have no answer yet"
    if bill.unconfirmed_usd != 0:
        yield terms.UNCONFIRMED.line
