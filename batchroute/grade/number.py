r"""The last number of a text, however people and models write one.

    42   -3.5   +7   .5   1e-3          any kind of minus sign, but not between two numbers: 3-5 ends with 5
    1,234,567.8   1,00,000              commas before three digits are taken off
    1 234   1'234   1_000               so are spaces of all widths, apostrophes, underscores
    1.234.567   1.234,56                the German form, where it can be no other
    3,5                                 a decimal comma: no three digits follow, and no other comma
    $42   42 %   42 km                  currency, percent and units stand beside the number
    3e8   3 x 10^8   3\times10^{8}      and 2^10; the power of a unit, as in cm^2, is no number
    3/4   1 3/4   \frac{3}{4}           fractions; 3/4/2024 is none

"1.234" is a little more than one, as in English: German thousands with a single dot are read wrong.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.grade.final import boxed

if TYPE_CHECKING:
    from collections.abc import Iterator

RELATIVE_TOLERANCE = 1e-6
_MINUS = "\u2212\u2013-"  # the last so that it is no range within brackets
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9"
_SPACES = " \u00a0\u2009\u202f'\u2019_"
_LATEX = (("{,}", ","), (",\\!", ","), ("\\!", ""), ("\\,", " "), ("\\$", "$"))
_FRAC = re.compile(r"(\d?)\\[dt]?frac\s?(?:\{(-?\d+)\}|(\d))\s?(?:\{(\d+)\}|(\d))")
_RAISED = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")  # as superscripts
# Every repetition but that of digits is bounded, and none begins within digits: time grows with the text's length.
_TOKEN = re.compile(
    rf"""
    (?=[\d.^+{_CURRENCY}{_MINUS}])(?:
    \^\{{?[+{_MINUS}]?\d+ |                                                        # the power of a unit
    (?<![A-Za-z_\d])
    (?P<sign>(?<![\w)\]}}%\u00b0{_CURRENCY}])[+{_MINUS}]|(?:(?<==)|(?<==\ ))[{_MINUS}]\ )?
    (?:[{_CURRENCY}]\ ?(?P<inner>[{_MINUS}])?)?
    (?:
      (?<!\d/)(?:(?P<whole>\d+)\ )?(?P<above>\d+)\ ?/\ ?(?P<below>\d+)(?!\ ?/\ ?\d|\d|[.,]\d) |
      (?P<dots>[1-9]\d{{0,2}}(?:(?:\.\d{{3}}){{1,6}},\d+|(?:\.\d{{3}}){{2,6}}))(?![.,]?\d) |
      (?P<commas>[1-9]\d{{0,2}}(?:,\d{{2,3}}){{0,6}},\d{{3}}(?!\d)(?:\.\d+)?) |
      (?P<spaces>[1-9]\d{{0,2}}(?P<space>[{_SPACES}])\d{{3}}(?:(?P=space)\d{{3}}){{0,6}}(?!\d)(?:[.,]\d+)?) |
      (?P<decimal>(?<!\d,)\d+,\d+)(?![.,]?\d) |
      (?P<plain>\d+(?:\.\d+)?|(?<![\w.])\.\d+)
    )
    (?:
      [eE](?P<e>[+{_MINUS}]?\d{{1,4}})(?![A-Za-z\d]) |
      \ ?(?:[\u00d7x*\u00b7]|\\times|\\cdot)\ ?10\^\{{?(?P<ten>[+{_MINUS}]?\d{{1,4}}) |
      \^\{{?(?P<power>[+{_MINUS}]?\d{{1,4}})
    )?)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text; `below` is the lower half of a fraction, which may be meant by itself: 7/10 points."""

    value: float
    below: float | None = None

    def is_close(self, other: float) -> bool:
        """Whether `other` is this, the right one, but for rounding."""
        return abs(self.value - other) <= RELATIVE_TOLERANCE * abs(self.value)


def is_right(reference: Number, answer: Number) -> bool:
    """A fraction's lower half counts as the last number of an answer, unless the reference is a fraction."""
    if reference.is_close(answer.value):
        return True
    return reference.below is None and answer.below is not None and reference.is_close(answer.below)


def last_number(text: str) -> Number | None:
    """That in the last box, else the last of the text."""
    box = boxed(text)
    return (_last(box) if box else None) or _last(text)


def only_number(text: str) -> Number | None:
    """The number that a text is, but for signs and a box around it; None where it has words or other numbers."""
    plain = _plain(boxed(text) or text)
    matches = list(_matches(plain))
    if len(matches) != 1:
        return None
    start, end = matches[0].span()
    return None if any(map(str.isalnum, plain[:start] + plain[end:])) else _number(matches[0])


def _last(text: str) -> Number | None:
    last = None
    for last in _matches(_plain(text)):  # noqa: B007 - only the last is wanted
        pass
    return last and _number(last)


def _plain(text: str) -> str:
    """The text without what LaTeX puts between digits, powers as in 10^8, fractions as in 3/4."""
    for written, meant in _LATEX:
        text = text.replace(written, meant)
    text = _RAISED.sub(lambda raised: "^" + unicodedata.normalize("NFKC", raised[0]), text)
    return _FRAC.sub(_as_fraction, text)


def _as_fraction(found: re.Match[str]) -> str:
    before, *halves = found.groups(default="")
    return "{}{}{}/{}{}".format(before and f"{before} ", *halves)


def _matches(text: str) -> Iterator[re.Match[str]]:
    return (match for match in _TOKEN.finditer(text) if match[0][0] != "^")


def _number(match: re.Match[str]) -> Number | None:
    """None for one that is larger than a float can be."""
    below = float(match["below"]) if match["below"] else None
    try:
        value = _unsigned(match)
    except (OverflowError, ZeroDivisionError):
        return None
    negative = (match["sign"] or match["inner"] or "+")[0] in _MINUS
    return Number(-value if negative else value, below) if math.isfinite(value) else None


def _unsigned(match: re.Match[str]) -> float:
    value = _mantissa(match)
    if match["power"]:
        return float(value ** _whole(match["power"]))
    ten = match["e"] or match["ten"]
    return value * 10.0 ** _whole(ten) if ten else value


def _mantissa(match: re.Match[str]) -> float:
    if match["below"]:
        return float(match["whole"] or 0) + float(match["above"]) / float(match["below"])
    if match["dots"] or match["decimal"]:
        return float((match["dots"] or match["decimal"]).replace(".", "").replace(",", "."))
    if match["spaces"]:
        return float(match["spaces"].replace(match["space"], "").replace(",", "."))
    return float((match["commas"] or match["plain"]).replace(",", ""))


def _whole(written: str) -> int:
    return int(re.sub(f"[{_MINUS}]", "-", written))
