"""What became of the shards of a run, and its report, which the last process at work writes.

All is read off the directory, so that it does not matter who is the last.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from batchroute.report.figures import write_report
from batchroute.run.end import Counts, end_report, running_report
from batchroute.store.ended import write_root_failed
from batchroute.store.files import saving
from batchroute.store.lock import turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchroute.job.spec import Job
    from batchroute.report.figures import EngineFigures
    from batchroute.run.end import RunEnd
    from batchroute.run.shards.queue import ShardTask
    from batchroute.store.sharded import ShardedDirectory


def wanted_rows(directory: ShardedDirectory, task: ShardTask) -> int | None:
    """How many rows of a shard are wanted; None until its scores tell."""
    rows = task.shard.rows
    if rows is None:
        scores = directory.scores_of(task.shard)
        rows = scores.rows if scores.exhausted or scores.rows >= (task.limit or sys.maxsize) else None
    return rows if rows is None or task.limit is None else min(rows, task.limit)


def wanted_in_all(directory: ShardedDirectory, tasks: Iterable[ShardTask]) -> int | None:
    """The same of all of them; None until it is known of each."""
    rows = [wanted_rows(directory, task) for task in tasks]
    known = [each for each in rows if each is not None]
    return sum(known) if len(known) == len(rows) else None


def is_done(directory: ShardedDirectory, task: ShardTask) -> bool:
    """Whether nothing is left to ask of a shard: every wanted row is answered or refused."""
    done, wanted = directory.done(task.shard.number), wanted_rows(directory, task)
    return done is not None and wanted is not None and not done.failed and done.rows >= wanted


def split_done(directory: ShardedDirectory, tasks: Iterable[ShardTask]) -> tuple[list[ShardTask], list[ShardTask]]:
    """Those of them that are done, and those that are left."""
    done: list[ShardTask] = []
    left: list[ShardTask] = []
    for task in tasks:
        (done if is_done(directory, task) else left).append(task)
    return done, left


def counts_of(directory: ShardedDirectory, tasks: Iterable[ShardTask]) -> Counts:
    """How the rows of those of them ended whose rows have all ended."""
    ended = [done for task in tasks if (done := directory.done(task.shard.number)) is not None]
    return Counts(
        sum(sum(done.ok.values()) for done in ended),
        sum(done.refused for done in ended),
        sum(done.failed for done in ended),
    )


def begin_report(job: Job, directory: ShardedDirectory, tasks: Sequence[ShardTask], limit: int | None) -> None:
    """report.json says that figures are on their way; what an earlier run was complete by is no longer so."""
    run = directory.layout
    _fix_rows(job, directory, wanted_in_all(directory, tasks), limit)
    report = running_report(run.path)
    with saving(run.path), turn(run):
        run.success.unlink(missing_ok=True)
        write_report(run.path, report)


def report_end(
    job: Job,
    directory: ShardedDirectory,
    tasks: Sequence[ShardTask],
    end: RunEnd,
    limit: int | None,
    engine: EngineFigures | None = None,
) -> bool:
    """The report of the whole run, where no other process is at work on it; returns whether that is so.

    `end` is how this process ended; of others that ended early it is known why.
    """
    if not directory.leave([*end.stopped, *end.by_signal]):
        return False
    run, rows = directory.layout, wanted_in_all(directory, tasks)
    _fix_rows(job, directory, rows, limit)
    ok, refused, failed = counts_of(directory, tasks)
    whole = dataclasses.replace(end, rows=rows, ok=ok, refused=refused, failed=failed)
    if not whole.complete:
        whole = dataclasses.replace(whole, stopped=(*end.stopped, *_why_others(directory, end)))
    report = end_report(run.path, whole, ok_if_refused=job.limits.ok_if_refused, engine=engine)
    with directory.last_word() as is_ours:
        if is_ours:
            write_root_failed(run.path)
            write_report(run.path, report)
    return is_ours


def _fix_rows(job: Job, directory: ShardedDirectory, rows: int | None, limit: int | None) -> None:
    """Puts into job.toml how many rows are wanted, where that is known and the job names its threshold.

    One that is found stands there with the rows that it was found by, and holds for no others.
    """
    threshold = job.routing.threshold
    if rows is not None and threshold is not None:
        directory.fix_threshold(threshold, rows, limit)


def _why_others(directory: ShardedDirectory, end: RunEnd) -> list[str]:
    """Why others than this process ended early, but for what it says itself.

    As "shares 0/3, 2/3: the weak lane ...; run the same command again to go on".
    """
    own, shares = {*end.stopped, *end.by_signal}, dict[str, list[str]]()
    for share, why in directory.why_others_ended().items():
        for reason in why:
            if reason not in own:
                shares.setdefault(reason, []).append(share)
    return [f"share{'s' if len(of) > 1 else ''} {', '.join(of)}: {reason}" for reason, of in shares.items()]
