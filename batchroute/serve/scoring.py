"""Requests that come at the same time are scored together: what queued while the last batch was scored.

No timer: alone, a request is scored at once; the busier the server, the larger the batches. One thread scores.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import ModelFault
from batchroute.types import Questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.router import Scorer
    from batchroute.types import Floats


class JointScoring:
    """Scores texts for many callers of one event loop; `batches` and `texts` count what was done."""

    def __init__(self, scorer: Scorer) -> None:
        self.batches = 0
        self.texts = 0
        self._scorer = scorer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._waiting: list[tuple[str, asyncio.Future[float]]] = []
        self._working: asyncio.Task[None] | None = None

    async def score(self, text: str) -> float:
        """ModelFault where the router fails on this text."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        score: float = await future
        return score

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                size = self._scorer.batch_size
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                await self._score([entry for entry in batch if not entry[1].done()])
        finally:
            self._working = None

    async def _score(self, batch: Sequence[tuple[str, asyncio.Future[float]]]) -> None:
        loop = asyncio.get_running_loop()
        texts = [text for text, _ in batch]
        scores = await loop.run_in_executor(self._thread, score_each, self._scorer, texts)
        self.batches += 1
        self.texts += len(batch)
        for (_, future), score in zip(batch, scores, strict=True):
            if future.done():  # whoever asked has gone
                continue
            if isinstance(score, ModelFault):
                future.set_exception(score)
            else:
                future.set_result(score)


def score_each(scorer: Scorer, texts: list[str]) -> Sequence[float | ModelFault]:
    """A score for each text, or what the router has against it: one bad text spoils no other's score."""
    try:
        return [float(score) for score in score_texts(scorer, texts)]
    except ModelFault as fault:
        if len(texts) == 1:
            return [fault]
    return [score for text in texts for score in score_each(scorer, [text])]


def score_texts(scorer: Scorer, texts: list[str]) -> Floats:
    """[n] scores of n texts that stand in no file."""
    count = len(texts)
    return scorer.score(
        Questions(
            texts=texts,
            ids=[None] * count,
            forced=[None] * count,
            refused=np.zeros(count, np.bool_),
            chars=np.fromiter(map(len, texts), np.int64, count),
        )
    )
