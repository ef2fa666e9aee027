"""Grades of both sides' answers, from what the job says that judges: the right answer, a class, a check, a model.

Judging that computes works in a thread. What is asked of a model is in `verdicts`, how an answer is graded in the
room grade.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from batchroute.grade.check import load_check
from batchroute.grade.custom import grade_row, load_grader
from batchroute.grade.match import reference_grade
from batchroute.grade.sides import JudgedRow, came, side_grades
from batchroute.input.keep import unpack
from batchroute.run.pilot.fit import open_references
from batchroute.run.pilot.sample import read_column
from batchroute.store.pilot import PilotRecord
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from batchroute.grade.check import Check
    from batchroute.grade.match import Match
    from batchroute.grade.sides import SideGrades
    from batchroute.input.open import Source
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.spec import Job
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.store.pilot import PilotStore
    from batchroute.store.scores import Scores
    from batchroute.types import Floats, Result


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row of the pilot with both sides' settled answers."""

    sampled: SampledRow
    strong: Result
    weak: Result

    def on(self, side: str) -> Result:
        return self.strong if side == "strong" else self.weak


@dataclass(frozen=True, slots=True)
class JudgeGrades:
    """The grades of rows, in their order; `order_agreement`: how often a judge said the same in both orders."""

    sides: SideGrades
    order_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Rows of a pilot with their grades, in one order."""

    rows: Sequence[AnsweredRow]
    graded: JudgeGrades


class Judge(Protocol):
    """What grades a pilot's answers."""

    async def grade(self, rows: Sequence[AnsweredRow]) -> JudgeGrades | None:
        """None: not all of them could be, because a lane ended before."""
        ...


@dataclass(frozen=True, slots=True)
class ReferenceJudge:
    """Holds answers against the right ones; `read` brings these, in the order of the rows."""

    match: Match
    read: Callable[[Sequence[SampledRow]], list[Any]]

    async def grade(self, rows: Sequence[AnsweredRow]) -> JudgeGrades:
        return JudgeGrades(await asyncio.to_thread(self._grade, rows))

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


@dataclass(frozen=True, slots=True)
class OwnJudge:
    """Has the answers that came graded all at once, by a class or a check of the user's.

    `grades` takes them as `grade.custom.grade_row` makes them; `kept` unpacks the kept columns of rows. Each grade
    is put in the `store`, as a user's code may grade otherwise the next time, and what was decided has to stand.
    """

    grades: Callable[[Sequence[dict[str, Any]]], Floats]
    kept: Callable[[Sequence[bytes]], list[dict[str, Any]]]
    store: PilotStore

    async def grade(self, rows: Sequence[AnsweredRow]) -> JudgeGrades:
        return JudgeGrades(await asyncio.to_thread(self._grade, rows))

    def _grade(self, rows: Sequence[AnsweredRow]) -> SideGrades:
        missing = [
            (row, side) for side in SIDES for row in rows if came(row.on(side)) and self._known(row, side) is None
        ]
        kept = self.kept([row.sampled.prompt.keep for row, _ in missing])
        given = [
            grade_row(columns, row.sampled.prompt.messages, row.on(side), side)
            for columns, (row, side) in zip(kept, missing, strict=True)
        ]
        for (row, side), grade in zip(missing, self.grades(given).tolist() if given else (), strict=True):
            prompt = row.sampled.prompt
            payload = msgspec.msgpack.encode(grade)
            self.store.put(PilotRecord("verdict", side, prompt.file, prompt.row, cost_usd=0.0, payload=payload))
        judged = [JudgedRow(row.strong, row.weak, *(self._known(row, side) for side in SIDES)) for row in rows]
        return side_grades(judged, "own")

    def _known(self, row: AnsweredRow, side: str) -> float | None:
        prompt = row.sampled.prompt
        record = self.store.get("verdict", side, prompt.file, prompt.row)
        return None if record is None else msgspec.msgpack.decode(record.payload, type=float)


def open_judge(
    job: Job, pilot: PilotSpec, source: Source, scores: Scores, store: PilotStore
) -> ReferenceJudge | OwnJudge:
    """The judge of a job, where it is no model; ModelFault where the user's code cannot be loaded."""

    def right_answers(references: Source, rows: Sequence[SampledRow]) -> list[Any]:
        return read_column(references, scores.parts, np.array([row.place for row in rows]))

    def kept_columns(messages: Sequence[bytes]) -> list[dict[str, Any]]:
        schema = source.keep_schema
        return unpack(messages, schema).to_pylist() if len(schema) else [{} for _ in messages]

    if (references := open_references(job)) is not None:
        return ReferenceJudge(pilot.match, partial(right_answers, references))
    if job.check is not None:
        return OwnJudge(grades_of_check(load_check(job.check)), kept_columns, store)
    return OwnJudge(load_grader(pilot.judge).grades, kept_columns, store)


def grades_of_check(check: Check) -> Callable[[Sequence[dict[str, Any]]], Floats]:
    """[n] 1 for each answer in which a check finds no fault, 0 for the others."""
    return lambda rows: np.array([float(check.fault(row, row["response"]) is None) for row in rows])
