"""The whole input in this process: the only place where the parts of such a run are put together.

    input -> scoring -> scores/ -> a feed per endpoint -> lane -> journal -> results/

Scoring and the lanes run side by side and meet only on disk. Decides nothing about scores, speed or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError
from batchroute.job.pilot import JUDGE_NAME
from batchroute.run.background import Display, in_background
from batchroute.run.end import RunEnd, close_books, run_end, write_end, write_running
from batchroute.run.hints import input_hints
from batchroute.run.lanes import LaneOpener
from batchroute.run.pilot.beside import Beside
from batchroute.run.pilot.pilot import Pilot
from batchroute.run.pilot.routers import router_named
from batchroute.run.progress import Progress
from batchroute.run.routing import Routing
from batchroute.run.scoring import Scoring, scorer_loader
from batchroute.run.shard import ShardRun
from batchroute.run.spending import DirectoryBill
from batchroute.run.status import StatusFile
from batchroute.run.unconfirmed import Unconfirmed
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.score.router import LoadedFrom
from batchroute.send.budget import open_budget
from batchroute.send.open import asked_by, endpoint_limits, own_limits, scrubber_for
from batchroute.send.reuse import answered_parts
from batchroute.store.directory import open_run_directory
from batchroute.store.embeddings import read_bill
from batchroute.store.files import saving
from batchroute.store.lock import locked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from contextlib import AbstractAsyncContextManager

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.run.options import RunOptions
    from batchroute.run.stop import Stopper
    from batchroute.score.rater import Rater
    from batchroute.score.router import Scorer
    from batchroute.send.budget import Budget
    from batchroute.send.lane import Lane
    from batchroute.send.request import Request
    from batchroute.send.reuse import AnsweredParts
    from batchroute.store.directory import RunDirectory


async def run_local(
    job: Job, options: RunOptions, source: Source, targets: Mapping[str, Target], stopper: Stopper
) -> RunEnd:
    """See `run_job`. Stopped where another process is at work in the directory."""
    with locked(Path(job.output.path), int(job.output.mode, 8)):
        directory = open_run_directory(job, source, retry_refused=options.retry_refused)
        try:
            return await _LocalRun(job, options, source, targets, directory, stopper).go()
        finally:
            directory.close()


class _LocalRun:
    """A run whose directory is open and locked."""

    def __init__(
        self,
        job: Job,
        options: RunOptions,
        source: Source,
        targets: Mapping[str, Target],
        directory: RunDirectory,
        stopper: Stopper,
    ) -> None:
        self._job = job
        self._options = options
        self._source = source
        self._targets = targets
        self._directory = directory
        self._store = directory.store
        self._stopper = stopper
        self._scrub = scrubber_for(asked_by(job), options.environ)
        self._router = router_named(directory.identity.router, job, directory.layout)
        self._scoring = Scoring(
            source,
            directory.scores,
            options.limit,
            scorer_loader(self._router, directory),
            self._open_rater,
            LoadedFrom(self._router, directory.identity.scorer),
        )
        self._lanes: dict[str, Lane[Request]] = {}
        self._embedded_usd = read_bill(directory.layout).usd  # by earlier runs
        self._budget = self._open_budget()
        self._pilot = self._open_pilot()
        self._progress = self._open_progress()
        self._status = StatusFile(directory.layout.status, self._progress)
        self._display = Display(options.watch, self._progress)
        self._unconfirmed = Unconfirmed()
        self._rows = ShardRun(
            job.endpoints,
            targets,
            source,
            directory,
            self._progress,
            stopper,
            limit=options.limit,
            reserves=self._budget is not None,
            beside=Beside() if self._pilot is None else Beside(self._pilot.asking, self._pilot.watch),
        )
        self._routing = Routing(
            job,
            targets,
            source,
            directory,
            self._scoring,
            self._rows,
            self._progress,
            self._budget,
            stopper,
            limit=options.limit,
            notify=self._options.notify,
            pilot=self._pilot,
            pilot_only=options.pilot_only,
        )

    async def go(self) -> RunEnd:
        """Scores, asks and keeps, all at once, until nothing is left or something stops it."""
        complete = self._routing.is_complete()
        with self._stopper.on_signals(lambda: sum(lane.in_flight for lane in self._lanes.values())):
            if not complete:
                folder, raw = self._directory.layout.path, self._directory.raw
                answered = await asyncio.to_thread(answered_parts, self._job.input.reuse, folder, raw=raw)
                with saving(folder):
                    self._directory.layout.success.unlink(missing_ok=True)
                # Before anything is sent: polars takes a Ctrl-C that comes while it works for its own.
                await asyncio.to_thread(write_running, folder)
                await self._ask(answered)
            end = await asyncio.to_thread(self._conclude, asked=not complete)
            hints = input_hints(self._source, self._job.input, self._directory.layout, end.rows)
            for words in await asyncio.to_thread(list, hints):
                self._options.notify(words)
            self._display.raise_fault()
            return end

    async def _ask(self, answered: AnsweredParts) -> None:
        opener = self._lane_opener()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._rows.close)
            for name in self._job.asked:
                self._lanes[name] = await opener.open(name, stack)
            self._stopper.add(self._scoring)
            for lane in self._lanes.values():
                self._stopper.add(lane)
            await self._work(answered)

    async def _work(self, answered: AnsweredParts) -> None:
        beside: list[Awaitable[None]] = [
            self._store.keep_synced(),
            self._store.keep_sealed(),
            self._stopper.in_time(self._job.limits),
            self._status.keep(),
            self._display.show(),
        ]
        if self._directory.pilot is not None:
            beside.append(self._directory.pilot.keep_synced())
        async with in_background(beside) as group:
            scoring = group.create_task(self._route(answered))
            async with asyncio.TaskGroup() as judging:
                if self._pilot is not None and JUDGE_NAME in self._lanes:
                    judging.create_task(self._pilot.deliver_to_judge(self._lanes[JUDGE_NAME]))
                async with asyncio.TaskGroup() as lanes:
                    for name in self._job.endpoints.names:
                        lanes.create_task(self._rows.deliver(name, self._lanes[name], self._routing.threshold))
                await self._end_pilot()
            self._scoring.stop()
            asyncio.get_running_loop().call_later(self._job.limits.drain_s, self._scoring.abandon)
            await scoring
            await self._store.sealed()

    async def _end_pilot(self) -> None:
        """Grades the watched rows, where all rows have their ends, and lets the judge go."""
        if self._pilot is None:
            return
        threshold = self._routing.threshold
        if threshold.done() and not any(lane.is_stopping for lane in self._lanes.values()):
            try:
                await self._pilot.report_watch()
            except BatchrouteError as fault:
                self._stopper.fail(fault)
        self._pilot.close()

    async def _route(self, answered: AnsweredParts) -> None:
        """Without a threshold no row has an endpoint, and the lanes would wait for one."""
        await self._routing.run(answered)
        if not self._routing.threshold.done():
            for lane in self._lanes.values():
                lane.stop()

    def _lane_opener(self) -> LaneOpener:
        return LaneOpener(
            self._job,
            self._targets,
            self._directory.raw,
            lambda name: self._store.tally.ok[name] > 0,
            self._options.environ,
            self._scrub,
            lambda name: own_limits(endpoint_limits(self._job.asked[name]), self._budget, self._targets[name]),
            self._budget is not None,
            self._unconfirmed,
            self._progress,
            self._stopper,
            self._options.notify,
        )

    def _open_budget(self) -> Budget | None:
        spent_usd = self._directory.spent_usd + self._embedded_usd
        return open_budget(self._directory.layout.ledger, self._job.limits.max_cost_usd, spent_usd)

    def _open_progress(self) -> Progress:
        done_before = self._store.tally.done
        progress = Progress.of(self._job, scored=lambda: self._scoring.rows, done_before=done_before)
        if self._pilot is not None:
            progress.pilot = self._pilot.progress
        progress.stops_in_s = lambda: self._stopper.left_s
        progress.money = DirectoryBill(
            self._targets,
            self._store.tally,
            rows_usd=lambda: self._directory.spent_usd,
            embeddings_usd=lambda: self._scoring.spent_usd or self._embedded_usd,
            budget=self._budget,
        ).now
        return progress

    def _open_pilot(self) -> Pilot | None:
        store, spec = self._directory.pilot, self._job.pilot
        if spec is None or store is None:
            return None
        limit, reserves = self._options.limit, self._budget is not None
        return Pilot(
            self._job, spec, self._targets, self._source, self._directory, store, limit=limit, reserves=reserves
        )

    def _open_rater(self, scorer: Scorer) -> AbstractAsyncContextManager[Rater]:
        options, limits = self._options, self._job.limits

        def stopped(reason: str) -> None:
            options.notify(f"the embedder stopped: {reason}")

        layout = self._directory.layout
        context = EmbedContext(options.environ, limits, options.notify, self._budget, layout, self._scrub, stopped)
        return rater_opener(self._router, context)(scorer)

    def _conclude(self, *, asked: bool) -> RunEnd:
        """Everything on file, the report last; a fault goes on to the caller where nothing was sent before it."""
        close_books(self._directory, self._budget, self._unconfirmed)
        self._status.end(asked=asked)
        rows, wall_s = self._scoring.wanted_rows, self._progress.elapsed_s
        end = run_end(self._directory, self._stopper, self._lanes, rows=rows, wall_s=wall_s, asked=asked)
        write_end(self._directory.layout.path, end, ok_if_refused=self._job.limits.ok_if_refused)
        fault = self._stopper.fault
        if fault is not None and not self._stopper.sent:
            raise fault
        return end
