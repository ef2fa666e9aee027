"""Source -> scores on disk, a chunk at a time in a worker thread, while the lanes send what is scored already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchroute.store import saving
from batchroute.threshold import threshold_for_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.router import Scorer
    from batchroute.scores import Scores
    from batchroute.source import Chunk, Source


class Scoring:
    """Scores what is not scored yet, up to `limit` rows of the input in all."""

    def __init__(self, source: Source, scores: Scores, limit: int | None, scorer: Callable[[], Scorer]) -> None:
        """`scorer` is called, in the worker thread, only when there is something to score: models load slowly."""
        self._source = source
        self._scores = scores
        self._limit = limit
        self._load = scorer
        self._stopping = False
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

    async def run(self) -> None:
        """Until all is scored or `stop` was called; what was scored is sealed either way."""
        if not self.complete:
            scorer = await asyncio.to_thread(self._load)
            chunks = self._source.chunks(self._scores.end)
            while await asyncio.to_thread(self._step, scorer, chunks):
                await self._scores.announce()
        await self._scores.announce(finished=True)

    def stop(self) -> None:
        """After the chunk at hand."""
        self._stopping = True

    def _step(self, scorer: Scorer, chunks: Iterator[Chunk]) -> bool:
        """Scores one chunk; False when it was the last."""
        left = None if self._limit is None else self._limit - self.rows
        chunk = None if self._stopping or left == 0 else next(chunks, None)
        if chunk is None:
            with saving(self._scores.folder):
                self._scores.close(last=not self._stopping and left != 0)
            return False
        chunk = chunk if left is None else chunk.head(left)
        questions = chunk.questions()
        scores = scorer.score(questions)
        with saving(self._scores.folder):
            self._scores.add(chunk, questions, scores)
        self.rows += len(questions.texts)
        return True


def share_threshold(scores: Scores, share: float) -> float:
    """The threshold that sends this share of the scored rows strong; rows that demand a side do not count."""
    return threshold_for_share(scores.free(), share)[0]
