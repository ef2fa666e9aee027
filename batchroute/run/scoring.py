"""Source -> scores on disk, chunk by chunk in worker threads, while the lanes send what is scored already.

Where nothing else is done meanwhile, other processes score, too; here alone is written what they found.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from batchroute.input.ahead import ChunksAhead
from batchroute.score.parallel import open_rater_for
from batchroute.score.rater import open_thread_rater, rated_chunks
from batchroute.score.router import load_scorer
from batchroute.store.files import saving

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.spec import RouterSpec
    from batchroute.score.rater import OpenRater, Rated, Rater
    from batchroute.score.router import LoadedFrom, Scorer
    from batchroute.store.directory import RunDirectory
    from batchroute.store.scores import Scores
    from batchroute.types import Questions


def scorer_loader(router: RouterSpec, directory: RunDirectory | None = None) -> Callable[[], Scorer]:
    """Loads a job's router when it is called; the scores of a run `directory` must all come from the same one."""

    def load() -> Scorer:
        if directory is None:
            return load_scorer(router)
        scorer = load_scorer(router, directory.identity.scorer)
        directory.hold_to(scorer.identity)
        return scorer

    return load


class Scoring:
    """Scores what is not scored yet, up to `limit` rows of the input in all."""

    def __init__(
        self,
        source: Source,
        scores: Scores,
        limit: int | None,
        scorer: Callable[[], Scorer],
        open_rater: OpenRater = open_thread_rater,
        loaded_from: LoadedFrom | None = None,
    ) -> None:
        """`scorer` is called, in a worker thread, only when there is something to score: models load slowly.

        `loaded_from` is what other processes may load the same scorer from.
        """
        self._source = source
        self._scores = scores
        self._limit = limit
        self._load = scorer
        self._open_rater = open_rater
        self._loaded_from = loaded_from
        self._rater: Rater | None = None
        self._stopping = False
        self._read_rows = scores.rows
        self._at_end = False
        self._writing = threading.Lock()
        self.rows = scores.rows

    @property
    def complete(self) -> bool:
        """Whether every row that is wanted stands in a part."""
        enough = self._limit is not None and self._scores.rows >= self._limit
        return enough or self._scores.exhausted

    @property
    def wanted_rows(self) -> int | None:
        """How many rows of the input the run is about; None until that is known."""
        if not self.complete:
            return None
        return self._scores.rows if self._limit is None else min(self._limit, self._scores.rows)

    @property
    def sent(self) -> int:
        """Requests to an embedder."""
        return 0 if self._rater is None else self._rater.sent

    @property
    def stopped(self) -> str | None:
        """Why the rater ended before all rows were scored, where it was not stopped."""
        return None if self._rater is None else self._rater.stopped

    @property
    def spent_usd(self) -> Decimal | None:
        """What is known of the bill of the directory's embeddings; None while this run has begun none."""
        return None if self._rater is None else self._rater.spent_usd

    async def run(self, *, parallel: bool = False) -> None:
        """Until all is scored, `stop` was called or the rater stopped; what was scored is sealed either way.

        `parallel`: nobody else needs this machine's cores meanwhile.
        """
        if not self.complete:
            chunks, left = ChunksAhead(self._source.chunks(self._scores.end)), self._rows_left
            loaded_from = self._loaded_from if parallel else None
            async with open_rater_for(chunks, left, loaded_from, self._load, self._open_rater) as self._rater:
                if self._stopping:
                    self._rater.stop()
                await self._score_all(chunks, self._rater)
        await self._scores.announce(finished=True)

    def stop(self) -> None:
        """After the chunks at hand."""
        self._stopping = True
        if self._rater is not None:
            self._rater.stop()

    def abandon(self) -> None:
        """Without waiting for answers that are still out."""
        self.stop()
        if self._rater is not None:
            self._rater.abandon()

    @property
    def _rows_left(self) -> int | None:
        return None if self._limit is None else self._limit - self._read_rows

    async def _score_all(self, chunks: ChunksAhead, rater: Rater) -> None:
        try:
            async with contextlib.aclosing(rated_chunks(lambda: self._read(chunks), rater)) as rated:
                async for scored in rated:
                    await asyncio.to_thread(self._add, *scored)
                    await self._scores.announce()
        except BaseException:  # a Ctrl-C of a plan among them: what is scored is scored
            self._close()
            raise
        await asyncio.to_thread(self._close)

    def _read(self, chunks: ChunksAhead) -> tuple[Chunk, Questions] | None:
        left = self._rows_left
        chunk = None if self._stopping or left == 0 else next(chunks, None)
        if chunk is None:
            self._at_end = not self._stopping and left != 0
            return None
        chunk = chunk if left is None else chunk.head(left)
        self._read_rows += len(chunk.rows)
        return chunk, chunk.questions()

    def _add(self, chunk: Chunk, questions: Questions, rated: Rated) -> None:
        with self._writing, saving(self._scores.folder):
            self._scores.add(chunk, questions, rated.scores, rated.refusals)
            self.rows += len(questions.texts)

    def _close(self) -> None:
        with self._writing, saving(self._scores.folder):
            self._scores.close(last=self._at_end and self.rows == self._read_rows)
