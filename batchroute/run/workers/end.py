"""How a run by workers ended: what its files say, and why it ended early, as its workers do."""

from __future__ import annotations

import dataclasses
import resource
from typing import TYPE_CHECKING

from batchroute.report.figures import EngineFigures
from batchroute.run.end import end_of
from batchroute.run.shards.finish import counts_of, is_done, wanted_in_all
from batchroute.store.ended import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.lease.limiter import Limiter
    from batchroute.report.figures import Report
    from batchroute.run.end import RunEnd
    from batchroute.run.shards.queue import ShardTask
    from batchroute.run.stop import Stopper
    from batchroute.run.workers.driver import Driver
    from batchroute.store.sharded import ShardedDirectory


def driven_end(
    driver: Driver, directory: ShardedDirectory, tasks: Sequence[ShardTask], stopper: Stopper, *, asked: bool
) -> RunEnd:
    """Of the whole run; `asked`: something was left to do when it began."""
    rows, counts = wanted_in_all(directory, tasks), counts_of(directory, tasks)
    wall_s = driver.progress.elapsed_s
    end = end_of(stopper, {}, counts, rows=rows, wall_s=wall_s, asked=asked)
    said = [*_of_lanes(driver.limiter), *_of_shards(driver.limiter.queue.left, tasks)]
    if driver.limiter.drain is not None and not stopper.stopping:
        said.append(driver.limiter.drain)
    return dataclasses.replace(
        end,
        stopped=(*end.stopped, *said),
        causes=(*end.causes, *said),
        stopped_code=driver.code or end.stopped_code,
    )


def as_reported(end: RunEnd, report: Report | None) -> RunEnd:
    """With the rows of shards that are not done, which the report has counted."""
    if report is None:
        return end
    return dataclasses.replace(end, ok=report.ok, refused=report.refused, failed=report.failed)


def _of_lanes(limiter: Limiter) -> list[str]:
    """Why lanes stopped; those with the same reason are named together."""
    names: dict[str, list[str]] = {}
    for name, lane in limiter.lanes.items():
        if lane.found.stop is not None:
            names.setdefault(lane.found.stop, []).append(name)
    return [f"{', '.join(together)}: {reason}" for reason, together in names.items()]


def _of_shards(left: Mapping[int, str], tasks: Sequence[ShardTask]) -> list[str]:
    """Shards that nobody goes on with, with their places, but those whose lanes ended."""
    places = {task.shard.number: place_of(task.shard) for task in tasks}
    return [why if places[n] in why else f"shard {n} ({places[n]}): {why}" for n, why in left.items() if why]


def engine_figures(
    driver: Driver, directory: ShardedDirectory, tasks: Sequence[ShardTask], *, use: str, workers: int
) -> EngineFigures:
    """What the report says of so many workers."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return EngineFigures(
        use=use,
        workers=workers,
        workers_lost=driver.losses.workers,
        shards=len(tasks),
        shards_done=sum(is_done(directory, task) for task in tasks),
        leases_per_s=driver.leases / max(driver.progress.elapsed_s, 1e-9),
        driver_cpu_s=spent.ru_utime + spent.ru_stime,
        paid_twice_bound=driver.losses.paid_twice,
    )
