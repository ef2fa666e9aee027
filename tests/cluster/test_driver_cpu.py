"""What a thousand workers cost the driver: each renews once in 20 seconds, by way of eight actors."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import uvloop

from batchroute.job.engine import EngineSpec
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits, period_s
from batchroute.lease.messages import Grant, LaneUse, Renewal
from batchroute.lease.queue import ShardQueue
from batchroute.run.workers.cluster import joined
from batchroute.run.workers.nodes import asking
from batchroute.run.workers.ray import RayWorkers
from jobs import job_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.run.workers.messages import Exchange
    from ray_cluster import RayCluster

pytestmark = pytest.mark.ray

WORKERS, ACTORS = 1_000, 8
WARM_S, MEASURED_S = 22.0, 15.0  # in which each worker has been granted something; in which the driver is watched
LANE = LaneLimits(600_000, None, 20_000)
WAITING = LaneUse(waiting=True)


async def many(order: bytes, exchange: Exchange, gone: asyncio.Event) -> None:
    """Renews for the workers that are ordered, one after the other, at the pace of all of them."""
    names = order.decode().split()
    pause_s = period_s(WORKERS) / len(names)
    granted: dict[str, Grant] = {}
    begun = due = time.monotonic()
    number = 0
    while time.monotonic() < begun + WARM_S + MEASURED_S:
        for name in names:
            uses = {"strong": WAITING, "weak": WAITING}
            if (grant := granted.get(name)) is not None:
                uses = {lane: using(may.requests_per_minute, may.slots) for lane, may in grant.lanes.items()}
            said = msgspec.msgpack.encode(Renewal(name, 1, number, uses))
            granted[name] = msgspec.msgpack.decode(await exchange(said), type=Grant)
            due += pause_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        number += 1


def using(rpm: float | None, slots: int | None) -> LaneUse:
    return LaneUse(rpm, None, slots, slots or 0, slots or 0, sent_per_minute=rpm or 0.0, waiting=True, good=100)


class Leasing:
    """A driver that leases limits and nothing else."""

    def __init__(self) -> None:
        lanes = {"strong": LANE, "weak": LANE}
        every_s, now = period_s(WORKERS), time.monotonic()
        self._limiter = Limiter(lanes, ShardQueue([]), epoch=1, period_s=every_s, now=now)
        self.renewals = 0

    def exchange(self, worker: str, said: bytes) -> bytes:
        self.renewals += 1
        renewal = msgspec.msgpack.decode(said, type=Renewal)
        return msgspec.msgpack.encode(self._limiter.renew(renewal, time.monotonic()))

    has_work = True

    def begun(self, worker: str) -> None:
        """Which are there nobody asks."""

    died = begun


def test_a_thousand_workers_keep_the_driver_below_a_tenth_of_a_core(cluster: RayCluster, tmp_path: Path) -> None:
    async def measured() -> tuple[float, float]:
        await asyncio.sleep(WARM_S)
        before, cpu_s, begun = driver.renewals, time.process_time(), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        took_s = time.monotonic() - begun
        return (driver.renewals - before) / took_s, (time.process_time() - cpu_s) / took_s

    async def served() -> tuple[float, float]:
        async with asyncio.TaskGroup() as group:
            for at in range(ACTORS):
                order = " ".join(f"worker-{number}" for number in range(at, WORKERS, ACTORS))
                spec = EngineSpec(cpus=0.5, memory_mb=100)
                workers = RayWorkers(ray, spec, 0.0, driver, many, order.encode(), question, print)
                group.create_task(workers.serve(f"actor-{at}"))
            return await measured()

    driver = Leasing()
    with joined(cluster.address) as ray, asking(job_of(tmp_path, tmp_path), tmp_path / "probe") as question:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            per_s, share = runner.run(served())
    print(f"{per_s:.1f} renewals a second take {100 * share:.1f} % of a core")  # noqa: T201 - a figure
    assert per_s > 0.9 * WORKERS / period_s(WORKERS)
    assert share <= 0.10
