"""The question of arithmetic in a prompt, worked out; knows nothing of who answers it.

    What is 417 + 268?          685, in 3 steps
    17 * 23 = ?                 391, in 4
    12 + 7 - 3                  16, in 2 + 2
    (1,200 - 350) x 4           3400, in 4 + 3
    6 plus 4 divided by 8       6.5, in 1 + 2

A step is what is done with one digit: a sum or a difference takes as many as its longer number has digits, a
product or a quotient as many as there are pairs of digits, one of each number. What has no exact decimal value,
such as 1 / 3, is no such question, nor are dates, ranges and fractions (2026-11-28, 7/10) that no "=" or "?"
follows.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_CHARS = 400  # of what is worked out
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,8}(?!\d)|\d{1,28})(?:\.\d{1,12})?"
_OPERATOR = r"[-+*/x\u00d7\u00b7\u00f7\u2212\u2013]|plus|minus|times|multiplied by|divided by"
_OPERAND = rf"[(]{{0,8}}[-\u2212]?{_NUMBER}[)]{{0,8}}"
_CHAIN = re.compile(
    rf"(?<![\w.,/:^-]){_OPERAND}(?:[ ]{{0,2}}(?:{_OPERATOR})[ ]{{0,2}}{_OPERAND})+(?![\w/:^]|[.,]\d)"
)
_PART = re.compile(rf"(?P<number>{_NUMBER})|(?P<operator>{_OPERATOR})|(?P<bracket>[()])")
# Between numbers without spaces these may be anything: 11-28, 24/7, 3x4.
_CLOSE = re.compile(r"\d[-/x\u2212\u2013]\d")
_ASKED = re.compile(r"\s{0,9}[=?]")
_LAST_NUMBER = re.compile(rf"(?<![\w.])[-\u2212]?{_NUMBER}(?!\d)")
_SIGNS: Mapping[str, str] = {
    "plus": "+",
    "minus": "-",
    "\u2212": "-",
    "\u2013": "-",
    "times": "*",
    "multiplied by": "*",
    "x": "*",
    "\u00d7": "*",
    "\u00b7": "*",
    "divided by": "/",
    "\u00f7": "/",
}
_BINDING: Mapping[str, int] = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}


class Sum(NamedTuple):
    """A question of arithmetic as it is written, its value, and how many digit steps lead there."""

    written: str
    value: Decimal
    steps: int


def work_out(text: str) -> Sum | None:
    """The last question of arithmetic in a text; None where there is none that has an exact value."""
    found = None
    for chain in _CHAIN.finditer(text):
        if _is_question(chain, text):
            found = chain[0]
    if found is None or len(found) > LONGEST_CHARS:
        return None
    try:
        return _Work().through(found)
    except (DecimalException, LookupError, ValueError):
        return None  # no exact value, or brackets that do not close


def last_number(text: str) -> Decimal | None:
    """The last number of a text."""
    found = _LAST_NUMBER.findall(text)
    return _decimal(found[-1]) if found else None


def plain(value: Decimal) -> str:
    """Without an exponent: -1200, 6.50."""
    return f"{value:f}"


def _is_question(chain: re.Match[str], text: str) -> bool:
    is_asked = _ASKED.match(text, chain.end()) is not None or chain[0] == text.strip()
    return is_asked or _CLOSE.search(chain[0]) is None


def _decimal(written: str) -> Decimal:
    return Decimal(written.replace(",", "").replace("\u2212", "-"))


# Two stacks, so that brackets in brackets need no recursion (Dijkstra 1961, the shunting yard). 2 + 3 * 4 - 5:
#
#     read      numbers    operators
#     2 + 3     2 3        +
#     * 4       2 3 4      + *        * binds more than +, which waits
#     -         14         -          what binds as much or more is done first: 3 * 4, then 2 + 12
#     5, end    9
class _Work:
    """The numbers and operators that wait, and the steps that were taken."""

    def __init__(self) -> None:
        self._numbers: list[Decimal] = []
        self._operators: list[str] = []
        self._steps = 0

    def through(self, written: str) -> Sum:
        """LookupError or ValueError where it cannot be read, DecimalException where it has no exact value."""
        for part in _parts(written):
            if part == "(":
                self._operators.append(part)
            elif part == ")":
                self._do_while(1)
                self._operators.pop()
            elif part in _BINDING:
                self._do_while(_BINDING[part])
                self._operators.append(part)
            else:
                self._numbers.append(_decimal(part))
        self._do_while(1)
        if self._operators:
            raise ValueError("a bracket is open")
        (value,) = self._numbers
        return Sum(written, value, self._steps)

    def _do_while(self, binding: int) -> None:
        """All that waits on top and binds at least so much."""
        while self._operators and _BINDING[self._operators[-1]] >= binding:
            self._do(self._operators.pop())

    def _do(self, operator: str) -> None:
        right, left = self._numbers.pop(), self._numbers.pop()
        digits = len(left.as_tuple().digits), len(right.as_tuple().digits)
        self._steps += max(digits) if operator in "+-" else digits[0] * digits[1]
        self._numbers.append(_DONE[operator](left, right))


_DONE = {"+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply, "/": _EXACT.divide}


def _parts(written: str) -> Iterator[str]:
    """Numbers with their signs, operators as one character each, brackets."""
    sign, wants_number = "", True
    for part in _PART.finditer(written):
        kind, said = part.lastgroup, _SIGNS.get(part[0], part[0])
        if kind == "operator" and wants_number:
            sign = said
            continue
        yield sign + said
        sign, wants_number = "", kind == "operator" or said == "("
