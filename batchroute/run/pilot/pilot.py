"""The pilot of one run, step by step: drawn, asked of both sides, judged, decided, once or until enough is shown.

An answer is asked for once: when its row's turn comes, the answer of the row's own side is taken from the pilot's
`asking` as its result. Knows which step follows which; how each is done is in the modules beside.
"""

# Worked example, rows = "auto", max_rows = 2000, three of the looks:
#
#     look 0   rows    0..199 asked of both sides, judged     nothing below 100 % strong is shown
#     look 1   rows  200..399 asked as well, all 400 judged   75 % is shown, 70 % could be by 900 rows: go on
#     look 2   rows  400..799 asked as well, all 800 judged   70 % is shown, nothing lower is in sight: the end
#
# Killed amid look 1: the next run draws the same rows in the same order, finds the answers that are on file, asks
# the others, and comes to the same end.
#
# Where a router is learnt, say at look 2, 40 % of its 800 rows are part A: the router learns from them, and is
# chosen by them. From then on the promise is made on the others alone, which neither has seen.

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from batchroute.job.pilot import FIRST_AUTO_ROWS, JUDGE_NAME
from batchroute.learn.own.build import JOB
from batchroute.learn.own.parts import LEARNT_FROM, PROMISED, split_parts
from batchroute.quality.sample import draw
from batchroute.quality.shares import JobScores
from batchroute.report.quality import read_quality
from batchroute.run.pilot.asking import Asking
from batchroute.run.pilot.decide import Measured, Sampled, choose, describe
from batchroute.run.pilot.files import (
    promised_rows,
    read_grades,
    write_quality,
    write_rows,
    write_verdicts,
    write_watched,
)
from batchroute.run.pilot.judge import JudgedRows, open_judge
from batchroute.run.pilot.queue import RequestQueue
from batchroute.run.pilot.reuse import earlier_pilot, take_over, why_scores_differ
from batchroute.run.pilot.routers import learn, learns, other_scores, score_again, scores_at
from batchroute.run.pilot.sample import EligibleScores, places_of, read_rows
from batchroute.run.pilot.verdicts import ModelJudge
from batchroute.run.pilot.watch import WatchedGrades, WatchedRows, watch_figures
from batchroute.store.tally import known_usd
from batchroute.types import SIDES, PilotProgress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.input.open import Source
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.quality.promise import Choice
    from batchroute.report.quality import Quality
    from batchroute.run.pilot.judge import AnsweredRow, Judge, JudgeGrades
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.send.request import Delivery, Request
    from batchroute.store.directory import RunDirectory
    from batchroute.store.pilot import PilotStore
    from batchroute.store.scores import Scores
    from batchroute.types import Floats, PilotStage


