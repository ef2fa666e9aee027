"""What a pilot costs beside the rows' own answers: the other side's answer to each of its rows, and the judge.

Each row that is drawn is asked on both sides, and the answer of the side that it is routed to becomes its result:
one of the two is beside, and which one is only known when the pilot has decided. Knows no rows, only what was
added up of them.
"""

# Worked example: 400 rows, an answer costs $0.010 on the strong side and $0.001 on the weak one, and a judge that
# gives points $0.002 a question, two a row.
#
#     all strong in the end   400 weak answers beside     0.40
#     all weak in the end     400 strong answers beside   4.00    in the middle (0.010 + 0.001) / 2 * 400 = 2.20
#     the judge               800 questions               1.60
#
# So it is expected to cost 3.80, between 2.00 and 5.60; the other 400 answers are results, and on no extra bill.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.pilot import FIRST_AUTO_ROWS
from batchroute.route.forecast.assumptions import NANO
from batchroute.route.forecast.evidence import Band

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.pilot import PilotSpec
    from batchroute.route.forecast.assumptions import Assumptions

# Tokens of a verdict: why in a sentence or two, and what it is; a model that reasons thinks about it first.
VERDICT_TOKENS = Band(40, 100, 500)
NOTHING = Band(0, 0, 0)


@dataclass(frozen=True, slots=True)
class EligibleRows:
    """The rows that may be drawn: how many they are, and means over them.

    `answer_nano` by side is what an answer costs, in nano-dollars; `shown_chars` what a judge sees of a
    conversation.
    """

    rows: int
    answer_nano: Mapping[str, Band]
    shown_chars: float


@dataclass(frozen=True, slots=True)
class Judging:
    """A judge that is a model: its `questions` about a row, each with so many `answers` and `words` of ours.

    `words` are characters.
    """

    assumed: Assumptions
    questions: int
    answers: int
    words: int


@dataclass(frozen=True, slots=True)
class PilotCost:
    """USD beside the rows' own answers; None is unknown, as where a price is.

    `rows` are asked at most, of `eligible`; `judge_usd` is a part of `cost_usd`. `watch_usd` is for `watch_rows`
    later ones, and not in it. `time_s` is what the pilot takes before the other rows are asked.
    """

    rows: int
    eligible: int
    cost_usd: Band | None
    judge_usd: Band | None
    time_s: float = 0.0
    watch_rows: int = 0
    watch_usd: Band | None = NOTHING

    @property
    def total_usd(self) -> Band | None:
        """Of the pilot and of the watched rows."""
        return None if self.cost_usd is None or self.watch_usd is None else self.cost_usd.plus(self.watch_usd)


def pilot_cost(
    pilot: PilotSpec, eligible: EligibleRows, assumed: Mapping[str, Assumptions], judging: Judging | None
) -> PilotCost:
    """What is to be expected; `judging` None: no model judges.

    Of rows = "auto" the first look may settle it, and nothing is paid where an earlier pilot still fits: `low`.
    """
    most = min(pilot.most_rows, eligible.rows)
    least = min(FIRST_AUTO_ROWS, most) if pilot.rows == "auto" else most
    if pilot.reuse is not None:
        least = 0
    watched = round(pilot.watch * (eligible.rows - most))
    is_priced = all(of_side.pricing is not None for of_side in assumed.values())
    judge = NOTHING if judging is None else _judge_nano(eligible, assumed, judging)
    per_row = None if judge is None or not is_priced else _other_answer(eligible).plus(judge)
    return PilotCost(
        rows=most,
        eligible=eligible.rows,
        cost_usd=None if per_row is None else _times(per_row, least, most),
        judge_usd=None if judge is None else _times(judge, least, most),
        time_s=_time_s(most, eligible, assumed, judging),
        watch_rows=watched,
        watch_usd=NOTHING if not watched else None if per_row is None else _times(per_row, watched, watched),
    )


def _other_answer(eligible: EligibleRows) -> Band:
    """Nano-dollars of the answer that does not become a row's result: that of the cheaper side, or the dearer."""
    low, mid, high = zip(*eligible.answer_nano.values(), strict=True)
    return Band(min(low), sum(mid) / len(mid), max(high))


def _judge_nano(eligible: EligibleRows, assumed: Mapping[str, Assumptions], judging: Judging) -> Band | None:
    """Nano-dollars of a row's questions to the judge; None where its price is unknown."""
    if judging.assumed.pricing is None:
        return None
    answers = judging.answers / len(assumed)  # of each side, in one question
    chars = [
        judging.words
        + eligible.shown_chars
        + answers * sum(side.completion_tokens[end] / side.tokens_per_char.mid for side in assumed.values())
        for end in range(len(Band._fields))
    ]
    costs = judging.assumed.costs(np.rint(chars).astype(np.int64))
    return Band(*(judging.questions * float(cost) for cost in np.diag(costs)))


def _time_s(
    rows: int, eligible: EligibleRows, assumed: Mapping[str, Assumptions], judging: Judging | None
) -> float:
    """Both sides at once, then the judge."""
    asking_s = max(side.time_s(rows, rows * eligible.shown_chars) for side in assumed.values())
    if judging is None:
        return asking_s
    questions = judging.questions * rows
    return asking_s + judging.assumed.time_s(questions, questions * (judging.words + eligible.shown_chars))


def _times(nano: Band, least: int, most: int) -> Band:
    """USD of so many rows."""
    return Band(least * nano.low / NANO, most * nano.mid / NANO, most * nano.high / NANO)
