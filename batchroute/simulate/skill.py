"""What a provider that has a skill says: sums right or nearly so, all else as a good or a poor answer.

Knows no requests and no judge. `draw` gives a number in [0, 1) for a purpose, the same each time for one prompt.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.simulate.arithmetic import plain, work_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Draw: TypeAlias = Callable[[str], float]

MARK = "[simulated] "
SKILL_STEPS = 4  # of the questions that are answered right as often as the skill says
MISSED_PLACES = 5  # a digit further back is within the tolerance of some who compare numbers
_STATED = re.compile(re.escape(MARK) + r"No model was asked; this stands in for a (good|poor) answer\b")


def chance_right(skill: float, steps: float) -> float:
    """The chance in [0, 1] that a question of so many digit steps is answered right, by a `skill` in [0, 1].

    It is `skill ** ((steps / 4) ** 2)`: a skill is the chance at four steps, and hard questions tell more:

        steps         1       2        3          4        6                  9
        such as       2 + 3   12 + 34  417 + 268  17 * 23  123,456 + 654,321  123 * 456
        skill 1       1       1        1          1        1                  1
        skill 0.95    .997    .987     .972       .950     .891               .771
        skill 0.6     .969    .880     .750       .600     .317               .075
        skill 0       0       0        0          0        0                  0
    """
    return float(skill ** ((steps / SKILL_STEPS) ** 2))


def skilled_text(prompt: str, skill: float, model: str, draw: Draw) -> str:
    """How the answer begins.

    A prompt without a sum is as hard as it is long: two steps at 50 characters, four at 350.
    """
    worked = work_out(prompt)
    steps = worked.steps if worked else math.log2(2 + len(prompt) / 25)
    is_right = draw("right") < chance_right(skill, steps)
    if worked is None:
        return stand_in(model, "a good" if is_right else "a poor")
    value = worked.value if is_right else near_miss(worked.value, draw("miss"))
    return f"{MARK}{worked.written} = {plain(value)}. "


def stand_in(model: str, which: str = "an") -> str:
    """How an answer begins that answers nothing."""
    return f"{MARK}No model was asked; this stands in for {which} answer of {model}. "


def stated_quality(answer: str) -> float | None:
    """1 for an answer that calls itself good, 0 for a poor one; None where it says nothing of that."""
    stated = _STATED.match(answer)
    return None if stated is None else float(stated[1] == "good")


def near_miss(value: Decimal, draw: float) -> Decimal:
    """The value with one of its first five digits off by one: for 685, 684 or 785, or 675, a carry forgotten."""
    places = min(len(value.as_tuple().digits), MISSED_PLACES)
    place, is_more = divmod(int(draw * places * 2), 2)
    off = Decimal(1).scaleb(value.adjusted() - place)
    return value + off if is_more else value - off
