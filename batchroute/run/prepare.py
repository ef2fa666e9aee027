"""A job's input, scored into its run directory and no more: a run that follows does not score it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import Stopped
from batchroute.job.spec import Limits
from batchroute.run.open import open_input, refuse_unbounded_media
from batchroute.run.options import RunOptions
from batchroute.run.pilot.fit import refuse_unfit_pilot
from batchroute.run.pilot.routers import router_named
from batchroute.run.scoring import Scoring, scorer_loader
from batchroute.run.shards.alone import scored_share
from batchroute.run.shards.likely import likely_senders
from batchroute.run.told import told
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.score.router import LoadedFrom
from batchroute.send.budget import open_budget
from batchroute.send.open import asks_for_vectors
from batchroute.store.directory import open_run_directory
from batchroute.store.embeddings import read_bill
from batchroute.store.layout import RunLayout
from batchroute.store.lock import locked
from batchroute.store.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.open import Source
    from batchroute.job.spec import Job, RouterSpec
    from batchroute.run.told import OnRows
    from batchroute.send.budget import Budget
    from batchroute.store.directory import RunDirectory

log = logging.getLogger("batchroute")


@dataclass(frozen=True, slots=True)
class ScoredInput:
    """All the rows that are wanted, scored.

    `threshold` is the one that a run in this directory settled on for as many rows. `begun`: it has answered or
    refused a row, `ended`: all of them.
    """

    source: Source
    scores: Scores
    threshold: float | None = None
    begun: bool = False
    ended: bool = False


@contextlib.contextmanager
def scored_job(job: Job, limit: int | None, on_rows: OnRows) -> Iterator[ScoredInput]:
    """Scores what is not scored yet of up to `limit` rows; the run directory is locked meanwhile and after.

    `on_rows` is told the rows scored so far, a few times a second. Raises UsageFault where a run would, Stopped
    where another is at work in the directory.
    """
    path = Path(job.output.path)
    source = open_input(job.input, job.router, path, raw=job.output.raw)
    refuse_unbounded_media(job, source)
    refuse_unfit_pilot(job)
    if job.engine.use != "local" or RunLayout(path).shards.exists():
        yield from _scored_shards(job, source, limit, on_rows)
        return
    with locked(path, int(job.output.mode, 8)):
        directory = open_run_directory(job, source)
        router = router_named(directory.identity.router, job, directory.layout)
        budget = _budget(job, directory)
        context = EmbedContext(os.environ, job.limits, log.warning, budget, directory.layout)
        try:
            scoring = Scoring(
                source,
                directory.scores,
                limit,
                scorer_loader(router, directory),
                rater_opener(router, context),
                LoadedFrom(router, directory.identity.scorer),
            )
            asyncio.run(_score(scoring, on_rows))
            if budget is not None:
                budget.close()
            done, unsettled = directory.store.tally.done, directory.store.unsettled
            yield ScoredInput(
                source,
                directory.scores,
                directory.identity.threshold_for(scoring.wanted_rows),
                begun=done > 0,
                ended=done >= directory.scores.rows > 0 and not unsettled,
            )
        finally:
            directory.close()


def _scored_shards(job: Job, source: Source, limit: int | None, on_rows: OnRows) -> Iterator[ScoredInput]:
    """The same of a directory that has shards, or is to be cut: a run by workers goes on from there."""
    options = RunOptions(os.environ, limit=limit, notify=log.warning)
    with scored_share(job, options, source, on_rows, likely_senders(job)) as scored:
        done = scored.counts.ok + scored.counts.refused
        yield ScoredInput(
            scored.source,
            scored.scores,
            scored.identity.threshold_for(scored.rows),
            begun=done > 0,
            ended=done >= scored.rows > 0 and not scored.counts.failed,
        )


def _budget(job: Job, directory: RunDirectory) -> Budget | None:
    """Scoring costs money only where an embedder is asked."""
    limit = job.limits.max_cost_usd
    if limit is None or not asks_for_vectors(job.router):
        return None
    return open_budget(directory.layout.ledger, limit, directory.spent_usd + read_bill(directory.layout).usd)


def score_into(
    folder: Path, source: Source, router: RouterSpec, limit: int | None, on_rows: OnRows
) -> ScoredInput:
    """Scores an input that belongs to no job; the scores live in `folder`."""
    scores = Scores(folder)
    context = EmbedContext(os.environ, Limits(), log.warning)
    opener = rater_opener(router, context)
    scoring = Scoring(source, scores, limit, scorer_loader(router), opener, LoadedFrom(router))
    asyncio.run(_score(scoring, on_rows))
    return ScoredInput(source, scores)


async def _score(scoring: Scoring, on_rows: OnRows) -> None:
    async with told(on_rows, lambda: scoring.rows):
        await scoring.run(parallel=True)
    if scoring.stopped is not None:
        raise Stopped(f"the embedder stopped: {scoring.stopped}")
