"""A judge that judges what it can: 1 to 10 points for an answer, or which of two is better.

Knows no requests, only how a judge is shown conversations and answers, between tags `judged:...`, and what its
verdict is called. Sums it works out itself, and answers that stand in for good or poor ones say so; of any other
answer the quality is made of its text, so that it is the same wherever it stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from batchroute.simulate.arithmetic import last_number, work_out
from batchroute.simulate.schema import instance
from batchroute.simulate.skill import stated_quality
from batchroute.simulate.traffic import prompt_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.simulate.skill import Draw

VerdictField = Literal["points", "better"]

TIES_FOR_A = 0.1  # share of ties that are called for the answer shown first, as judges favour it
SAME_QUALITY = 0.1  # answers that are no further apart are a tie
_SHOWN = re.compile(r"<judged:(conversation|answer(?:-[AB])?)>\n(.*?)\n</judged:\1>", re.DOTALL)
_LAST_TURN = "[user]\n"
_POINTS = frozenset(range(1, 11))
_BY_LOT = ("A", "A", "B", "tie")
_PREFERENCES = frozenset(_BY_LOT)


def verdict(prompt: str, schema: Mapping[str, Any] | None, skill: float, draw: Draw) -> str | None:
    """The verdict that a request asks for by its schema or by what it shows; None where it asks for none.

    `skill` in [0, 1] is the share of verdicts that come from what is judged; the others come from `draw`.
    """
    # With a skill of 0.9, shown a right answer and a wrong one:
    #
    #     points   9 or 10 and 2 or 3; in a tenth of the verdicts anything from 2 to 10
    #     better   the right one; in a tenth of the verdicts A (half of them), B or tie, whichever is right
    #
    # Asked in both orders, the judge contradicts itself in some of that tenth. Of two that are equally good it
    # prefers A in a tenth of the verdicts, whatever its skill.
    field = _asked(prompt, schema)
    if field is None:
        return None
    shown = dict(_SHOWN.findall(prompt))
    is_sure = draw("judge") < skill
    said = _points(shown, is_sure, draw) if field == "points" else _better(shown, is_sure, draw)
    if schema is None and "[[" in _SHOWN.sub("", prompt):
        return f"[[{said}]]"
    return msgspec.json.encode({**(instance(schema) if schema else {}), field: said}).decode()


def _asked(prompt: str, schema: Mapping[str, Any] | None) -> VerdictField | None:
    if schema:
        fields = schema.get("properties")
        return _field_of(fields) if isinstance(fields, dict) else None
    names = {name for name, _ in _SHOWN.findall(prompt)} if "<judged:" in prompt else set()
    if names >= {"answer-A", "answer-B"}:
        return "better"
    return "points" if "answer" in names else None


def _field_of(fields: Mapping[str, Any]) -> VerdictField | None:
    """The field of a schema that is a verdict: whole points from 1 to 10, or A, B or tie."""
    points, better = fields.get("points"), fields.get("better")
    if isinstance(points, dict):
        bounds = points.get("minimum"), points.get("maximum")
        return "points" if set(points.get("enum", ())) == _POINTS or bounds == (1, 10) else None
    is_preference = isinstance(better, dict) and set(better.get("enum", ())) == _PREFERENCES
    return "better" if is_preference else None


def _points(shown: Mapping[str, str], is_sure: bool, draw: Draw) -> int:
    quality = _quality(shown, "answer") if is_sure else draw("lot")
    return 2 + round(7 * quality) + int(draw("points") < 0.5)


def _better(shown: Mapping[str, str], is_sure: bool, draw: Draw) -> str:
    if not is_sure:
        return _BY_LOT[int(len(_BY_LOT) * draw("lot"))]
    lead = _quality(shown, "answer-A") - _quality(shown, "answer-B")
    if abs(lead) > SAME_QUALITY:
        return "A" if lead > 0 else "B"
    return "A" if draw("tie") < TIES_FOR_A else "tie"


def _quality(shown: Mapping[str, str], name: str) -> float:
    """In [0, 1]: whether a sum is right, what the answer says of itself, else what its digest says."""
    answer = shown.get(name, "")
    question = work_out(shown.get("conversation", "").rpartition(_LAST_TURN)[2])
    if question is not None:
        return float(last_number(answer) == question.value)
    stated = stated_quality(answer)
    return int(prompt_digest(answer), 16) / 2**64 if stated is None else stated
