"""The pilot of one run, step by step: drawn, asked of both sides, judged, decided, once or until enough is shown.

    Pilot.requests(name)  what a lane is to ask before anything else    Pilot.settle, leave  what becomes of it
    Pilot.run             the steps; its end is what was found          Pilot.take           an answer for its row

An answer is asked for once: when the row's turn comes, its own side's answer is taken from here as its result.
"""

# Worked example, rows = "auto", max_rows = 2000, three of the looks:
#
#     look 0   rows    0..199 asked of both sides, judged     nothing below 100 % strong is shown
#     look 1   rows  200..399 asked as well, all 400 judged   75 % is shown, 70 % could be by 900 rows: go on
#     look 2   rows  400..799 asked as well, all 800 judged   70 % is shown, nothing lower is in sight: the end
#
# Killed amid look 1: the next run draws the same rows in the same order, finds the answers that are on file, asks
# the others, and comes to the same end.

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from batchroute.grade.check import load_check
from batchroute.grade.custom import load_grader
from batchroute.input.keep import unpack
from batchroute.job.pilot import FIRST_AUTO_ROWS, JUDGE_NAME
from batchroute.quality.sample import draw
from batchroute.quality.shares import JobScores
from batchroute.run.feed import RequestWriter
from batchroute.run.pilot.answers import PilotAnswers
from batchroute.run.pilot.decide import Measured, choose, describe
from batchroute.run.pilot.files import write_quality, write_rows
from batchroute.run.pilot.judge import AnsweredRow, OwnJudge, ReferenceJudge, grades_of_check
from batchroute.run.pilot.queue import RequestQueue
from batchroute.run.pilot.sample import EligibleScores, read_column, read_rows
from batchroute.run.pilot.verdicts import ModelJudge
from batchroute.run.pilot_fit import open_references
from batchroute.run.settle import never_sent, settled
from batchroute.send.classify import stop_reason
from batchroute.send.tokens import estimate_tokens
from batchroute.types import PilotProgress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import Any

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.run.pilot.judge import Graded, Judge
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.send.request import Delivery, Outcome, Request, Spent
    from batchroute.store.directory import RunDirectory
    from batchroute.store.pilot import PilotStore
    from batchroute.types import PilotStage, Result, StopReason


@dataclass(frozen=True, slots=True)
class _Judged:
    rows: list[AnsweredRow]
    graded: Graded


