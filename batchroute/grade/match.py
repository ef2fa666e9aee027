"""An answer against the right one: 1 for right, 0 for wrong, or how much of it is there.

    exact     the same text, but for case and white space
    number    the same last number (see `number`), within a millionth of the right one
    choice    the same letter (see `choice`)
    contains  the right answer stands somewhere in it, whatever stands beside it
    f1        F1 of the words, as SQuAD scores answers (Rajpurkar et al. 2016), without its list of articles
    auto      number where the right answer is one and the answer has one; choice where it is a single letter;
              else exact

A right answer is text, a number, a truth value, or a list of these, or its JSON: each is right. None, NaN,
blank text and an empty list are none, nor is one that `match` cannot read: what is not known to be wrong is not 0.
Of a worked solution that ends as GSM8K's do, "... #### 42", what comes after the signs is the right answer.

Knows no rows and no judges.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from batchroute.grade.choice import chosen_letter, only_letter
from batchroute.grade.final import without_thoughts
from batchroute.grade.number import is_right, last_number, only_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Match = Literal["auto", "exact", "number", "choice", "contains", "f1"]
Reference: TypeAlias = "str | float | bool | Decimal | list[Reference] | None"  # as kept columns hold them

_SOLUTION_END = "####"
_WORD = re.compile(r"\w+")


def reference_grade(response: str | None, reference: Reference, match: Match) -> float | None:
    """The grade in [0, 1], 0 for no answer; None where there is no right answer to hold it against.

    Of several right answers the one that gives the best grade counts.
    """
    answer = "" if response is None else without_thoughts(response).strip()
    rights = filter(None, map(_as_text, _each_of(reference)))
    grades = [_GRADES[match](answer, right) for right in rights]
    return max((grade for grade in grades if grade is not None), default=None)


def _each_of(reference: object) -> Iterator[object]:
    """Each right answer of a list, which JSON lines and CSV hold as JSON; that text may be meant as it is, too."""
    if isinstance(reference, list | tuple):
        for each in reference:
            yield from _each_of(each)
        return
    listed = None
    if isinstance(reference, str) and reference.lstrip().startswith("["):
        with suppress(msgspec.DecodeError):
            listed = msgspec.json.decode(reference, type=list[str | int | float | bool | None])
    if listed is not None:
        yield from listed
    if listed is None or any(each is not None for each in listed):
        yield reference


def _as_text(reference: object) -> str | None:
    """A right answer as a model would write it: 42 for 42.0, as a column of numbers with gaps has it."""
    if isinstance(reference, bool):
        return str(reference)
    if isinstance(reference, int | float | Decimal):
        if not math.isfinite(reference):
            return None
        return str(int(reference)) if reference == int(reference) else str(reference)
    if not isinstance(reference, str):
        return None
    return reference.rpartition(_SOLUTION_END)[2].strip() or None


def _exact(answer: str, right: str) -> float:
    return float(_folded(answer) == _folded(right))


def _contains(answer: str, right: str) -> float:
    return float(_folded(right) in _folded(answer))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _number(answer: str, right: str) -> float | None:
    reference = last_number(right)
    if reference is None:
        return None
    given = last_number(answer)
    return float(given is not None and is_right(reference, given))


def _choice(answer: str, right: str) -> float | None:
    letter = chosen_letter(right)
    return None if letter is None else float(chosen_letter(answer) == letter)


def _f1(answer: str, right: str) -> float:
    """Words that both have, over the mean of how many each has; right answers without words must be the same."""
    wanted, given = Counter(_words(right)), Counter(_words(answer))
    if not wanted:
        return _exact(answer, right)
    return 2 * (wanted & given).total() / (wanted.total() + given.total())


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _auto(answer: str, right: str) -> float | None:
    reference = only_number(right)
    if reference is not None and (given := last_number(answer)):
        return float(is_right(reference, given))
    return _choice(answer, right) if only_letter(right) else _exact(answer, right)


_GRADES: Mapping[Match, Callable[[str, str], float | None]] = MappingProxyType(
    {"auto": _auto, "exact": _exact, "number": _number, "choice": _choice, "contains": _contains, "f1": _f1}
)
