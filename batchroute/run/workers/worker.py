"""A worker: works on the shards that a driver gives it, with what it is granted for a while.

    renewal, each period and as soon as it matters  ->  grant: limits, money, shards, why to end

Where the driver cannot be heard any more its lease ends, so that it sends nothing; where the driver is gone it
awaits what is in flight, records it, and ends. Knows no transport, and no other worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.errors import BatchrouteError, cause_of
from batchroute.job.beside import find_beside
from batchroute.job.prices import attempt_usd, open_targets
from batchroute.job.spec import Job
from batchroute.lease.held import HeldLease
from batchroute.lease.messages import Grant, LaneGrant, Renewal
from batchroute.run.open import open_input
from batchroute.run.options import RunOptions
from batchroute.run.process import raise_file_limit
from batchroute.run.shards.process import ShardProcess
from batchroute.run.stop import Stopper
from batchroute.run.workers.granted import GrantedShards
from batchroute.run.workers.messages import LaneTally, Order, WorkerSaid
from batchroute.send.allowance import Spending
from batchroute.send.budget import STEP, Budget
from batchroute.send.leased import LeasedLimits, boot_s
from batchroute.send.open import asked_by, connections, endpoint_limits
from batchroute.store.sharded import WorkerRole, open_sharded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.input.open import Source
    from batchroute.lease.messages import ShardEnd
    from batchroute.run.workers.messages import Exchange
    from batchroute.store.sharded import ShardedDirectory

LEAST_S = 0.05  # between two renewals
_LAST = 1 << 40  # above the number of any renewal
_UNSAID = LaneGrant()


async def work(
    order: bytes, exchange: Exchange, gone: asyncio.Event, environ: Mapping[str, str] = os.environ
) -> None:
    """Until the driver has no shard left for it, wants it to end, or is `gone`; never raises a BatchrouteError.

    `exchange` raises ConnectionError where the driver is gone, TimeoutError where a renewal was lost.
    """
    told = msgspec.msgpack.decode(order, type=Order)
    for module, folder in told.beside.items():
        find_beside(module, Path(folder))
    try:
        job = Job.model_validate_json(told.job)
        raise_file_limit(connections(asked_by(job)))
        source = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
        role = WorkerRole(told.epoch)
        with open_sharded(job, source, role, retry_refused=told.retry_refused) as directory:
            await _Working(job, told, source, directory, exchange, gone, environ).go()
    except BaseExceptionGroup as group:
        if not isinstance(cause := cause_of(group), BatchrouteError):
            raise cause from group
        await _give_up(cause, exchange)
    except BatchrouteError as fault:
        await _give_up(fault, exchange)


async def _give_up(fault: BatchrouteError, exchange: Exchange) -> None:
    """The last word of a worker that cannot go on: why the run has to end."""
    said = WorkerSaid(Renewal("", 0, _LAST, stopping=str(fault)), code=fault.exit_code, leaving=True)
    with contextlib.suppress(ConnectionError, TimeoutError):
        await exchange(msgspec.msgpack.encode(said))


class _Working:
    """One worker, whose directory is open."""

    def __init__(
        self,
        job: Job,
        order: Order,
        source: Source,
        directory: ShardedDirectory,
        exchange: Exchange,
        gone: asyncio.Event,
        environ: Mapping[str, str],
    ) -> None:
        self._job = job
        self._order = order
        self._exchange = exchange
        self._gone = gone
        self._lease = HeldLease()
        self._soon = asyncio.Event()
        self._heard = asyncio.Event()  # all that has ended, by the driver
        self._threshold: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._notices: list[str] = []
        self._stopper = Stopper(job.limits.drain_s, self._notices.append)
        limit = job.limits.max_cost_usd
        self._budget = None if limit is None else Budget(Decimal(0), step=STEP * limit)
        self._shards = GrantedShards(
            directory.shards, order.limits, order.most_open, self._soon.set, self._is_lane_over
        )
        self._leased = self._leases()
        self._process = ShardProcess(
            job,
            RunOptions(environ, retry_refused=order.retry_refused, notify=self._notices.append),
            directory,
            self._leased.__getitem__,
            self._budget,
            self._stopper,
        )

    def _leases(self) -> dict[str, LeasedLimits]:
        targets, leased = open_targets(self._job.asked), {}
        for name, spec in self._job.endpoints.items():
            target, spending = targets[name], None
            if self._budget is not None and target.pricing is not None:
                spending = Spending(self._budget, target.name, partial(attempt_usd, pricing=target.pricing))
            leased[name] = LeasedLimits(name, self._lease, endpoint_limits(spec), spending, self._soon.set)
        return leased

    async def go(self) -> None:
        """Renews its lease until its work is done, and the driver knows what became of it."""
        self._stopper.add(self._shards)
        with self._stopper.on_signals(lambda: self._process.in_flight):
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._renew()), group.create_task(self._watch_driver())]
                await self._work()
                await self._told()
                for task in beside:
                    task.cancel()
            if not self._gone.is_set():
                await self._leave()

    async def _work(self) -> None:
        if self._order.stage == "score":
            await self._process.score(self._shards)
            return
        ended = asyncio.create_task(self._shards.stopped())
        either: set[asyncio.Future[Any]] = {ended, self._threshold}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if self._threshold.done():
            await self._process.send(self._shards, self._threshold.result())

    async def _told(self) -> None:
        """Returns when the driver has heard what became of the shards, or is gone."""
        while (self._shards.ended or self._notices) and not self._gone.is_set():
            self._heard.clear()
            self._soon.set()
            await self._heard.wait()

    async def _leave(self) -> None:
        """The last words, by which the driver knows that nothing was lost."""
        last = msgspec.structs.replace(self._said([]), leaving=True)
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self._exchange(msgspec.msgpack.encode(last))

    async def _watch_driver(self) -> None:
        """What is in flight is paid: it is awaited, and nothing is sent any more."""
        await self._gone.wait()
        for leased in self._leased.values():
            leased.end()
        self._stopper.drain()
        self._heard.set()

    async def _renew(self) -> None:
        while not self._gone.is_set():
            self._soon.clear()
            period_s = LEAST_S
            try:
                period_s = await self._exchanged()
            except TimeoutError:
                pass
            except ConnectionError:
                self._gone.set()
                return
            await asyncio.sleep(LEAST_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._soon.wait(), period_s)

    async def _exchanged(self) -> float:
        """One renewal and its grant; returns in how many seconds the next one is due."""
        ended, notices = self._shards.ended, len(self._notices)
        said = self._said(ended)
        grant = msgspec.msgpack.decode(await self._exchange(msgspec.msgpack.encode(said)), type=Grant)
        del self._notices[:notices]
        if self._lease.take(grant):
            self._take(grant, ended)
        self._heard.set()
        return grant.period_s

    def _said(self, ended: list[ShardEnd]) -> WorkerSaid:
        process, progress, now = self._process, self._process.progress, time.monotonic()
        uses = {name: leased.use(now) for name, leased in self._leased.items()}
        taken_usd, ceiling_usd = self._money()
        return WorkerSaid(
            Renewal(
                worker="",  # who carries it knows whose it is
                epoch=self._lease.epoch,
                number=self._lease.renews(boot_s()),
                lanes=uses if self._order.stage == "send" else {},
                taken_usd=taken_usd,
                ceiling_usd=ceiling_usd,
                open=self._shards.open(process.records),
                ended=ended,
                wants_shard=self._shards.wants,
                stopping=self._stopping(),
            ),
            tallies={name: self._tally(name) for name in self._job.endpoints.names},
            errors=dict(progress.errors),
            scored=progress.scored(),
            found=dict(process.found),
            notices=list(self._notices),
            code=None if self._stopper.fault is None else self._stopper.fault.exit_code,
        )

    def _money(self) -> tuple[Decimal, Decimal]:
        """What is taken since it began, and how far that may go."""
        budget = self._budget
        if budget is None:
            return Decimal(0), Decimal(0)
        return budget.taken, max(budget.limit, budget.admitted)

    def _tally(self, name: str) -> LaneTally:
        lane = self._process.progress.lanes[name]
        state = lane.state()
        return LaneTally(
            ok=lane.ok,
            refused=lane.refused,
            failed=lane.failed,
            cost_usd=lane.cost_usd,
            tokens=lane.tokens,
            sent=lane.sent(),
            in_flight=lane.in_flight(),
            doing=state.doing,
            reason=state.reason,
            last_error=lane.last_error,
        )

    def _is_lane_over(self) -> bool:
        """Whether a lane has stopped, though the run goes on: what rows are left to it are for nobody now."""
        return not self._stopper.stopping and any(lane.is_stopping for lane in self._process.lanes.values())

    def _stopping(self) -> str | None:
        """Why the whole run has to end; a signal that this process got alone is no reason."""
        stopper = self._stopper
        if stopper.fault is not None:
            return str(stopper.fault)
        return stopper.reasons[0] if stopper.reasons else None

    def _take(self, grant: Grant, ended: list[ShardEnd]) -> None:
        if self._budget is not None and grant.ceiling_usd is not None:
            self._budget.set_limit(grant.ceiling_usd)
        self._shards.granted(grant.shards, ended, finished=grant.finished)
        now, lanes = time.monotonic(), self._process.lanes
        for name, leased in self._leased.items():
            leased.lane = lanes.get(name)
            leased.granted(now)
            if grant.lanes.get(name, _UNSAID).stop is not None and name in lanes:
                lanes[name].stop()
        if grant.drain is not None:
            self._stopper.drain()
        if lanes and all(lane.is_stopping for lane in lanes.values()):
            self._shards.stop()
        if grant.threshold is not None and not self._threshold.done():
            self._threshold.set_result(grant.threshold)
