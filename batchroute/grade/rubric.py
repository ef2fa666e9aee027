"""One answer by itself: a judge model gives it 1 to 10 points, and a tenth of them is the grade.

That is MT-Bench's scale (Zheng et al. 2023), so that "95 % of the strong model's quality" means what papers mean
by it; the words are ours. Writes the messages and reads the verdict; knows nothing of who sends them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchroute.grade.prompt import digest, grading_messages, response_format
from batchroute.grade.verdict import own_text, said_of

if TYPE_CHECKING:
    from batchroute.types import Result

LEAST, MOST = 1, 10
RESPONSE_FORMAT = response_format("points", {"type": "integer", "enum": list(range(LEAST, MOST + 1))})
_TASK = """\
You grade the last answer that an AI model gave in a conversation, with 1 to 10 points:

10 = all that counts is met; nothing that matters could be better
7 to 9 = right and useful, with small faults
4 to 6 = right or complete in part only
2 or 3 = mostly wrong, or it misses what was asked
1 = of no use: wrong throughout, empty, or about something else"""
_QUESTION = """\
Now grade the answer between the judged:answer tags. Reply with one JSON object and nothing else: \
{"reason": R, "points": N}, where R is one or two sentences and N is a whole number from 1 to 10."""
_OUT_OF_TEN = re.compile(r"(?<![\d.,/])(\d{1,2}(?:\.\d{1,3})?)\s{0,3}(?:/|out of)\s{0,3}10(?!\d|[.,/]\d)")


def rubric_messages(conversation: bytes, answer: Result, criteria: str | None) -> bytes:
    """The chat messages (JSON) that ask for the points of one answer; `conversation` as in `Prompt.messages`."""
    return grading_messages(_TASK, criteria, conversation, {"answer": answer}, _QUESTION)


def rubric_digest(criteria: str | None) -> str:
    """Which rubric this is: two of the same digest ask the same of a judge."""
    return digest(grading_messages(_TASK, criteria, b"[]", {}, _QUESTION), RESPONSE_FORMAT)


def rubric_grade(verdict: str) -> float | None:
    """The grade in [0, 1] that a judge's text gives; None for a text that gives no points from 1 to 10.

    Read are {"points": 7}, [[7]] and 7/10, in this order.
    """
    said = said_of("points", verdict)
    if said is None:
        said = next(reversed(_OUT_OF_TEN.findall(own_text(verdict))), None)
    points = _as_number(said)
    return None if points is None or not LEAST <= points <= MOST else points / MOST


def _as_number(said: Any) -> float | None:
    if isinstance(said, str):
        written = re.fullmatch(r"(\d{1,2}(?:\.\d{1,3})?)(?:\s?/\s?10)?", said.strip())
        return float(written[1]) if written else None
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else None
