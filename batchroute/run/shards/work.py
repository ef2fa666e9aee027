"""What the shards of one process have in common, and how one is opened, scored and no more.

Knows no lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError, PoisonShard, ShardTaken
from batchroute.run.scoring import Scoring
from batchroute.score.router import LoadedFrom

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from batchroute.run.shards.books import Books
    from batchroute.run.shards.queue import ShardTask, TaskQueue
    from batchroute.run.stop import Stopper
    from batchroute.score.rater import OpenRater
    from batchroute.score.router import Scorer
    from batchroute.store.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class ShardWork:
    """Of one process; `scorer` loads the router for a shard's directory, `open_rater` is how it is used there."""

    job: Job
    targets: Mapping[str, Target]
    source: Source
    books: Books
    progress: Progress
    stopper: Stopper
    scorer: Callable[[RunDirectory], Scorer]
    open_rater: Callable[[RunDirectory], OpenRater]

    async def opened(self, queue: TaskQueue, task: ShardTask) -> RunDirectory | None:
        """None where it cannot be worked on now: the queue has it back."""
        try:
            return await self.books.open(task.shard)
        except ShardTaken as taken:
            queue.give_back(task.shard.number, "locked", str(taken))
        except PoisonShard as poison:
            queue.give_back(task.shard.number, "left", str(poison))
        return None

    def rows(self, task: ShardTask) -> Source:
        """The shard's part of the input."""
        return self.source.between(task.shard.start, task.shard.end)

    def scoring(self, task: ShardTask, directory: RunDirectory) -> Scoring:
        """Scores what is not scored yet of a shard."""
        return Scoring(
            self.rows(task),
            directory.scores,
            task.limit,
            lambda: self.scorer(directory),
            self.open_rater(directory),
            LoadedFrom(self.job.router, directory.identity.scorer),
        )


class ShardsScoring:
    """Scores the shards of a queue, and asks nobody; `rows` are those scored so far. See `Stoppable`."""

    def __init__(self, work: ShardWork, queue: TaskQueue, *, parallel: bool) -> None:
        """`parallel`: nobody else needs this machine's cores meanwhile."""
        self._work = work
        self._queue = queue
        self._parallel = parallel
        self._scoring: Scoring | None = None
        self._rows = self._sent = 0

    @property
    def rows(self) -> int:
        return self._rows + (0 if self._scoring is None else self._scoring.rows)

    @property
    def sent(self) -> int:
        """Requests to an embedder."""
        return self._sent + (0 if self._scoring is None else self._scoring.sent)

    async def run(self) -> None:
        """Until no shard is left, or the run is stopped; a fault stops it in order."""
        try:
            while not self._work.stopper.stopping and (task := await self._queue.take()) is not None:
                directory = await self._work.opened(self._queue, task)
                if directory is not None:
                    await self._score(task, directory)
        except BatchrouteError as fault:
            self._work.stopper.fail(fault)

    async def _score(self, task: ShardTask, directory: RunDirectory) -> None:
        self._scoring = scoring = self._work.scoring(task, directory)
        try:
            await scoring.run(parallel=self._parallel)
        finally:
            self._rows, self._sent, self._scoring = self.rows, self.sent, None
            await self._work.books.close(directory, rows=None)
        self._queue.give_back(task.shard.number, "done" if scoring.complete else "returned")
        if scoring.stopped is not None:
            self._work.stopper.stop(f"the embedder stopped: {scoring.stopped}")

    def stop(self) -> None:
        """After the chunks at hand."""
        if self._scoring is not None:
            self._scoring.stop()

    def abandon(self) -> None:
        if self._scoring is not None:
            self._scoring.abandon()
