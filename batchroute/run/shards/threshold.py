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
from batchroute.store.scores import FreeScores, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.shards.queue import ShardTask
    from batchroute.store.scores import ScorePart
    from batchroute.store.sharded import ShardedDirectory

_MOST_NAMED = 8


def is_scored(directory: ShardedDirectory, task: ShardTask) -> bool:
    """Whether every wanted row of a shard has its score, as the footers of its parts say."""
    scores = Scores(directory.layout.scores, task.shard.number)
    return scores.exhausted or (task.limit is not None and scores.rows >= task.limit)


def score_parts(directory: ShardedDirectory, tasks: Sequence[ShardTask]) -> list[ScorePart]:
    """The scores of these shards, in input order."""
    folder = directory.layout.scores
    return [part for task in tasks for part in Scores(folder, task.shard.number).parts]


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
    missing = [task.shard.number for task in tasks if not is_scored(directory, task)]
    if missing:
        raise Stopped(f"scores of {_named(missing)} are missing, and the threshold waits for all: {WHAT_NOW}")
    parts = score_parts(directory, tasks)
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
