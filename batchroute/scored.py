"""A job's input, scored into its run directory and no more: a run that follows does not score it again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.directory import open_run_directory
from batchroute.engine import load_scorer, open_input, refuse_unbuilt
from batchroute.scores import Scores
from batchroute.scoring import Scoring
from batchroute.store import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.job import Job, RouterSpec
    from batchroute.router import Scorer
    from batchroute.source import Source

TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class ScoredInput:
    """All the rows that are wanted, scored; `threshold` is the one that a run in this directory settled on."""

    source: Source
    scores: Scores
    threshold: float | None = None


@contextlib.contextmanager
def scored_job(job: Job, limit: int | None, on_rows: Callable[[int], None]) -> Iterator[ScoredInput]:
    """Scores what is not scored yet of up to `limit` rows; the run directory is locked meanwhile and after.

    `on_rows` is told the rows scored so far, a few times a second. Raises UsageFault where a run would, Stopped
    where another is at work in the directory.
    """
    refuse_unbuilt(job)
    path = Path(job.output.path)
    source = open_input(job.input, job.router, path)
    with locked(path, int(job.output.mode, 8)):
        directory = open_run_directory(job, source)

        def scorer() -> Scorer:
            loaded = load_scorer(job.router)
            directory.hold_to(loaded.identity)
            return loaded

        try:
            asyncio.run(_score(Scoring(source, directory.scores, limit, scorer), on_rows))
            yield ScoredInput(source, directory.scores, directory.identity.threshold)
        finally:
            directory.store.close()


def score_into(
    folder: Path, source: Source, router: RouterSpec, limit: int | None, on_rows: Callable[[int], None]
) -> ScoredInput:
    """Scores an input that belongs to no job; the scores live in `folder`."""
    scores = Scores(folder)
    asyncio.run(_score(Scoring(source, scores, limit, lambda: load_scorer(router)), on_rows))
    return ScoredInput(source, scores)


async def _score(scoring: Scoring, on_rows: Callable[[int], None]) -> None:
    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            on_rows(scoring.rows)

    telling = asyncio.create_task(tell())
    try:
        await scoring.run()
    finally:
        telling.cancel()
