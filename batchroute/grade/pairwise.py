"""Two answers side by side, in both orders: the weak side's grade is 1 for a win, 0 for a loss, else 0.5.

Judges favour a place, often the first (Zheng et al. 2023, "Judging LLM-as-a-Judge"), so each pair is asked about
twice, blind, and only what holds in both orders counts. Writes the messages and reads the verdicts; knows nothing
of who sends them.
"""

# What a judge says of the two orders, and what the weak answer gets:
#
#     strong is A, weak is B   weak is A, strong is B   orders agree   weak's grade
#     B                        A                        yes            1
#     A                        B                        yes            0
#     tie                      tie                      yes            0.5
#     A                        A                        no             0.5   the place decided
#     tie                      A                        no             0.5   better in one order only: not shown

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from batchroute.grade.prompt import digest, grading_messages, response_format
from batchroute.grade.verdict import said_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.types import Result

Preference = Literal["A", "B", "tie"]

STRONG_GRADE = 0.5  # of every strong answer: it is what the weak one is measured by
RESPONSE_FORMAT = response_format("better", {"type": "string", "enum": ["A", "B", "tie"]})
_TASK = """\
You compare two answers, A and B, that two AI models gave to the last message of a conversation, and say which \
one is better. Their order was drawn by lot and means nothing. Where neither is better in what counts, it is a \
tie, whether both are good or both are bad."""
_QUESTION = """\
Now compare the answer between the judged:answer-A tags with the one between the judged:answer-B tags. Reply \
with one JSON object and nothing else: {"reason": R, "better": W}, where R is one or two sentences and W is "A", \
"B" or "tie"."""
_NAMED = re.compile(r"(?:answer|response|assistant|option)?[\s_-]*([ab])")
_SWAPPED: Mapping[Preference, Preference] = MappingProxyType({"A": "B", "B": "A", "tie": "tie"})
_TIES = frozenset({"tie", "c", "draw", "equal", "both", "neither", "none", "same"})


def pairwise_messages(conversation: bytes, first: Result, second: Result, criteria: str | None) -> bytes:
    """The chat messages (JSON) that ask whether the first answer, A, or the second, B, is better."""
    answers = {"answer-A": first, "answer-B": second}
    return grading_messages(_TASK, criteria, conversation, answers, _QUESTION)


def pairwise_digest(criteria: str | None) -> str:
    """Which comparison this is: two of the same digest ask the same of a judge."""
    return digest(grading_messages(_TASK, criteria, b"[]", {}, _QUESTION), RESPONSE_FORMAT)


def preference(verdict: str) -> Preference | None:
    """Which answer a judge's text prefers; None where it says neither A, B nor tie.

    Read are {"better": "A"} and [[A]], [[B]], [[C]] or [[tie]], in this order.
    """
    said = said_of("better", verdict)
    return _named(said.strip().lower()) if isinstance(said, str) else None


def _named(said: str) -> Preference | None:
    if said in _TIES:
        return "tie"
    named = _NAMED.fullmatch(said)
    if named is None:
        return None
    return "A" if named[1] == "a" else "B"


@dataclass(frozen=True, slots=True)
class BothOrders:
    """What a judge prefers with the strong answer as A, and with the weak one as A."""

    strong_first: Preference
    weak_first: Preference

    @property
    def agree(self) -> bool:
        """Whether the same answer, or none, is preferred in both orders."""
        return self.strong_first == _SWAPPED[self.weak_first]

    @property
    def weak_grade(self) -> float:
        """1 for a win in both orders, 0 for a loss in both, 0.5 for anything else."""
        if not self.agree or self.weak_first == "tie":
            return 0.5
        return float(self.weak_first == "A")
