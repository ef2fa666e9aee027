"""From scores to routes: the threshold of a run, and what can only be done once it is known.

Knows no lanes: these wait for the threshold, and begin when it is there.

    threshold named or settled on before    the lanes begin at once, while rows are still scored
    reuse, or on_budget = "downgrade"       ... when all scores are known, as both depend on the whole input
    a share, or a budget                    ... when all scores are known and the threshold is found by them
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError
from batchroute.learn.own.build import JOB
from batchroute.report.quality import read_quality
from batchroute.report.ties import tie_at
from batchroute.route.downgrade import open_downgrade
from batchroute.route.forecast.estimator import make_estimator, resolve_threshold
from batchroute.run.feed import rows_to_ask
from batchroute.run.pilot.found import chosen_threshold
from batchroute.run.pilot.routers import identity_of_scores
from batchroute.run.resolved import refuse_moved
from batchroute.send.reuse import Reuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.route.downgrade import Downgrade
    from batchroute.route.forecast.estimator import Estimator
    from batchroute.run.pilot.pilot import Pilot
    from batchroute.run.progress import Progress
    from batchroute.run.scoring import Scoring
    from batchroute.run.shard import ShardRun
    from batchroute.run.stop import Stopper
    from batchroute.send.budget import Budget
    from batchroute.send.reuse import AnsweredParts
    from batchroute.store.directory import RunDirectory
    from batchroute.store.rows import DoneRows

UNPROVEN = 'ask more rows (pilot.rows), lower routing.quality, or set limits.on_unproven = "strong"'


class Routing:
    """Of one run, once: scores its input, then sets the `threshold`, unless something stops it before."""

    def __init__(
        self,
        job: Job,
        targets: Mapping[str, Target],
        source: Source,
        directory: RunDirectory,
        scoring: Scoring,
        rows: ShardRun,
        progress: Progress,
        budget: Budget | None,
        stopper: Stopper,
        *,
        limit: int | None,
        notify: Callable[[str], None],
        pilot: Pilot | None = None,
        pilot_only: bool = False,
    ) -> None:
        """`limit` is how many rows of the input are wanted at all; `notify` takes what a user must see at once.

        `pilot_only`: the threshold is not set, so that no row is asked but those of the pilot.
        """
        self.threshold: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._job = job
        self._targets = targets
        self._source = source
        self._directory = directory
        self._store = directory.store
        self._scores = directory.scores
        self._scoring = scoring
        self._rows = rows
        self._progress = progress
        self._budget = budget
        self._stopper = stopper
        self._limit = limit
        self._notify = notify
        self._pilot = pilot
        self._pilot_only = pilot_only

    def is_complete(self) -> bool:
        """Whether no row is left to ask, or to grade; those done may be others than the first `limit`."""
        rows = self._scoring.wanted_rows
        if self._pilot is not None and not self._pilot_only and self._pilot.has_watch_left():
            return False
        if rows is None or self._store.tally.done < rows:
            return False
        if self._limit is None:
            return not self._store.unsettled
        any_threshold = 0.0  # each row is on one of the sides
        return not any(self._rows_to_ask(any_threshold, self._store.done).values())

    async def run(self, answered: AnsweredParts) -> None:
        """Scores and routes; a fault of the input, the router or the threshold stops the run in order."""
        try:
            await self._score_and_route(answered)
        except BatchrouteError as fault:
            self._stopper.fail(fault)

    async def _score_and_route(self, answered: AnsweredParts) -> None:
        """Scores the input, then settles the threshold where something depends on the whole input."""
        known, done_before = self._known_threshold(), self._store.done.copy()
        if known is not None and not self._job.input.reuse and not self._downgrades and self._pilot is None:
            self.threshold.set_result(known)
        await self._scoring.run(parallel=not self.threshold.done())  # else lanes that send need a core
        if self._scoring.stopped is not None:
            self._stopper.reasons.append(f"the embedder stopped: {self._scoring.stopped}")
        if not self._scoring.complete:
            return
        self._progress.rows = self._scoring.wanted_rows
        if self._pilot is not None and self._pilot.watch is not None:
            self._pilot.watch.limit_to(self._scores.rows)
        threshold = await self._settled_threshold()
        if threshold is None:
            return
        await asyncio.to_thread(self._fix, threshold)
        await self._route(threshold, answered, done_before)

    async def _route(self, threshold: float, answered: AnsweredParts, done_before: DoneRows) -> None:
        """What can only be done when all is scored; then the lanes begin, where they have waited for it."""
        if answered.parts and not self.threshold.done():
            folder = self._directory.layout.path
            with contextlib.closing(await asyncio.to_thread(Reuse, answered, folder)) as reuse:
                await self._rows.take_over(reuse, threshold)
            done_before = self._store.done
        for name, rows in (await asyncio.to_thread(self._rows_to_ask, threshold, done_before)).items():
            self._progress.lanes[name].rows = rows
        if self._budget is not None and self._downgrades:
            self._rows.move_by(await asyncio.to_thread(self._open_downgrade, self._budget, threshold))
        if not self.threshold.done():
            self.threshold.set_result(threshold)

    async def _settled_threshold(self) -> float | None:
        """The threshold to route by; None where none is to be, or a lane ended before the pilot could tell."""
        known, target = self._known_threshold(), self._job.routing.quality
        if known is None and target is None:
            known = await asyncio.to_thread(self._resolve_threshold)
        if self._pilot is None:
            return known
        quality = read_quality(self._directory.layout.path)
        if known is None or quality is None or self._is_of_another(quality, known):
            quality = await self._pilot.run(known)
        self._pilot.asking.close()
        if quality is None or self._pilot_only:
            return None
        return known if known is not None else await self._by_target(self._pilot, quality)

    def _fix(self, threshold: float) -> None:
        """On file from now on, with the router whose scores it belongs to."""
        rows, limit, pilot = self._scores.rows, self._limit, self._pilot
        if pilot is None or pilot.router in {JOB, self._directory.identity.router}:
            self._directory.fix_threshold(threshold, rows, limit)
            return
        scorer = identity_of_scores(pilot.router, self._job, self._directory.layout)
        self._directory.route_by(pilot.router, scorer, threshold, rows, limit)

    def _is_of_another(self, quality: Quality, threshold: float) -> bool:
        """Whether a pilot that only measures did so before the routing was changed."""
        return self._job.routing.quality is None and (quality.target, quality.threshold) != (None, threshold)

    async def _by_target(self, pilot: Pilot, quality: Quality) -> float | None:
        """What the pilot chose for routing.quality; None where the job stops as nothing could be shown."""
        if quality.verdict == "all strong":
            self._notify(f"pilot: {quality.brief}")
        if quality.verdict == "all strong" and self._job.limits.on_unproven == "stop":
            self._stopper.stop(f"the pilot could not show routing.quality = {quality.target}; {UNPROVEN}")
            return None
        threshold = await asyncio.to_thread(chosen_threshold, quality, pilot.scores.free())
        if threshold is not None:
            await asyncio.to_thread(self._refuse_moved, threshold)
        return threshold

    def _refuse_moved(self, threshold: float) -> None:
        run, identity = self._directory.layout.path, self._directory.identity
        refuse_moved(run, identity, threshold, self._scores.rows, sent=self._stopper.sent > 0)

    def _known_threshold(self) -> float | None:
        """The one that the job names, or that an earlier run here settled on for as many rows."""
        routing = self._job.routing.threshold
        return self._directory.identity.threshold_for(self._scoring.wanted_rows) if routing is None else routing

    def _resolve_threshold(self) -> float:
        """Of more rows than an earlier run settled on, where each of its answers stays on its side."""
        threshold = resolve_threshold(self._job.routing, self._scores.free(), self._estimator)
        self._refuse_moved(threshold)
        if tie := tie_at(self._scores.free(), threshold, self._job.routing.strong_fraction):
            self._notify(tie.words)
        return threshold

    def _estimator(self) -> Estimator:
        return make_estimator(self._job, self._targets, self._source, self._scores.parts)

    @property
    def _downgrades(self) -> bool:
        return self._budget is not None and self._job.limits.on_budget == "downgrade"

    def _open_downgrade(self, budget: Budget, threshold: float) -> Downgrade:
        endpoints, parts, limit = self._job.endpoints, self._scores.parts, self._limit
        assumed = self._estimator().assumed
        return open_downgrade(endpoints, assumed, parts, self._store, budget, threshold=threshold, limit=limit)

    def _rows_to_ask(self, threshold: float, done: DoneRows) -> dict[str, int]:
        return rows_to_ask(
            self._scores.parts,
            threshold,
            self._job.endpoints,
            done,
            self._store.handed_over,
            self._limit,
        )