class Pilot:
    """Of one run, once; belongs to its event loop."""

    def __init__(
        self,
        job: Job,
        spec: PilotSpec,
        targets: Mapping[str, Target],
        source: Source,
        directory: RunDirectory,
        store: PilotStore,
        *,
        limit: int | None,
        reserves: bool,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `reserves`: a budget has to hold for each."""
        self.asking = Asking(job.endpoints, targets, store, reserves=reserves)
        self._spec = spec
        self._store = store
        share, seed = self._spec.watch, self._spec.seed
        self.watch = WatchedRows(job.endpoints, targets, store, share=share, seed=seed) if share else None
        self._job = job
        self._source = source
        self._directory = directory
        self._limit = limit
        self._stage: PilotStage | None = None
        self._why_new: str | None = None  # where there is an earlier pilot that does not fit
        self.router = directory.identity.router or JOB
        self.scores: Scores = directory.scores  # the router's
        self._judge_queue = RequestQueue()
        self._model: ModelJudge | None = None
        if self._spec.endpoint is not None:
            target = targets[JUDGE_NAME]
            self._model = ModelJudge(
                self._spec, self._spec.endpoint, target, store, self._judge_queue, reserves=reserves
            )
        self._judge: Judge | None = self._model  # another one is opened where it is needed

    def progress(self) -> PilotProgress | None:
        """How far it is; None before and after."""
        if self._stage is None:
            return None
        queues = [self._judge_queue] if self._stage == "judging" else list(self.asking.queues.values())
        return PilotProgress(
            self._stage, sum(queue.settled for queue in queues), sum(queue.wanted for queue in queues)
        )

    async def deliver_to_judge(self, lane: Delivery[Request]) -> None:
        """All that the judge is asked, by its lane, until the pilot is at its end."""
        if self._model is not None:
            await self._model.deliver(lane)

    def close(self) -> None:
        """Nothing more is asked, of the judge neither; all that it said is left to be read."""
        self.asking.close()
        self._judge_queue.close()
        self._write_verdicts()

    async def run(self, threshold: float | None) -> Quality | None:
        """To its end; `threshold` is the job's own, where it has one. None: a lane ended before."""
        reused = None if self._spec.reuse is None else await self._reused(threshold)
        if reused is not None:
            return reused
        shares = await self._shares()
        rows = await asyncio.to_thread(self._draw)
        scores = np.array([row.score for row in rows], np.float64)
        parts = np.full(len(rows), PROMISED)
        steps = self._steps(len(rows))
        looks = np.searchsorted(steps, np.arange(len(rows)), "right")
        has_learnt = self.router != JOB
        for look, count in enumerate(steps):
            judged = await self._judged(rows[:count])
            if judged is None:
                return None
            if not has_learnt and learns(self._spec, count):
                has_learnt = True
                looks = looks.clip(look)  # what was looked at before had other scores
                parts[:count] = split_parts(np.array([row.stratum for row in rows[:count]]), self._spec.seed)
                if await self._learn(Measured.of(judged, scores[:count], parts[:count], looks[:count])):
                    shares = await self._shares()
                    scores = scores_at(self.scores.parts, np.array([row.place for row in rows]))
            measured = Measured.of(judged, scores[:count], parts[:count], looks[:count]).of_part(PROMISED)
            choice = await asyncio.to_thread(choose, self._job, measured, shares, len(steps))
            if count == steps[-1] or choice is None or choice.is_settled(steps[-1]):
                asked = Sampled.of(judged, self._judge_usd())
                found = await asyncio.to_thread(self._described, measured, shares, choice, asked, threshold)
                await asyncio.to_thread(self._write, judged, scores[:count], parts[:count].tolist(), found)
                self._stage = None
                return found
        return None

    async def _reused(self, threshold: float | None) -> Quality | None:
        """What an earlier run's pilot shows of this night's scores; None where it does not fit."""
        earlier = earlier_pilot(self._job, self._spec)
        if isinstance(earlier, str):
            self._why_new = earlier
            return None
        layout = self._directory.layout
        await asyncio.to_thread(take_over, earlier, layout)
        if earlier.found.router != JOB and self.router == JOB:
            self.router = earlier.found.router
            self.scores = await score_again(self.router, self._job, layout, self._source, self._limit)
        self._why_new = await asyncio.to_thread(why_scores_differ, earlier, self.scores.free())
        if self._why_new is not None:
            self.router, self.scores = self._directory.identity.router or JOB, self._directory.scores
            await asyncio.to_thread(shutil.rmtree, layout.own_router, ignore_errors=True)
            return None
        measured = Measured.of_table(promised_rows(layout))
        shares = dataclasses.replace(await self._shares(), is_sampled=False)
        choice = await asyncio.to_thread(choose, self._job, measured, shares, 1)
        asked = Sampled(0, earlier.found.order_agreement, {})
        described = await asyncio.to_thread(self._described, measured, shares, choice, asked, threshold)
        found = replace(described, reused=self._spec.reuse)
        await asyncio.to_thread(write_quality, layout, found)
        return found

    def _described(
        self, measured: Measured, shares: JobScores, choice: Choice | None, asked: Sampled, threshold: float | None
    ) -> Quality:
        layout = self._directory.layout
        others = other_scores(self.router, self._job, layout, measured.texts)
        found = describe(self._job, self._spec, self.router, measured, shares, choice, asked, threshold, others)
        return replace(found, why_new=self._why_new)

    def has_watch_left(self) -> bool:
        """Whether nothing says yet what the watched rows show, as where a run ended just before it was known."""
        found = read_quality(self._directory.layout.path)
        return self.watch is not None and found is not None and found.watch is None

    async def report_watch(self) -> None:
        """Grades the watched rows, when all rows have their ends, and puts what was kept on file."""
        layout, parts = self._directory.layout, self._directory.scores.parts
        found = read_quality(layout.path)
        if self.watch is None or found is None:
            return
        places = await asyncio.to_thread(places_of, parts, self.watch.answered_rows())
        rows = await asyncio.to_thread(read_rows, self._source, parts, places, np.zeros_like(places))
        both = [answered for row in rows if (answered := self.watch.answered(row)) is not None]
        self._stage = "judging"
        graded = await self._grade([row for row, _ in both])
        self._stage = None
        if graded is not None:
            judged = JudgedRows([row for row, _ in both], graded)
            await asyncio.to_thread(self._write_watch, judged, [route for _, route in both], found)

    def _write_watch(self, judged: JudgedRows, routes: Sequence[str], found: Quality) -> None:
        layout, threshold = self._directory.layout, self._directory.identity.threshold
        write_watched(layout, judged, routes)
        # An earlier night's rows say nothing of what was kept in this one.
        scores, strong, weak = (np.zeros(0),) * 3 if found.reused else read_grades(layout.pilot_rows)
        graded = np.flatnonzero(~np.isnan(judged.graded.sides.strong))
        grades = WatchedGrades(
            np.concatenate((strong, judged.graded.sides.strong[graded])),
            np.concatenate((weak, judged.graded.sides.weak[graded])),
            [*(SIDES[not score >= threshold] for score in scores), *(routes[row] for row in graded.tolist())],
        )
        figures = watch_figures(grades, found.confidence)
        broken = found.target is not None and figures.high is not None and figures.high < found.target
        write_quality(layout, replace(found, watch=figures, broken=broken))

    async def _judged(self, rows: Sequence[SampledRow]) -> JudgedRows | None:
        """Both sides' answers to these rows, with their grades; None where a lane ended before."""
        self._stage = "asking"
        if not await self.asking.ask(rows):
            return None
        self._stage = "judging"
        answered = [self.asking.answered(row) for row in rows]
        graded = await self._grade(answered)
        self._stage = "deciding"
        return None if graded is None else JudgedRows(answered, graded)

    async def _learn(self, measured: Measured) -> bool:
        """Whether another router than the job's is to route, whose scores are there then.

        A job without a target has a threshold that belongs to its own router's scores, and keeps that.
        """
        layout = self._directory.layout
        chosen = await asyncio.to_thread(learn, self._job, layout, measured.of_part(LEARNT_FROM), self._spec.seed)
        if chosen == JOB or self._job.routing.quality is None:
            return False
        self.router = chosen
        self.scores = await score_again(chosen, self._job, layout, self._source, self._limit)
        return True

    async def _shares(self) -> JobScores:
        return await asyncio.to_thread(JobScores.read, self._eligible())

    def _eligible(self) -> EligibleScores:
        return EligibleScores(self.scores.parts, self._job.endpoints, self._limit)

    def _judge_usd(self) -> float:
        return float(sum(map(known_usd, self._store.of("verdict")), Decimal(0)))

    def _draw(self) -> list[SampledRow]:
        drawn = draw(self._eligible(), self._spec.most_rows, self._spec.seed)
        return read_rows(self._source, self._directory.scores.parts, drawn.places, drawn.strata)

    def _steps(self, rows: int) -> list[int]:
        """How many rows have been asked at the end of each look."""
        if self._spec.rows != "auto":
            return [rows]
        steps = [FIRST_AUTO_ROWS]
        while steps[-1] < rows:
            steps.append(2 * steps[-1])
        return [*steps[:-1], rows]

    async def _grade(self, rows: Sequence[AnsweredRow]) -> JudgeGrades | None:
        if self._judge is None:
            given = (self._job, self._spec, self._source, self._directory.scores, self._store)
            self._judge = await asyncio.to_thread(open_judge, *given)
        return await self._judge.grade(rows)

    def _write(self, judged: JudgedRows, scores: Floats, parts: Sequence[str], found: Quality) -> None:
        self._write_verdicts()
        write_rows(self._directory.layout, judged, scores, parts)
        write_quality(self._directory.layout, found)

    def _write_verdicts(self) -> None:
        if self._model is not None:
            write_verdicts(self._directory.layout, self._model.lines())
