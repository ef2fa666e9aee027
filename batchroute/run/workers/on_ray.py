"""A run whose workers are actors of a Ray cluster: joined, its machines asked, and then the driver's.

Decides what a worker has of its machine. Knows no rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.run.workers.cluster import joined
from batchroute.run.workers.driven import Where, run_driven
from batchroute.run.workers.nodes import asking
from batchroute.run.workers.ray import RayWorkers, room_on
from batchroute.run.workers.worker import work
from batchroute.store.layout import RunLayout
from batchroute.store.lock import locked

if TYPE_CHECKING:
    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.run.stop import Stopper
    from batchroute.run.workers.driver import Driver
    from batchroute.run.workers.messages import Stage

WITHOUT_TORCH = {"random", "length"}


async def run_on_ray(job: Job, options: RunOptions, source: Source, stopper: Stopper) -> RunEnd:
    """See `run_driven`. UsageFault where no cluster can be joined, or a machine of it cannot work on the run."""
    path, engine = Path(job.output.path), job.engine
    with locked(path, int(job.output.mode, 8)):
        pass  # where another run is at work, that is said before Ray is asked, which takes seconds
    with contextlib.ExitStack() as stack:
        ray = await asyncio.to_thread(stack.enter_context, joined(engine.address))
        question = stack.enter_context(asking(job, RunLayout(path).probe))
        room = await asyncio.to_thread(room_on, ray, question, engine.cpus)
        if not (engine.workers or room):
            raise UsageFault(
                f"no machine of the Ray cluster has {engine.cpus:g} CPUs, as engine.cpus asks; "
                "set engine.workers where it grows by itself"
            )

        def begin(driver: Driver, stage: Stage, order: bytes) -> RayWorkers:
            gpus = engine.gpus if stage == "score" and scorers else 0.0
            return RayWorkers(ray, engine, gpus, driver, work, order, question, options.notify)

        scorers = gpu_scorers(job, ray.cluster_resources().get("GPU", 0.0))
        where = Where(begin, most=engine.workers or room, local=False, scorers=scorers)
        return await run_driven(job, options, source, stopper, where)


def gpu_scorers(job: Job, gpus: float) -> int:
    """How many scorers a cluster with so many GPUs has them for; 0 where the router needs none."""
    if job.engine.gpus == 0 or job.router.use in WITHOUT_TORCH:
        return 0
    return int(gpus // job.engine.gpus)
