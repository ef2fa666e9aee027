"""Requests that come at the same time are scored together: what queued while the last batch was scored.

No timer: alone, a request is scored at once; the busier the server, the larger the batches. How texts get their
scores, in a thread or by way of an embeddings API, is the affair of a run's raters.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchroute.errors import ModelFault, Stopped
from batchroute.input.asking import Refusal
from batchroute.score.questions import bare_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.score.rater import Rater, Rating
    from batchroute.score.router import Scorer
    from batchroute.types import Floats

MOST_BATCHES = 4  # under way at an embeddings API, which takes its time over each
REST_S = 5.0  # before an embeddings API that stopped is tried again


class JointScoring:
    """Scores texts for many callers of one event loop, while `run` runs; `batches` and `texts` count them."""

    def __init__(self, scorer: Scorer, rating: Rating) -> None:
        self.batches = 0
        self.texts = 0
        self._scorer = scorer
        self._rating = rating
        self._waiting: list[tuple[str, asyncio.Future[float]]] = []
        self._arrived = asyncio.Event()
        self._resting: str | None = None

    async def score(self, text: str) -> float:
        """ModelFault where the router fails on this text, Refusal where it can have no score, Stopped for now."""
        if self._resting is not None:
            raise Stopped(self._resting)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        self._arrived.set()
        score: float = await future
        return score

    async def run(self) -> None:
        """Until cancelled; a rater that stops is begun anew after a rest."""
        while True:
            async with self._rating(self._scorer) as rater:
                await self._rate_all(rater)
            self._resting = f"nothing is scored for now: the embedder {rater.stopped}"
            waiting, self._waiting = self._waiting, []
            for _, future in waiting:
                _fail(future, Stopped(self._resting))
            await asyncio.sleep(REST_S)
            self._resting = None

    async def _rate_all(self, rater: Rater) -> None:
        free = asyncio.Semaphore(1 if rater.ahead == 1 else MOST_BATCHES)
        async with asyncio.TaskGroup() as group:
            while rater.stopped is None:
                await self._arrived.wait()
                await free.acquire()
                size = self._scorer.batch_size
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                if not self._waiting:
                    self._arrived.clear()
                task = group.create_task(self._rate([entry for entry in batch if not entry[1].done()], rater))
                task.add_done_callback(lambda _: free.release())

    async def _rate(self, batch: Sequence[tuple[str, asyncio.Future[float]]], rater: Rater) -> None:
        self.batches += bool(batch)
        self.texts += len(batch)
        found = await rate_each(rater, [text for text, _ in batch])
        for (_, future), score in zip(batch, found, strict=True):
            if isinstance(score, Exception):
                _fail(future, score)
            elif not future.done():
                future.set_result(score)


def _fail(future: asyncio.Future[float], error: Exception) -> None:
    if not future.done():  # whoever asked may have gone
        future.set_exception(error)


async def rate_each(rater: Rater, texts: list[str]) -> Sequence[float | Exception]:
    """A score for each text, or what there is against it: one bad text spoils no other's score."""
    if not texts:
        return []
    try:
        rated = await rater.rate(bare_questions(texts))
    except ModelFault as fault:
        if len(texts) == 1:
            return [fault]
        return [score for text in texts for score in await rate_each(rater, [text])]
    if rated is None:
        return [Stopped(f"the embedder {rater.stopped}")] * len(texts)
    scores: list[float | Exception] = list(rated.scores.tolist())
    for place, reason in rated.refusals.items():
        scores[place] = Refusal(reason)
    return scores


async def rate_texts(rating: Rating, scorer: Scorer, texts: list[str]) -> Floats:
    """[n] scores of n texts, NaN where one cannot have a score; Stopped where the embedder stopped before."""
    async with rating(scorer) as rater:
        rated = await rater.rate(bare_questions(texts))
    if rated is None:
        raise Stopped(f"the embedder {rater.stopped}")
    return rated.scores
