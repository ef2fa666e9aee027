"""A process that works on shards: its lanes, its progress, how it ends.

Used by `--shard`, where it has a share of the limits, and by the workers of a driver, which lease them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from batchroute.job.prices import open_targets
from batchroute.run.background import Display, in_background
from batchroute.run.end import Counts, end_of
from batchroute.run.lanes import LaneOpener
from batchroute.run.progress import Progress
from batchroute.run.shards.books import Books
from batchroute.run.shards.engine import ShardsRun
from batchroute.run.shards.work import ShardsScoring, ShardWork
from batchroute.run.spending import DirectoryBill
from batchroute.run.status import StatusFile
from batchroute.run.unconfirmed import Unconfirmed
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.score.router import load_scorer
from batchroute.send.open import asked_by, scrubber_for
from batchroute.send.reuse import Reuse, answered_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from batchroute.job.spec import Job, RouterSpec
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.run.progress import Money
    from batchroute.run.shards.queue import TaskQueue
    from batchroute.run.stop import Stopper
    from batchroute.score.rater import OpenRater
    from batchroute.score.router import Scorer
    from batchroute.send.allowance import Allowance
    from batchroute.send.budget import Budget
    from batchroute.send.lane import Lane
    from batchroute.send.request import Request
    from batchroute.store.directory import RunDirectory
    from batchroute.store.sharded import ShardedDirectory


class OneScorer:
    """The router of a job, loaded when the first shard needs it, and used for all."""

    def __init__(self, router: RouterSpec) -> None:
        self._router = router
        self._scorer: Scorer | None = None
        self._loading = threading.Lock()

    def __call__(self, directory: RunDirectory) -> Scorer:
        """Holds the directory to it. ModelFault where it cannot be loaded."""
        with self._loading:
            if self._scorer is None:
                self._scorer = load_scorer(self._router, directory.identity.scorer)
            directory.hold_to(self._scorer.identity)
            return self._scorer


class ShardProcess:
    """Works on the shards of queues; its lanes are open while it sends."""

    def __init__(
        self,
        job: Job,
        options: RunOptions,
        directory: ShardedDirectory,
        allowance: Callable[[str], Allowance],
        budget: Budget | None,
        stopper: Stopper,
    ) -> None:
        """`allowance` says what the lane of an endpoint may use; `budget` is behind it where there is a limit."""
        self._job = job
        self._options = options
        self._directory = directory
        self._allowance = allowance
        self._budget = budget
        self._stopper = stopper
        self._targets = open_targets(job.asked)
        self._scrub = scrubber_for(asked_by(job), options.environ)
        self._unconfirmed = Unconfirmed()
        self.lanes: dict[str, Lane[Request]] = {}
        self._at_work: ShardsScoring | ShardsRun | None = None
        self.progress = Progress.of(job, scored=self._scored_rows, done_before=0)
        self.display = Display(options.watch, self.progress)
        self.progress.stops_in_s = lambda: stopper.left_s
        self.progress.money = self._money
        self._books = Books(directory, budget, self._unconfirmed, self.progress)
        self._work = ShardWork(
            job,
            self._targets,
            directory.source,
            self._books,
            self.progress,
            stopper,
            OneScorer(job.router),
            self._open_rater,
        )

    @property
    def found(self) -> Mapping[int, int]:
        """How many rows of each open shard were done when it was opened."""
        return self._books.found

    def records(self, shard: int) -> int:
        """How many rows of a shard stand on file, in whatever state; 0 where it is not open."""
        return self._books.records(shard)

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes.values())

    @contextlib.asynccontextmanager
    async def at_work(self, status: Path) -> AsyncIterator[None]:
        """What goes on meanwhile: the clock, its status in the file `status`, the display."""
        kept = StatusFile(status, self.progress)
        async with in_background((self._stopper.in_time(self._job.limits), kept.keep(), self.display.show())):
            yield
        kept.end(asked=True)

    async def score(self, queue: TaskQueue, *, parallel: bool = False) -> None:
        """Scores the shards of a queue, and asks nobody; `parallel`: all cores of the machine are its own."""
        self._at_work = scoring = ShardsScoring(self._work, queue, parallel=parallel)
        self._stopper.add(scoring)
        await scoring.run()

    async def send(self, queue: TaskQueue, threshold: float) -> None:
        """Asks the rows of the shards of a queue, and scores those that have no scores yet."""
        async with contextlib.AsyncExitStack() as stack:
            opener = self._lane_opener()
            for name in self._job.endpoints.names:
                self.lanes[name] = await opener.open(name, stack)
                self._stopper.add(self.lanes[name])
            reuse = await self._open_reuse(stack)
            self._at_work = run = ShardsRun(self._work, queue, self.lanes, threshold, reuse)
            self._stopper.add(run)
            await run.run()

    def end(self, skipped: Counts, *, rows: int | None, asked: bool) -> RunEnd:
        """How it ended, of so many rows; those `skipped` were done before it began."""
        closed = self._books.closed
        counts = Counts(
            skipped.ok + closed.tally.ok.total(),
            skipped.refused + closed.tally.refused,
            skipped.failed + closed.failed,
        )
        wall_s = self.progress.elapsed_s
        return end_of(self._stopper, self.lanes, counts, rows=rows, wall_s=wall_s, asked=asked)

    def _scored_rows(self) -> int:
        return 0 if self._at_work is None else self._at_work.rows

    def _money(self) -> Money:
        books = self._books
        rows_usd, embeddings_usd = books.rows_usd, books.embeddings_usd
        bill = DirectoryBill(self._targets, books.tally, lambda: rows_usd, lambda: embeddings_usd, self._budget)
        return bill.now()

    async def _open_reuse(self, stack: contextlib.AsyncExitStack) -> Reuse | None:
        folder, raw = self._directory.layout.path, self._directory.raw
        answered = await asyncio.to_thread(answered_parts, self._job.input.reuse, folder, raw=raw)
        if not answered.parts:
            return None
        reuse = await asyncio.to_thread(Reuse, answered, folder)
        stack.callback(reuse.close)
        return reuse

    def _lane_opener(self) -> LaneOpener:
        return LaneOpener(
            self._job,
            self._targets,
            self._directory.raw,
            self._directory.has_answers_of,
            self._options.environ,
            self._scrub,
            self._allowance,
            self._budget is not None,
            self._unconfirmed,
            self.progress,
            self._stopper,
            self._options.notify,
        )

    def _open_rater(self, directory: RunDirectory) -> OpenRater:
        options = self._options

        def stopped(reason: str) -> None:
            options.notify(f"the embedder stopped: {reason}")

        context = EmbedContext(
            options.environ,
            self._job.limits,
            options.notify,
            self._budget,
            directory.layout,
            self._scrub,
            stopped,
        )
        return rater_opener(self._job.router, context)
