"""How rows ended and how long they took: errors, answers cut or filtered, latency, the dearest rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.show import words
from batchroute.show.page.values import Row, Table, stacked
from batchroute.show.words import count, money, plain, printable, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.report.details import ErrorExample, ExpensiveRow
    from batchroute.report.figures import Report

_MOST_KINDS = 20
_ERROR_CHARS = 400


def errors_table(report: Report, examples: Sequence[ErrorExample]) -> Table | None:
    """Why rows were refused or failed, the most frequent kinds first, one row of each named."""
    if not report.errors:
        return None
    example_of = {example.error_type: example for example in examples}
    kinds = list(report.errors.items())
    most = max(report.errors.values())
    rows = [
        Row(plain(kind), [count(number)], stacked([("alert", number)], most), _example(example_of.get(kind)))
        for kind, number in kinds[:_MOST_KINDS]
    ]
    if others := kinds[_MOST_KINDS:]:
        number = sum(rows for _, rows in others)
        rows.append(Row(f"{count(len(others))} other kinds", [count(number)], stacked([("alert", number)], most)))
    return Table("Refused or failed, by kind", ["Kind", "Rows"], rows, bars="rows, to scale")


def _example(example: ErrorExample | None) -> str | None:
    if example is None:
        return None
    place = f"for example {_place(example.file, example.row, example.id)}"
    return place if example.text is None else f"{place}: {printable(example.text[:_ERROR_CHARS])}"


def finish_table(report: Report) -> Table | None:
    """How answers ended, where not all ended by themselves."""
    rows = [Row(name, cells, dot=name) for name, cells in words.finish_rows(report)]
    headings = ["Side", *(heading.capitalize() for heading in words.FINISH_HEADINGS)]
    return Table("How answers ended", headings, rows) if rows else None


def latency_table(report: Report) -> Table | None:
    """From send to last byte of the attempt that was answered."""
    known = {name: latency for name, latency in report.latency_s.items() if latency is not None}
    if not known:
        return None
    longest = max(latency.p99 for latency in known.values())
    rows = []
    for name, latency in known.items():
        steps = (latency.p50, latency.p95 - latency.p50, latency.p99 - latency.p95)
        looks = [f"{name} {share}" for share in ("half", "most", "tail")]
        cells = [seconds(latency.p50), seconds(latency.p95), seconds(latency.p99)]
        rows.append(Row(name, cells, stacked(zip(looks, steps, strict=True), longest), dot=name))
    return Table("Latency, seconds", ["Side", "p50", "p95", "p99"], rows, bars="p50, p95, p99")


def expensive_table(dearest: Sequence[ExpensiveRow]) -> Table | None:
    """The rows that cost most, with what it takes to ask their provider about the bill."""
    rows = [
        Row(
            plain(row.id) if row.id is not None else _place(row.file, row.row, None),
            [
                money(row.cost_usd),
                count(row.prompt_tokens),
                count(row.completion_tokens),
                plain(row.model or "unknown"),
                plain(row.service_tier or ""),
                plain(row.request_id or ""),
            ],
            note=None if row.id is None else _place(row.file, row.row, None),
        )
        for row in dearest
    ]
    headings = ["Row", "USD", "Prompt tokens", "Output tokens", "Model", "Tier", "Provider's request id"]
    return Table("The most expensive rows", headings, rows) if rows else None


def _place(file: str, row: int, id_: str | None) -> str:
    place = f"{plain(file)}:{row}"
    return place if id_ is None else f"{plain(id_)} ({place})"
