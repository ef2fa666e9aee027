"""Grades of both sides' answers, from what the job says that judges: the right answer, a class, a check, a model.

Judging that computes works in a thread. What is asked of a model is in `verdicts`, how an answer is graded in the
room grade.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from batchroute.grade.match import reference_grade
from batchroute.grade.sides import JudgedRow, side_grades

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from batchroute.grade.match import Match
    from batchroute.grade.sides import SideGrades
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.types import Result


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row of the pilot with both sides' settled answers."""

    sampled: SampledRow
    strong: Result
    weak: Result

    def on(self, side: str) -> Result:
        return self.strong if side == "strong" else self.weak


@dataclass(frozen=True, slots=True)
class Graded:
    """The grades of rows, in their order; `order_agreement`: how often a judge said the same in both orders."""

    sides: SideGrades
    order_agreement: float | None = None


class Judge(Protocol):
    """What grades a pilot's answers."""

    async def grade(self, rows: Sequence[AnsweredRow]) -> Graded | None:
        """None: not all of them could be, because a lane ended before."""
        ...


@dataclass(frozen=True, slots=True)
class ReferenceJudge:
    """Holds answers against the right ones; `read` brings these, in the order of the rows."""

    match: Match
    read: Callable[[Sequence[SampledRow]], list[Any]]

    async def grade(self, rows: Sequence[AnsweredRow]) -> Graded:
        return Graded(await asyncio.to_thread(self._grade, rows))

    def _grade(self, rows: Sequence[AnsweredRow]) -> SideGrades:
        references = self.read([row.sampled for row in rows])
        judged = [
            JudgedRow(
                row.strong,
                row.weak,
                reference_grade(row.strong.response, reference, self.match),
                reference_grade(row.weak.response, reference, self.match),
            )
            for row, reference in zip(rows, references, strict=True)
        ]
        return side_grades(judged, "reference")