class Pilot:
    """Of one run, once; belongs to its event loop."""

    def __init__(
        self,
        job: Job,
        targets: Mapping[str, Target],
        source: Source,
        directory: RunDirectory,
        store: PilotStore,
        *,
        limit: int | None,
        reserves: bool,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `reserves`: a budget has to hold for each."""
        assert job.pilot is not None, "only a job with a pilot has one"  # noqa: S101
        self._spec = job.pilot
        self._job = job
        self._targets = targets
        self._source = source
        self._directory = directory
        self._limit = limit
        self._answers = PilotAnswers(store, targets, "pilot")
        self._writers = {
            name: RequestWriter(spec, targets[name].pricing if reserves else None)
            for name, spec in job.endpoints.items()
        }
        self._queues = {name: RequestQueue() for name in job.endpoints.names}
        self._asked: set[tuple[str, str, int]] = set()  # by this run
        self._judge_queue = RequestQueue()
        self._stage: PilotStage | None = None
        self._model: ModelJudge | None = None
        if self._spec.endpoint is not None:
            target = targets[JUDGE_NAME]
            self._model = ModelJudge(
                self._spec, self._spec.endpoint, target, store, self._judge_queue, reserves=reserves
            )

    def progress(self) -> PilotProgress | None:
        """How far it is; None before and after."""
        if self._stage is None:
            return None
        queues = [self._judge_queue] if self._stage == "judging" else list(self._queues.values())
        return PilotProgress(
            self._stage, sum(queue.settled for queue in queues), sum(queue.wanted for queue in queues)
        )

    def requests(self, name: str, delivery: Delivery[Request]) -> AsyncGenerator[Request, None]:
        """What an endpoint is to be asked, until the pilot is at its end."""
        return self._queues[name].requests(delivery)

    async def deliver_to_judge(self, lane: Delivery[Request]) -> None:
        """All that the judge is asked, by its lane, until the pilot is at its end."""
        if self._model is not None:
            await self._model.deliver(lane)

    def settle(self, name: str, request: Request, outcome: Outcome) -> StopReason | None:
        """Puts an answer on file; a reason where the endpoint, or the budget, can do no more."""
        self._answers.put(name, request, outcome)
        if outcome.status != "open":
            self._queues[name].done()
            return None
        self._queues[name].left()
        return stop_reason(outcome.answer)

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """A request stays undone."""
        self._answers.leave(name, request, spent)
        self._queues[name].left()

    def ended(self, name: str) -> None:
        """Nothing more comes from an endpoint."""
        self._queues[name].ended()

    def has(self, name: str, request: Request) -> bool:
        """Whether there is an answer to take."""
        return self._answers.can_take(name, request)

    def take(self, name: str, request: Request) -> Outcome | None:
        """The answer that the pilot has for a row, to be settled as its result; None where it has to be asked."""
        return self._answers.take(name, request)

    async def run(self, threshold: float | None) -> Quality | None:
        """To its end; `threshold` is the job's own, where it has one. None: a lane ended before."""
        scores = EligibleScores(self._directory.scores.shards, self._job.endpoints, self._limit)
        shares = await asyncio.to_thread(JobScores.read, scores)
        rows = await asyncio.to_thread(self._draw, scores)
        steps = self._steps(len(rows))
        # The looks of rows that are asked in a later one are not known yet, nor looked at.
        looks = np.searchsorted(steps, np.arange(len(rows)), "right")
        for count in steps:
            judged = await self._judged(rows[:count])
            if judged is None:
                return None
            self._stage = "deciding"
            measured = Measured.of(judged.rows, judged.graded, looks[:count])
            choice = await asyncio.to_thread(choose, self._job, measured, shares, len(steps))
            if count == steps[-1] or choice is None or choice.is_settled(steps[-1]):
                quality = describe(self._job, measured, shares, choice, graded=judged.graded, threshold=threshold)
                await asyncio.to_thread(self._write, judged, quality)
                return quality
        return None

    async def _judged(self, rows: Sequence[SampledRow]) -> _Judged | None:
        """Both sides' answers to these rows, with their grades; None where a lane ended before."""
        self._stage = "asking"
        if not await self._ask(rows):
            return None
        self._stage = "judging"
        answered = [self._answered(row) for row in rows]
        graded = await self._judge().grade(answered)
        return None if graded is None else _Judged(answered, graded)

    def close(self) -> None:
        """Nothing more is asked."""
        self._stage = None
        for queue in (*self._queues.values(), self._judge_queue):
            queue.close()

    def _draw(self, scores: EligibleScores) -> list[SampledRow]:
        drawn = draw(scores, self._spec.most_rows, self._spec.seed)
        return read_rows(self._source, self._directory.scores.shards, drawn)

    def _steps(self, rows: int) -> list[int]:
        """How many rows have been asked at the end of each look."""
        if self._spec.rows != "auto":
            return [rows]
        steps = [FIRST_AUTO_ROWS]
        while steps[-1] < rows:
            steps.append(2 * steps[-1])
        return [*steps[:-1], rows]

    def _request(self, name: str, row: SampledRow) -> Request:
        tokens = int(estimate_tokens(row.chars))
        write = self._writers[name]
        request = write(row.prompt, row.score, "score", chars=row.chars, tokens=tokens, attempts=0)
        earlier = self._answers.find(name, request)
        attempts = 0 if earlier is None else earlier.attempts
        return msgspec.structs.replace(request, attempts=attempts, sampled=True)

    async def _ask(self, rows: Sequence[SampledRow]) -> bool:
        """Whether all of them came to their ends on both sides."""
        for name, queue in self._queues.items():
            for row in rows:
                request = self._request(name, row)
                place = (name, row.prompt.file, row.prompt.row)
                if place in self._asked or request.prompt.refusal or self._answers.has_ended(name, request):
                    continue
                self._asked.add(place)
                queue.put(request)
        return all([await queue.drained() for queue in self._queues.values()])

    def _answered(self, row: SampledRow) -> AnsweredRow:
        strong, weak = (self._result(name, row) for name in self._queues)
        return AnsweredRow(row, strong, weak)

    def _result(self, name: str, row: SampledRow) -> Result:
        request, target = self._request(name, row), self._targets[name]
        outcome = self._answers.find(name, request)
        if outcome is None:
            return never_sent(request, target, None, 0)
        return settled(request, outcome, target, None, 0, raw=False)

    def _judge(self) -> Judge:
        if self._model is not None:
            return self._model
        if self._spec.judge == "reference":
            return ReferenceJudge(self._spec.match, self._references)
        if self._spec.judge == "check" and self._job.check is not None:
            return OwnJudge(grades_of_check(load_check(self._job.check)), self._kept)
        return OwnJudge(load_grader(self._spec.judge).grades, self._kept)

    def _kept(self, messages: Sequence[bytes]) -> list[dict[str, Any]]:
        schema = self._source.keep_schema
        return unpack(messages, schema).to_pylist() if len(schema) else [{} for _ in messages]

    def _references(self, rows: Sequence[SampledRow]) -> list[Any]:
        source = open_references(self._job)
        assert source is not None, "only this judge reads right answers"  # noqa: S101
        return read_column(source, self._directory.scores.shards, np.array([row.place for row in rows]))

    def _write(self, judged: _Judged, quality: Quality) -> None:
        write_rows(self._directory.layout, judged.rows, judged.graded, ["B"] * len(judged.rows))
        write_quality(self._directory.layout, quality)
