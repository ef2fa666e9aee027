"""A run whose workers are processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.run.workers.driven import Where, run_driven
from batchroute.run.workers.processes import ProcessWorkers
from batchroute.score.cores import usable_cores

if TYPE_CHECKING:
    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.run.stop import Stopper
    from batchroute.run.workers.driver import Driver
    from batchroute.run.workers.messages import Stage


async def run_on_processes(job: Job, options: RunOptions, source: Source, stopper: Stopper) -> RunEnd:
    """See `run_driven`; one worker for each CPU that this process may use, where the job names no number."""

    def begin(driver: Driver, stage: Stage, order: bytes) -> ProcessWorkers:
        return ProcessWorkers(driver, order, options.environ)

    return await run_driven(job, options, source, stopper, Where(begin, most=usable_cores(), local=True))
