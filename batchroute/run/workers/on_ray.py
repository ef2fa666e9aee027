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

        def begin(driver: Driver, order: bytes) -> RayWorkers:
            return RayWorkers(ray, engine, driver, work, order, question, options.notify)

        return await run_driven(
            job, options, source, stopper, Where(begin, most=engine.workers or room, local=False)
        )
