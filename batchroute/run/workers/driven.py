"""A run over shards that a driver hands out to workers: its stages, and its end.

    scored       by scorers, where the threshold waits for all scores; an embedder is asked by the driver itself
    threshold    by the driver, into job.toml
    sent         by senders, that score what has no scores where the job names the threshold
    the end      report.json, failed.jsonl, _SUCCESS

Whether workers are processes of this machine or actors of a cluster is decided by the caller. Every durable fact
is in the run directory: a driver that is killed has a successor, which reads it there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from batchroute.errors import BatchrouteError, Stopped
from batchroute.input.cut import limited
from batchroute.job.beside import looked_for
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import period_s, quiet_s, ttl_s
from batchroute.lease.money import SharedMoney
from batchroute.lease.queue import DEATHS, ShardQueue
from batchroute.report.figures import read_report
from batchroute.run.background import Display, in_background
from batchroute.run.progress import Crew, Money, Progress
from batchroute.run.shards.engine import MOST_OPEN
from batchroute.run.shards.finish import begin_report, counts_of, report_end, split_done, wanted_in_all
from batchroute.run.shards.money import left_usd, taken_usd
from batchroute.run.shards.process import ShardProcess
from batchroute.run.shards.queue import OwnShards, ShardTask
from batchroute.run.shards.threshold import settled_threshold, unscored
from batchroute.run.shards.whole import refuse_undivided
from batchroute.run.status import StatusFile
from batchroute.run.workers.driver import Driver
from batchroute.run.workers.end import as_reported, driven_end, engine_figures
from batchroute.run.workers.messages import Order
from batchroute.run.workers.senders import lane_limits, scorers, senders, why_fewer_senders
from batchroute.send.budget import Budget
from batchroute.send.leased import boot_s
from batchroute.send.open import asks_for_vectors
from batchroute.store.layout import RunLayout
from batchroute.store.lock import file_state
from batchroute.store.sharded import DriverRole, open_sharded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.run.stop import Stopper
    from batchroute.run.workers.messages import Stage, Workers
    from batchroute.store.sharded import ShardedDirectory

LOOK_EVERY_S = 1.0
GRACE_S = 2.0  # beyond a period, in which workers that were told to let go may still do so


class OpenWorkers(Protocol):
    """How workers are begun for a stage of a driver's, each with the same order."""

    def __call__(self, driver: Driver, stage: Stage, order: bytes) -> Workers: ...


@dataclass(frozen=True, slots=True)
class Where:
    """Where workers are: `open` begins them, `most` can be. `local`: all on this machine, under one kernel.

    `scorers` is for how many there are GPUs, which senders do not have; 0: there is none, or no use for one.
    """

    open: OpenWorkers
    most: int
    local: bool
    scorers: int = 0


async def run_driven(job: Job, options: RunOptions, source: Source, stopper: Stopper, where: Where) -> RunEnd:
    """The whole run, by workers; see `run_job`. Stopped where another process is at work in the directory."""
    refuse_undivided(job)
    count = senders(job, where.most)
    if words := why_fewer_senders(job, where.most):
        options.notify(words)
    asked = job.engine.lease_s
    renews_s = period_s(count, None if asked == "auto" else float(asked))
    role, again = DriverRole(ttl_s(renews_s)), options.retry_refused
    with open_sharded(job, source, role, senders=count, retry_refused=again) as directory:
        run = _DrivenRun(job, options, directory, stopper, where, count, renews_s)
        with stopper.on_signals(lambda: run.driver.in_flight):
            return await run.go()


