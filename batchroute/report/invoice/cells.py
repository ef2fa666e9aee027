"""What the cells of a provider's table mean: days, amounts, counts."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable

DayOrder: TypeAlias = Literal["mdy", "dmy"]
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})\b")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_YEAR_FIRST = re.compile(r"(\d{4})[/.]?(\d{2})[/.]?(\d{2})(?!\d)")
_GROUPED = re.compile(r"[1-9]\d{0,2}([.,\u00a0 ]\d{3})+")
_NAMED_MONTH = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y")
_SECONDS = (10**8, 10**11)  # Unix times between 1973 and 5138; what is larger counts milliseconds


class Slashed(NamedTuple):
    """A day whose two first numbers are a month and a day in an order that is not known yet."""

    first: int
    second: int
    year: int


def read_day(text: str) -> date | Slashed:
    """A day, that of UTC where the text has a time zone or is a Unix time. ValueError where it is none."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text) and (number := float(text)) >= _SECONDS[0]:
        return datetime.fromtimestamp(number if number < _SECONDS[1] else number / 1000, UTC).date()
    if found := _YEAR_FIRST.match(text):
        return date(*map(int, found.groups()))
    if found := _SLASHED.match(text):
        return Slashed(*map(int, found.groups()))
    if found := _DOTTED.match(text):
        day, month, year = map(int, found.groups())
        return date(year, month, day)
    for form in _NAMED_MONTH:
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
    at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    return (at if at.tzinfo is None else at.astimezone(UTC)).date()


def order_of(days: Iterable[Slashed], said: DayOrder | None) -> DayOrder:
    """Whether the month comes first: as is `said`, else as days beyond the twelfth tell."""
    days = list(days)
    if said is not None:
        return said
    is_dmy, is_mdy = any(day.first > 12 for day in days), any(day.second > 12 for day in days)
    if is_dmy == is_mdy:
        example = f"{days[0].first}/{days[0].second}/{days[0].year}"
        raise UsageFault(f"the date {example} may begin with its month or its day: say --dates mdy or --dates dmy")
    return "dmy" if is_dmy else "mdy"


def day_in(order: DayOrder, day: Slashed) -> date:
    month, number = (day.first, day.second) if order == "mdy" else (day.second, day.first)
    try:
        return date(day.year, month, number)
    except ValueError as error:
        wrong = f"{day.first}/{day.second}/{day.year}"
        raise UsageFault(f"{wrong} is no day in the order {order}; say --dates mdy or --dates dmy") from error


def read_amount(text: str, *, decimal_comma: bool = False) -> Decimal | None:
    """A number without its currency sign and thousands; None where the cell is empty. ValueError: it is none.

    Of a comma and a dot the last one begins the cents. A comma alone groups thousands where it can (1,234), unless
    in the file it is the `decimal_comma`; 0,003 cannot. A dot alone begins the cents.
    """
    plain = re.sub(r"[\s$\u00a0]|USD", "", text, flags=re.IGNORECASE)
    if not plain or plain.lower() in {"-", "n/a", "null", "none"}:
        return None
    if "," in plain and (plain.rfind(",") < plain.rfind(".") or (not decimal_comma and _GROUPED.fullmatch(plain))):
        plain = plain.replace(",", "")
    elif "," in plain:
        plain = plain.replace(".", "").replace(",", ".")
    try:
        amount = Decimal(plain)
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not amount.is_finite():
        raise ValueError(text)
    return amount


def read_count(text: str) -> int | None:
    """A whole number, whatever groups its thousands; None where the cell is empty. ValueError: it is none."""
    plain = text.strip()
    if _GROUPED.fullmatch(plain):
        return int(re.sub(r"\D", "", plain))
    amount = read_amount(plain)
    if amount is not None and amount != int(amount):
        raise ValueError(text)
    return None if amount is None else int(amount)
