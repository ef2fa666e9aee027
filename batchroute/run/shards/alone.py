"""One of N equal processes that share a run, with no driver: `--shard I/N`; and a run over shards by itself, 0/1.

own shards scored    only where the threshold waits for all scores
threshold            by whoever finds every shard scored; else exit 4, naming those that are not
own shards asked     each scored first, where it is not
the end              the last process at work writes report.json, failed.jsonl and _SUCCESS
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from batchroute.errors import BatchrouteError, Stopped
from batchroute.input.cut import limited
from batchroute.job.prices import open_targets
from batchroute.report.standing import GO_ON
from batchroute.run.hints import input_hints
from batchroute.run.process import run_loop
from batchroute.run.shards.finish import begin_report, counts_of, report_end, split_done, wanted_in_all
from batchroute.run.shards.money import left_usd
from batchroute.run.shards.process import ShardProcess
from batchroute.run.shards.queue import OwnShards, ShardTask
from batchroute.run.shards.share import is_own, refuse_too_many, share_of
from batchroute.run.shards.threshold import settled_threshold, unscored
from batchroute.run.shards.whole import refuse_undivided
from batchroute.run.stop import Stopper
from batchroute.run.told import told
from batchroute.send.budget import STEP, Budget
from batchroute.send.open import endpoint_limits, own_limits
from batchroute.store.scores import Scores
from batchroute.store.sharded import Share, open_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.end import Counts, RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.run.told import OnRows
    from batchroute.send.allowance import Allowance
    from batchroute.store.identity import Identity
    from batchroute.store.sharded import ShardedDirectory


async def run_share(job: Job, options: RunOptions, source: Source, stopper: Stopper) -> RunEnd:
    """The share of a run that `options.share` says, all of it where that is None; see `run_job`.

    Stopped where another process has that share, or where the threshold waits for scores of other shares.
    """
    share = options.share or Share(0, 1)
    refuse_undivided(job)
    refuse_too_many(job, share.of)
    with open_sharded(job, source, share, senders=share.of, retry_refused=options.retry_refused) as directory:
        run = _ShareRun(job, options, directory, share, stopper)
        with stopper.on_signals(lambda: run.process.in_flight):
            return await run.go()


class ScoredShare(NamedTuple):
    """The shards of a share, all scored; how the rows of those that were asked have ended."""

    source: Source
    scores: Scores
    rows: int
    identity: Identity
    counts: Counts


@contextlib.contextmanager
def scored_share(
    job: Job, options: RunOptions, source: Source, on_rows: OnRows, senders: int | None = None
) -> Iterator[ScoredShare]:
    """Scores the shards of a share and asks nobody; the share is locked meanwhile and after.

    A new directory is cut for so many senders, by default for the processes that share it. `on_rows` is told the
    rows scored so far, a few times a second. Stopped where it ended before all have scores.
    """
    share, stopper = options.share or Share(0, 1), Stopper(job.limits.drain_s, options.notify)
    refuse_undivided(job)
    with open_sharded(job, source, share, senders=senders or share.of) as directory:
        run = _ShareRun(job, options, directory, share, stopper)
        run_loop(_scored(run, stopper, on_rows))
        rows = sum(directory.scores_of(task.shard).rows for task in run.own)
        scores = Scores(directory.layout.scores)
        yield ScoredShare(directory.source, scores, rows, directory.identity, counts_of(directory, run.own))


async def _scored(run: _ShareRun, stopper: Stopper, on_rows: OnRows) -> None:
    with stopper.on_signals(int):
        async with told(on_rows, run.process.progress.scored):
            await run.score()
    if stopper.fault is not None:
        raise stopper.fault
    if stopper.stopping:
        raise Stopped(f"stopped by {stopper.cause or 'its caller'}; {GO_ON}")


class _ShareRun:
    """A share whose directory is open and locked."""

    def __init__(
        self,
        job: Job,
        options: RunOptions,
        directory: ShardedDirectory,
        share: Share,
        stopper: Stopper,
    ) -> None:
        self._job = job
        self._options = options
        self._directory = directory
        self._share = share
        self._stopper = stopper
        source = directory.source
        self._tasks = [ShardTask(*each) for each in limited(directory.shards, source, options.limit)]
        self.own = [task for task in self._tasks if is_own(share, task.shard.number)]
        budget, targets = self._open_budget(), open_targets(job.endpoints)

        def allowance(name: str) -> Allowance:
            limits = share_of(share, endpoint_limits(job.endpoints[name]))
            return own_limits(limits, budget, targets[name])

        self.process = ShardProcess(job, options, directory, allowance, budget, stopper)

    async def go(self) -> RunEnd:
        """Scores, asks and keeps its own shards; the last process at work writes the report."""
        directory, process = self._directory, self.process
        done, left = split_done(directory, self.own)
        skipped = counts_of(directory, done)
        process.progress.rows = wanted_in_all(directory, self.own)
        process.progress.done_before = skipped.ok + skipped.refused
        if left:
            await asyncio.to_thread(begin_report, self._job, directory, self._tasks, self._options.limit)
            async with process.at_work(directory.status):
                await self._work(left)
        rows = wanted_in_all(directory, self.own)
        end = process.end(skipped, rows=rows, asked=bool(left))
        is_last = await asyncio.to_thread(report_end, self._job, directory, self._tasks, end, self._options.limit)
        if is_last:
            await asyncio.to_thread(self._say_hints)
        fault = self._stopper.fault
        if fault is not None and not self._stopper.sent:
            raise fault
        process.display.raise_fault()
        words = None if self._share.of == 1 else self._share.words
        return dataclasses.replace(end, share=words, is_last=is_last)

    def _say_hints(self) -> None:
        directory, rows = self._directory, wanted_in_all(self._directory, self._tasks)
        for hint in input_hints(directory.source, self._job.input, directory.layout, rows):
            self._options.notify(hint)

    async def _work(self, left: Sequence[ShardTask]) -> None:
        """A fault of the input, the router or the threshold stops it in order."""
        try:
            threshold = await self._threshold()
        except BatchrouteError as fault:
            self._stopper.fail(fault)
            return
        if threshold is not None:
            queue = OwnShards(left)
            await self.process.send(queue, threshold)
            self._stopper.reasons += queue.unfinished

    async def score(self) -> None:
        """What of its own shards is not scored yet; Stopped where another process has one of them."""
        if left := await asyncio.to_thread(unscored, self._directory, self.own):
            queue = OwnShards(left)
            await self.process.score(queue, parallel=self._share.of == 1)
            if queue.unfinished:
                raise Stopped("; ".join(queue.unfinished))

    async def _threshold(self) -> float | None:
        """None where the run was stopped before it was known."""
        if (named := self._job.routing.threshold) is not None:
            return named
        await self.score()
        if self._stopper.stopping:
            return None
        job, source, directory, options = self._job, self._directory.source, self._directory, self._options
        return await asyncio.to_thread(
            settled_threshold, job, source, directory, self._tasks, options.limit, options.notify
        )

    def _open_budget(self) -> Budget | None:
        """Its part of what is left of the limit when it begins, for as long as it runs.

        Worked example, $9 of three processes: 0/3 begins and may spend $3. It has a ceiling of $2 on disk when 1/3
        begins, which sees $7 left and takes $2.33. Whatever the order, all together never take more than $9.
        """
        limit = self._job.limits.max_cost_usd
        if limit is None:
            return None
        left = left_usd(self._directory.layout.path, limit)
        return Budget(left / self._share.of, step=STEP * limit / self._share.of)