class _DrivenRun:
    """A run whose directory is open and locked. See `Stoppable`."""

    def __init__(
        self,
        job: Job,
        options: RunOptions,
        directory: ShardedDirectory,
        stopper: Stopper,
        where: Where,
        count: int,
        renews_s: float,
    ) -> None:
        self._job = job
        self._options = options
        self._directory = directory
        self._stopper = stopper
        self._where = where
        self._count = count
        self._tasks = [ShardTask(*each) for each in limited(directory.shards, directory.source, options.limit)]
        self._done, self._left = split_done(directory, self._tasks)
        self._workers: Workers | None = None
        self._names = 0
        self._period_s = renews_s
        self.progress = Progress.of(job, scored=int, done_before=0)
        self._display = Display(options.watch, self.progress)
        self.driver = Driver(self._limiter(), self.progress, options.notify)
        self._spent_before = taken_usd(directory.layout.path)
        self.progress.money = self._money
        self.progress.crew = self._crew
        self.progress.stops_in_s = lambda: stopper.left_s

    @property
    def sent(self) -> int:
        return self.driver.sent

    def stop(self) -> None:
        """All workers are told at their next renewal."""
        self.driver.limiter.drain = self._stopper.cause or "the run was stopped"

    def abandon(self) -> None:
        """Workers let go by themselves as well; one that does not is killed a little later."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._period_s + GRACE_S, self._kill_all)

    async def go(self) -> RunEnd:
        """Has all shards scored and sent; writes the report."""
        directory = self._directory
        skipped = counts_of(directory, self._done)
        self.progress.rows = wanted_in_all(directory, self._tasks)
        self.progress.done_before = skipped.ok + skipped.refused
        if self._left:
            await asyncio.to_thread(begin_report, self._job, directory, self._tasks, self._options.limit)
            await self._at_work()
        directory.end_epoch()
        driver, tasks = self.driver, self._tasks
        end = driven_end(driver, directory, tasks, self._stopper, asked=bool(self._left))
        engine = engine_figures(driver, directory, tasks, use=self._job.engine.use, workers=self._count)
        await asyncio.to_thread(report_end, self._job, directory, tasks, end, self._options.limit, engine=engine)
        end = as_reported(end, read_report(directory.layout.path))
        fault = self._stopper.fault
        if fault is not None and not self.sent:
            raise fault
        self._display.raise_fault()
        return end

    async def _at_work(self) -> None:
        """What goes on beside the work: the clock, status.json, the display, a look at the workers."""
        self._stopper.add(self)
        status = StatusFile(self._directory.status, self.progress)
        beside = (self._stopper.in_time(self._job.limits), status.keep(), self._look(), self._display.show())
        async with in_background(beside):
            try:
                await self._work()
            except BatchrouteError as fault:
                self._stopper.fail(fault)
        status.end(asked=True)

    async def _work(self) -> None:
        named = self._job.routing.threshold
        to_score = await asyncio.to_thread(unscored, self._directory, self._left)
        if to_score and asks_for_vectors(self._job.router):
            await self._ask_embedder(to_score)
        elif to_score and (named is None or self._where.scorers):
            count = scorers(self._job, self._where.most, self._where.scorers)
            await self._stage("score", to_score, count)
        if self._stopper.stopping or self.driver.is_over:
            return
        job, directory, options = self._job, self._directory, self._options
        if named is None:
            named = await asyncio.to_thread(
                settled_threshold, job, directory.source, directory, self._tasks, options.limit, options.notify
            )
        self.driver.limiter.threshold = named
        await self._stage("send", self._left, self._count)

    async def _ask_embedder(self, tasks: Sequence[ShardTask]) -> None:
        """One process is enough to wait for an API, whose limits and money need not be shared so."""
        job, limit = self._job, self._job.limits.max_cost_usd
        budget = None if limit is None else Budget(left_usd(self._directory.layout.path, limit))
        process = ShardProcess(job, self._options, self._directory, _no_lane, budget, self._stopper)
        await process.score(OwnShards(tasks))

    async def _stage(self, stage: Stage, tasks: Sequence[ShardTask], count: int) -> None:
        """Has all these shards worked on by so many workers."""
        limiter = self.driver.limiter
        sizes = ((task.shard.number, self._size(task)) for task in tasks)
        limiter.queue = ShardQueue(sizes, retry_s=self._period_s, turn=limiter.queue.turn)
        order = Order(
            job=self._job.model_dump_json(by_alias=True, exclude_none=True),
            epoch=self._directory.epoch,
            stage=stage,
            limits={task.shard.number: task.limit for task in tasks if task.limit is not None},
            most_open=max(2, min(MOST_OPEN, len(tasks) // (4 * count))),
            beside=looked_for(),
            retry_refused=self._options.retry_refused,
        )
        self._workers = workers = self._where.open(self.driver, stage, msgspec.msgpack.encode(order))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(count, len(tasks))):
                group.create_task(self._seat(stage, workers))

    async def _seat(self, stage: Stage, workers: Workers) -> None:
        """One worker after the other, as long as there is work."""
        while not self._stopper.stopping and self.driver.has_work:
            self._names += 1
            name = f"{stage}-{self._names}"
            await workers.serve(name)
            self.driver.died(name)
            if self.driver.losses.in_vain > DEATHS * self._count:
                self._stopper.fail(Stopped("workers die and the run gets no further; see above what they say"))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for name in self.driver.look(LOOK_EVERY_S):
                if self._workers is not None:
                    self._workers.kill(name)

    def _kill_all(self) -> None:
        for name in self.driver.names:
            if self._workers is not None:
                self._workers.kill(name)

    def _limiter(self) -> Limiter:
        directory, limit = self._directory, self._job.limits.max_cost_usd
        run = directory.layout.path
        waits_s = quiet_s(self._directory.leased_s) if self._may_be_leased() else 0.0
        money = None
        if limit is not None:
            money = SharedMoney(limit, None if waits_s else left_usd(run, limit))
            if waits_s:
                asyncio.get_running_loop().call_later(waits_s, lambda: money.recount(left_usd(run, limit)))
        return Limiter(
            lane_limits(self._job),
            ShardQueue([]),
            money,
            epoch=directory.epoch,
            period_s=self._period_s,
            now=boot_s(),
            quiet_s=waits_s,
        )

    def _may_be_leased(self) -> bool:
        """Whether workers of an earlier driver may be sending: on one machine, only while they hold shards."""
        if not self._directory.leased_s or not self._where.local:
            return self._directory.leased_s > 0
        run = self._directory.layout.path
        return any(file_state(RunLayout(run, task.shard.number).lock).held for task in self._left)

    def _size(self, task: ShardTask) -> float:
        shard = task.shard
        rows = self._directory.source.files[shard.start.file].size / 1_000 if shard.rows is None else shard.rows
        return min(rows, task.limit or rows)

    def _money(self) -> Money:
        cost_usd = sum(lane.cost_usd for lane in self.progress.lanes.values())
        return Money(float(self._spent_before) + cost_usd)

    def _crew(self) -> Crew:
        queue = self.driver.limiter.queue
        return Crew(len(self.driver.names), self.driver.losses.workers, queue.unfinished, len(self._tasks))


def _no_lane(name: str) -> NoReturn:
    raise LookupError(f"{name}: nothing is sent while scoring")
