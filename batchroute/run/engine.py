"""A job from input to results: looked at before anything is sent, and given to the engine that it names.

local        this process, the whole input            run/local
--shard      this process, a share of the shards      run/shards/alone
processes    several on this machine                  run/workers/on_machine
ray          a running cluster                        run/workers/on_ray
"""
# ruff: noqa: PLC0415  # a run in this process does not load what the others do

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import cause_of
from batchroute.job.prices import open_targets
from batchroute.run.local import run_local
from batchroute.run.notify import notified
from batchroute.run.open import open_input, refuse_unbounded_media, refuse_unpriced
from batchroute.run.pilot.fit import refuse_unfit_pilot
from batchroute.run.process import raise_file_limit, run_loop
from batchroute.run.stop import Stopper
from batchroute.send.open import asked_by, connections
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions


def run_job(job: Job, options: RunOptions) -> RunEnd:
    """Runs a job to its end, or as far as it goes; blocks. Leaves report.json, and `_SUCCESS` where all is well.

    Raises UsageFault before anything is sent, Stopped where a run cannot begin or can no longer save.
    """
    return run_loop(arun_job(job, options))


async def arun_job(job: Job, options: RunOptions) -> RunEnd:
    """As `run_job`, inside a running event loop whose signals it handles meanwhile."""
    return await JobRun(job, options).go()


class JobRun:
    """One run of a job, once; `stop` ends it early."""

    def __init__(self, job: Job, options: RunOptions) -> None:
        self._job = job
        self._options = options
        self._stopper = Stopper(job.limits.drain_s, options.notify)

    def stop(self, reason: str) -> None:
        """Sends nothing more, awaits answers in flight up to limits.drain_s, and ends with this reason.

        From inside the event loop of `go`, at any time.
        """
        self._stopper.stop(reason)

    def interrupt(self, number: int) -> None:
        """What a signal of this number does, where none arrives: in another thread than the main one.

        From inside the event loop of `go`; the first one drains as `stop` does, a second one abandons.
        """
        self._stopper.interrupt(number)

    async def go(self) -> RunEnd:
        """See `run_job`; `arun_job` is the same."""
        return await notified(self._job, self._options.environ, self._options.notify, self._go())

    async def _go(self) -> RunEnd:
        job = self._job
        targets = open_targets(job.asked)
        refuse_unpriced(job, targets)
        source = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
        refuse_unbounded_media(job, source)
        refuse_unfit_pilot(job)
        raise_file_limit(connections(asked_by(job)))
        try:
            return await self._by_engine(source, targets)
        except BaseExceptionGroup as group:
            raise cause_of(group) from group

    async def _by_engine(self, source: Source, targets: Mapping[str, Target]) -> RunEnd:
        """By the engine that the job names, which is imported for that; a share of the shards has no other one."""
        job, options, stopper = self._job, self._options, self._stopper
        use = job.engine.use if options.share is None else "local"
        if use == "processes":
            from batchroute.run.workers.on_machine import run_on_processes

            return await run_on_processes(job, options, source, stopper)
        if use == "ray":
            from batchroute.run.workers.on_ray import run_on_ray

            return await run_on_ray(job, options, source, stopper)
        if options.share is not None or RunLayout(Path(job.output.path)).shards.exists():
            from batchroute.run.shards.alone import run_share

            return await run_share(job, options, source, stopper)
        return await run_local(job, options, source, targets, stopper)
