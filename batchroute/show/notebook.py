"""A run as a notebook shows it: a few lines of HTML without colours, scripts or styles of a page of their own.

Knows only what it is given; nothing of a row is in it, and every name is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from batchroute.show import words
from batchroute.show.quality import sentence_of
from batchroute.show.words import count, money, one_line, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from batchroute.report.figures import Report

_CELL = 'style="text-align:{align};padding:0.1em 0.8em 0.1em 0"'


def run_html(path: Path, report: Report, stopped: Sequence[str]) -> str:
    """State, warnings, the bill by model, what was saved, and where it is."""
    counts = f"{count(report.ok)} answered, {count(report.refused)} refused, {count(report.failed)} failed"
    left = f", {count(report.remaining)} remaining" if report.remaining else ""
    lines = [f"<b>{_text(report.name)}</b> {_text(report.state)}: {counts}{left}"]
    lines += [f"<b>{escape(one_line(line))}</b>" for line in (*words.warnings_of(report), *stopped)]
    if report.quality is not None:
        lines.append(escape(one_line(sentence_of(report.quality))))
    last = [f"<code>{escape(one_line(str(path)))}</code>"]
    if report.savings_usd is not None:
        saved = f"${money(report.savings_usd)}, {percent(report.savings_fraction)}"
        last.insert(0, f"saved against all strong {saved}")
    return f"<div>{'<br>'.join(lines)}{_bill(report)}{'<br>'.join(last)}</div>"


def _bill(report: Report) -> str:
    rows = [
        (bill.route, bill.model or "never sent", count(bill.ok + bill.refused + bill.failed), money(bill.cost_usd))
        for bill in report.models
    ]
    if report.pilot_cost_usd != 0:
        rows.append(("pilot", "beside the rows", "", money(report.pilot_cost_usd)))
    rows.append(("total", "", count(report.ok + report.refused + report.failed), money(report.total_usd)))
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{_cells('th', ('', 'model', 'rows', 'USD'))}</tr>{body}</table>"


def _cells(tag: str, cells: Iterable[str]) -> str:
    """The first two are words, the others figures."""
    styled = ((cell, _CELL.format(align="left" if place < 2 else "right")) for place, cell in enumerate(cells))
    return "".join(f"<{tag} {style}>{_text(cell)}</{tag}>" for cell, style in styled)


def _text(text: str) -> str:
    return escape(plain(text))
