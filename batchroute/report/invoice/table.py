"""A provider's exported table (CSV; commas, semicolons or tabs) -> its sums by day and model, as it names them.

A stream: what is held is one sum for each day and name, whatever the number of lines.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.report.invoice.cells import Slashed, day_in, order_of, read_amount, read_count, read_day
from batchroute.report.invoice.headings import find_headings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from pathlib import Path
    from typing import Any, TextIO

    from batchroute.report.invoice.cells import DayOrder
    from batchroute.report.invoice.headings import Headings

_TOTALS = ("total", "grand total", "sum")


@dataclass(frozen=True, slots=True)
class Billed:
    """What the lines of one day and model say; `usd` None: no amounts, `prompt` None: no tokens.

    `lines` of them; `step_usd` is what the last digit of the table's finest amount stands for.
    """

    usd: Decimal | None
    prompt: int | None
    output: int | None
    lines: int = 1
    step_usd: Decimal = Decimal(0)

    def __add__(self, other: Billed) -> Billed:
        return Billed(
            usd=_plus(self.usd, other.usd),
            prompt=_plus(self.prompt, other.prompt),
            output=_plus(self.output, other.output),
            lines=self.lines + other.lines,
            step_usd=min(self.step_usd, other.step_usd),
        )


@dataclass(frozen=True, slots=True)
class Invoice:
    """A table: its `headings`, and what it has for each day and model; the model is "" where it names none."""

    headings: Headings
    billed: Mapping[tuple[date, str], Billed]


def read_invoice(path: Path, *, columns: Mapping[str, str], dates: DayOrder | None = None) -> Invoice:
    """The table in `path`; `columns` says which column is what, `dates` how days with slashes are written.

    UsageFault where it cannot be read, naming the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, columns, dates)
    except UsageFault as fault:
        raise UsageFault(f"{path}: {fault}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageFault(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def _read(file: TextIO, columns: Mapping[str, str], dates: DayOrder | None) -> Invoice:
    reader = csv.reader(file, delimiter=_delimiter(file))
    names = next(reader, [])
    headings = find_headings(names, columns)
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    found: dict[tuple[date | Slashed, str], Billed] = {}
    for cells in reader:
        row = _Row(cells, places, decimal_comma=reader.dialect.delimiter == ";")
        try:
            line = _line(row, headings)
        except ValueError as error:
            raise UsageFault(f"line {reader.line_num}: {error}") from error
        if line is not None:
            key, billed = line
            found[key] = billed + found[key] if key in found else billed
    if not found:
        raise UsageFault("no line has a date and an amount")
    step_usd = min(each.step_usd for each in found.values())  # an amount of 1 alone does not say how it is rounded
    stepped = {key: replace(each, step_usd=step_usd) for key, each in found.items()}
    return Invoice(headings, _on_days(stepped, dates))


def _delimiter(file: TextIO) -> str:
    head = file.readline()
    file.seek(0)
    return max(",;\t", key=head.count)


@dataclass(frozen=True, slots=True)
class _Row:
    cells: Sequence[str]
    places: Mapping[str, int]
    decimal_comma: bool

    def text(self, heading: str | None) -> str:
        place = None if heading is None else self.places[heading]
        return self.cells[place].strip() if place is not None and place < len(self.cells) else ""

    def amount(self, heading: str | None) -> Decimal | None:
        try:
            return read_amount(self.text(heading), decimal_comma=self.decimal_comma)
        except ValueError:
            raise ValueError(f"{heading} is {self.text(heading)[:40]!r}, which is no number") from None

    def count(self, headings: Iterable[str]) -> int | None:
        try:
            known = [count for heading in headings if (count := read_count(self.text(heading))) is not None]
        except ValueError as error:
            raise ValueError(f"{str(error)[:40]!r} is no number of tokens") from None
        return sum(known) if known else None


def _line(row: _Row, headings: Headings) -> tuple[tuple[date | Slashed, str], Billed] | None:
    """The day and model of a line, and what it says; None for one of totals, and one that says nothing."""
    day = row.text(headings.date)
    if not day or day.lower().rstrip(":") in _TOTALS:
        return None
    billed = _billed(row, headings)
    if billed.usd is None and billed.prompt is None and billed.output is None:
        return None
    try:
        return (read_day(day), next(filter(None, map(row.text, headings.model)), "")), billed
    except ValueError:
        raise ValueError(f"{headings.date} is {day[:40]!r}, which is no date") from None


def _billed(row: _Row, headings: Headings) -> Billed:
    usd, cents = row.amount(headings.usd), row.amount(headings.cents)
    currency = row.text(headings.currency)
    if usd and currency and currency.upper() not in {"USD", "$", "US DOLLAR"}:
        raise ValueError(f"the amount is in {currency[:10]}, and costs of runs are in USD: convert it first")
    exponent = (usd or Decimal(0)).as_tuple().exponent
    prompt, output = _tokens(row, headings)
    return Billed(
        usd=usd if cents is None else cents / 100,
        prompt=prompt,
        output=output,
        step_usd=Decimal(1).scaleb(exponent) if isinstance(exponent, int) else Decimal(0),
    )


def _tokens(row: _Row, headings: Headings) -> tuple[int | None, int | None]:
    """Those of the prompts, and those of the answers."""
    if headings.meter is None:
        return row.count(headings.prompt), row.count([] if headings.output is None else [headings.output])
    meter, quantity = row.text(headings.meter).lower(), row.count([headings.quantity or ""])
    if quantity is None or "token" not in meter:
        return None, None
    return (0, quantity) if "output" in meter else (quantity, 0)


def _on_days(
    found: Mapping[tuple[date | Slashed, str], Billed], dates: DayOrder | None
) -> dict[tuple[date, str], Billed]:
    slashed = [day for day, _ in found if isinstance(day, Slashed)]
    order = order_of(slashed, dates) if slashed else "mdy"
    sums: dict[tuple[date, str], Billed] = {}
    for (day, model), billed in found.items():
        key = day_in(order, day) if isinstance(day, Slashed) else day, model
        sums[key] = billed + sums[key] if key in sums else billed
    return sums


def _plus(a: Any, b: Any) -> Any:
    """What is known of a sum."""
    if a is None or b is None:
        return b if a is None else a
    return a + b
