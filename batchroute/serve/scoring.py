"""Requests that come at the same time are scored together: what queued while the last batch was scored.

Knows a router and texts; nothing of requests or endpoints. How texts get their scores, in a thread or from an
embeddings API, is decided by a run's raters.

There is no timer that waits for more: a batch is what arrived while the one before it was scored. Say the router
takes 1 ms for a text and 0.01 ms for each further one. At 100 requests/s one arrives every 10 ms, the router is
idle, and each is a batch of its own that takes 1 ms. At 50,000 requests/s, 50 arrive within the first millisecond:
they are the second batch and take 1.5 ms, in which 75 arrive, which take 1.75 ms, and so on to batches of about
100 in 2 ms: as many a second as arrive, and none waits for longer than two batches. The router's batch_size is the
largest batch; what is beyond it waits for its turn.
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from batchroute.errors import ModelFault, Stopped, cause_of
from batchroute.input.row import Refusal
from batchroute.score.rater import bare_questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.score.rater import OpenRater, Rater
    from batchroute.score.router import Scorer
    from batchroute.types import Floats, Questions

MOST_BATCHES = 4  # under way at an embeddings API, which takes its time over each
REST_S = 5.0  # before an embeddings API that stopped is tried again


class JointScoring:
    """Scores texts for many callers of one event loop, while `run` runs; `batches` and `texts` count them."""

    def __init__(self, scorer: Scorer, open_rater: OpenRater, notify: Callable[[str], None]) -> None:
        """`notify` takes what the router of a user's own raised, once for each line of code that raises."""
        self.batches = 0
        self.texts = 0
        self._scorer = replace(scorer, rate=_guarded(scorer.rate))
        self._open_rater = open_rater
        self._notify = notify
        self._raised_at: set[str] = set()
        self._waiting: list[tuple[str, asyncio.Future[float]]] = []
        self._arrived = asyncio.Event()
        self._stopped: str | None = None

    async def score(self, text: str) -> float:
        """ModelFault where the router fails on this text, Refusal where it can have no score, Stopped for now."""
        if self._stopped is not None:
            raise Stopped(self._stopped)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        self._arrived.set()
        score: float = await future
        return score

    async def run(self) -> None:
        """Until cancelled; a rater that stops is begun anew after a rest."""
        try:
            while True:
                async with self._open_rater(self._scorer) as rater:
                    await self._rate_all(rater)
                self._stop(f"nothing is scored for now: the embedder {rater.stopped}")
                await asyncio.sleep(REST_S)
                self._stopped = None
        except asyncio.CancelledError:
            self._stop("nothing is scored any more: closed")
            raise
        except Exception as error:
            cause = cause_of(error) if isinstance(error, ExceptionGroup) else error
            self._stop(f"nothing is scored any more: {cause}")
            raise

    def _stop(self, reason: str) -> None:
        """No caller is left waiting for a score that will not come."""
        self._stopped = reason
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            _resolve(future, Stopped(reason))

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
        try:
            found = await self._rate_each(rater, [text for text, _ in batch])
        except Exception as error:
            for _, future in batch:
                _resolve(future, Stopped(f"nothing is scored any more: {error}"))
            raise
        for (_, future), score in zip(batch, found, strict=True):
            _resolve(future, score)

    async def _rate_each(self, rater: Rater, texts: list[str]) -> Sequence[float | Exception]:
        """A score for each text, or what there is against it: one bad text spoils no other's score."""
        if not texts:
            return []
        try:
            rated = await rater.rate(bare_questions(texts))
        except ModelFault as fault:
            if len(texts) > 1:
                return [score for text in texts for score in await self._rate_each(rater, [text])]
            self._report(fault)
            return [fault]
        if rated is None:
            return [Stopped(f"the embedder {rater.stopped}")] * len(texts)
        scores: list[float | Exception] = list(rated.scores.tolist())
        for place, reason in rated.refusals.items():
            scores[place] = Refusal(reason)
        return scores

    def _report(self, fault: ModelFault) -> None:
        error = fault.__cause__
        if error is None:
            return
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
        if place not in self._raised_at:
            self._raised_at.add(place)
            self._notify(
                f"the router raised {type(error).__name__} at {place}: {error}; such requests get an error 500"
            )


def _guarded(rate: Callable[[Questions], Floats]) -> Callable[[Questions], Floats]:
    """A router whose exceptions belong to one request: whatever a user's class raises, the server goes on.

    The message goes to a client, so it names only the type of the exception.
    """

    def guarded(questions: Questions) -> Floats:
        try:
            return rate(questions)
        except ModelFault:
            raise
        except Exception as error:
            raise ModelFault(f"the router raised {type(error).__name__}") from error

    return guarded


def _resolve(future: asyncio.Future[float], score: float | Exception) -> None:
    if future.done():  # its caller has gone
        return
    if isinstance(score, Exception):
        future.set_exception(score)
    else:
        future.set_result(score)


async def score_texts(open_rater: OpenRater, scorer: Scorer, texts: list[str]) -> Floats:
    """[n] scores of n texts, NaN where one cannot have a score; Stopped where the embedder stopped before."""
    async with open_rater(scorer) as rater:
        rated = await rater.rate(bare_questions(texts))
    if rated is None:
        raise Stopped(f"the embedder {rater.stopped}")
    return rated.scores
