"""The threshold of a run over shards: named by the job, or found once every shard is scored.

Whoever finds all scores there works it out, from the same scores to the same value, and puts it into job.toml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.errors import Stopped
from batchroute.job.prices import open_targets
from batchroute.report.ties import tie_at
from batchroute.route.forecast.estimator import make_estimator, resolve_threshold
from batchroute.run.resolved import refuse_moved
from batchroute.store.scores import FreeScores
from batchroute.store.shard_scores import is_whole, joined_parts, scores_by_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.shards.queue import ShardTask
    from batchroute.store.scores import ScorePart
    from batchroute.store.sharded import ShardedDirectory

_MOST_NAMED = 8


def unscored(directory: ShardedDirectory, tasks: Sequence[ShardTask]) -> list[ShardTask]:
    """Those of the shards of which not every wanted row has its score, as the footers of their parts say."""
    return _unscored(scores_by_shard(directory.layout, {task.shard.number for task in tasks}), tasks)


def _unscored(found: Mapping[int, Sequence[ScorePart]], tasks: Sequence[ShardTask]) -> list[ShardTask]:
    return [task for task in tasks if not is_whole(found.get(task.shard.number, ()), task.limit)]


def settled_threshold(
    job: Job,
    source: Source,
    directory: ShardedDirectory,
    tasks: Sequence[ShardTask],
    limit: int | None,
    notify: Callable[[str], None],
) -> float:
    """Where every shard is scored; in job.toml when this returns. Stopped, naming those that are not.

    AnsweredOtherwise where a row that is answered would change side.
    """
    found = scores_by_shard(directory.layout)
    if missing := [task.shard.number for task in _unscored(found, tasks)]:
        raise Stopped(f"scores of {_named(missing)} are missing, and the threshold waits for all: {WHAT_NOW}")
    parts = joined_parts(found, (task.shard.number for task in tasks))
    rows, routing = sum(part.rows for part in parts), job.routing
    known = directory.identity.threshold_for(rows) if routing.threshold is None else routing.threshold
    if known is None:
        free = FreeScores(parts)
        known = resolve_threshold(
            routing, free, lambda: make_estimator(job, open_targets(job.asked), source, parts)
        )
        refuse_moved(directory.layout.path, directory.identity, known, rows)
        if tie := tie_at(free, known, routing.strong_fraction):
            notify(tie.words)
    directory.fix_threshold(known, rows, limit)
    return known


WHAT_NOW = "run `batchroute score --shard` for every share first, then `run --shard`"


def _named(numbers: Sequence[int]) -> str:
    """As "shard 3", "shards 3, 7", "shards 3, 7, ... (412 in all)"."""
    if len(numbers) == 1:
        return f"shard {numbers[0]}"
    listed = ", ".join(map(str, numbers[:_MOST_NAMED]))
    return f"shards {listed}" if len(numbers) <= _MOST_NAMED else f"shards {listed}, ... ({len(numbers):,} in all)"
