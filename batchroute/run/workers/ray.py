"""Workers as actors of a Ray cluster: they are there when it has room for them, and go when the driver goes.

Ray carries one call a period and worker: the driver's call brings a grant and comes back with the next renewal. So
nothing of Ray is on a request's way, the driver needs no process beside its own, and a worker's death is known by
the call that it ends. Knows what the bytes are for, not what they say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from batchroute.run.workers.actor import WorkerActor

if TYPE_CHECKING:
    from batchroute.job.engine import EngineSpec
    from batchroute.run.workers.actor import Work

AGAIN_S = 0.5  # after a call that may have been lost, of an actor that is not known to be dead


class Driver(Protocol):
    """What decides: a worker's renewal -> its grant; and what follows when it ended, or was lost."""

    def exchange(self, worker: str, renewal: bytes) -> bytes: ...

    def died(self, worker: str) -> None: ...


class RayWorkers:
    """The actors of one run, each from its start to its end."""

    def __init__(self, ray: Any, spec: EngineSpec, driver: Driver, work: Work, order: bytes) -> None:
        """`work` is what each does with the `order`, on its own machine."""
        self._ray = ray
        self._driver = driver
        self._work = work
        self._order = order
        self._actors: dict[str, Any] = {}
        memory = spec.memory_mb << 20
        self._start = ray.remote(num_cpus=spec.cpus, memory=memory, max_restarts=0, max_task_retries=0)(
            WorkerActor
        )

    async def serve(self, name: str) -> None:
        """One worker: waits until the cluster has room for it, and returns when it has ended, or died."""
        self._actors[name] = actor = self._start.remote()
        working = actor.work.remote(self._work, self._order)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ended(working))
                group.create_task(self._exchange(name, actor))
        except* self._ray.exceptions.ActorDiedError:
            self._driver.died(name)
        finally:
            self.kill(name)

    async def _ended(self, working: Any) -> None:
        """Raises what went wrong in a worker, as it was raised there."""
        try:
            await working
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error

    def kill(self, name: str) -> None:
        """Ends a worker that does not end by itself; a process that is stopped, too."""
        if (actor := self._actors.pop(name, None)) is not None:
            self._ray.kill(actor)

    async def _exchange(self, name: str, actor: Any) -> None:
        """Its renewals and their grants, until it says that there are no more."""
        number, grant = 0, None
        while True:
            try:
                fetched = await actor.fetch.remote(number, grant)
            except self._ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(AGAIN_S)
                continue
            if fetched is None:
                return
            number, renewal = fetched
            grant = self._driver.exchange(name, renewal)
