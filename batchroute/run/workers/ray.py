"""Workers as actors of a Ray cluster: they are there when it has room for them, and go when the driver goes.

Ray carries one call a period and worker: the driver's call brings a grant and comes back with the next renewal. So
nothing of Ray is on a request's way, the driver needs no process beside its own, and a worker's death is known by
the call that it ends. Knows what the bytes are for, not what they say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.errors import UsageFault
from batchroute.run.workers.actor import WorkerActor
from batchroute.run.workers.cluster import machines_with, on_each
from batchroute.run.workers.nodes import refuse_unfit, refuse_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.engine import EngineSpec
    from batchroute.run.workers.actor import Work
    from batchroute.run.workers.messages import Exchanges
    from batchroute.run.workers.nodes import Question

AGAIN_S = 0.5  # after a call that may have been lost, of an actor that is not known to be dead
LOOK_EVERY_S = 0.5  # whether there is still work for an actor that waits for room
UNFIT_S = 60.0  # before another actor is tried in the place of one whose machine cannot work


def room_on(ray: Any, question: Question, cpus: float) -> int:
    """How many workers of so many CPUs the cluster has room for by now.

    UsageFault where a machine that has room for one cannot work on the run.
    """

    def version() -> str | None:  # inside a function, so that Ray sends it whole: batchroute may not be there
        try:
            from batchroute import __version__ as found  # noqa: PLC0415
        except ImportError:
            return None
        return found

    def look() -> bytes:
        from batchroute.run.workers.nodes import answer  # noqa: PLC0415 - the same

        return answer(asked)

    asked = msgspec.json.encode(question)
    machines = machines_with(ray, cpus)
    for machine, found in zip(machines, on_each(ray, machines, version), strict=True):
        refuse_version(machine.name, found)
    for answered in on_each(ray, machines, look):
        refuse_unfit(question, answered)
    return sum(int(machine.cpus // cpus) for machine in machines)


class RayWorkers:
    """The actors of one run, each from its start to its end."""

    def __init__(
        self,
        ray: Any,
        spec: EngineSpec,
        gpus: float,
        driver: Exchanges,
        work: Work,
        order: bytes,
        question: Question,
        notify: Callable[[str], None],
    ) -> None:
        """`work` is what each does with the `order`, if its machine's answer to the `question` is good."""
        self._ray = ray
        self._driver = driver
        self._work = work
        self._order = order
        self._question = question
        self._notify = notify
        self._actors: dict[str, Any] = {}
        memory = spec.memory_mb << 20
        self._start = ray.remote(num_cpus=spec.cpus, memory=memory, max_restarts=0, max_task_retries=0)(
            WorkerActor
        )

    async def serve(self, name: str) -> None:
        """One worker: waits until the cluster has room for it, and returns when it has ended, or died."""
        self._actors[name] = actor = self._start.remote()
        try:
            if await self._is_fit(actor):
                self._driver.begun(name)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._ended(actor.work.remote(self._work, self._order)))
                    group.create_task(self._exchange(name, actor))
                self._driver.died(name)
        except* self._ray.exceptions.ActorDiedError:
            self._driver.died(name)
        finally:
            self.kill(name)

    async def _is_fit(self, actor: Any) -> bool:
        """Whether it can begin, once the cluster has room for it; waits as long as there is work.

        Its machine may have joined the cluster when all others had been asked what they have.
        """
        looking = asyncio.ensure_future(actor.look.remote(msgspec.json.encode(self._question)))
        await self._as_long_as_there_is_work(looking)
        if not looking.done():
            looking.cancel()
            return False
        try:
            refuse_unfit(self._question, looking.result())
        except UsageFault as fault:
            self._notify(f"a worker is not used: {fault}")
            await self._as_long_as_there_is_work(asyncio.ensure_future(asyncio.sleep(UNFIT_S)))
            return False
        return True

    async def _as_long_as_there_is_work(self, awaited: asyncio.Future[Any]) -> None:
        while self._driver.has_work and not awaited.done():
            await asyncio.wait([awaited], timeout=LOOK_EVERY_S)

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
