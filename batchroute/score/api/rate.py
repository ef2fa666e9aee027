"""The rater of a router whose embedder is an API: what is known already, and a lane for the rest.

Puts the parts together: settings and keys -> an endpoint and its lane, vectors -> scores, scores and bill -> the
run directory, vectors -> the shared cache. An empty text needs no request: its vector is taken to be zero, which
says nothing for either side, so an MF router scores it 0.5.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import UsageFault, cause_of
from batchroute.job.prices import attempt_usd, open_embedder_target
from batchroute.job.secrets import Scrubber
from batchroute.score.api.cache import VectorCache
from batchroute.score.api.fetch import Fetcher, NoVector
from batchroute.score.api.paid import PaidScores
from batchroute.score.api.requests import TEXTS_IN_FLIGHT, RequestBuilder, read_vectors
from batchroute.score.rater import CHARS_IN_FLIGHT, Rated, bare_questions, open_thread_rater
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Transport
from batchroute.send.open import (
    asks_for_vectors,
    embedder_address,
    endpoint_limits,
    most_open,
    own_limits,
    retry_policy,
    secrets_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from batchroute.job.prices import Pricing
    from batchroute.job.spec import EmbedderSpec, Limits, RouterSpec
    from batchroute.score.rater import OpenRater, Rater
    from batchroute.score.router import Scorer
    from batchroute.send.budget import Budget
    from batchroute.store.layout import RunLayout
    from batchroute.types import Questions, Usage, Vectors

CACHED_AT_A_TIME = 1024  # vectors of the cache that are scored together


@dataclass(frozen=True, slots=True)
class EmbedContext:
    """What scoring by way of an embeddings API needs beside the embedder's settings.

    `say` takes what is worth knowing of the texts, `stopped` at once why the embedder stopped. `layout` is the run
    directory's or the shard's, which keeps what was paid for and whose money it is; `scrub` takes all keys out of
    what is written.
    """

    environ: Mapping[str, str] = field(repr=False)
    limits: Limits
    say: Callable[[str], None]
    budget: Budget | None = None
    layout: RunLayout | None = None
    scrub: Scrubber = field(default_factory=Scrubber)
    stopped: Callable[[str], None] = lambda reason: None


def rater_opener(router: RouterSpec, context: EmbedContext) -> OpenRater:
    """How a job's questions get their scores: in a thread, or by way of an embeddings API."""
    return partial(_open_api_rater, router.embedder, context) if asks_for_vectors(router) else open_thread_rater


@contextlib.asynccontextmanager
async def _open_api_rater(spec: EmbedderSpec, context: EmbedContext, scorer: Scorer) -> AsyncIterator[Rater]:
    target = open_embedder_target(spec)
    pricing = target.pricing
    if context.budget is not None and pricing is None:
        raise UsageFault("limits.max_cost_usd needs a price: set router.embedder.price = { input = ... }")
    known = KnownScores(
        scorer=scorer,
        paid=PaidScores(context.layout, scorer.identity),
        cache=VectorCache(Path(spec.cache), spec.model or "", spec.dimensions) if spec.cache else None,
        pricing=pricing,
    )
    try:
        with contextlib.closing(known):
            address = embedder_address(spec, context.limits, context.environ)
            context.scrub.add(secret.reveal() for secret in secrets_of([spec], context.environ))
            async with Transport(address) as transport, asyncio.TaskGroup() as group:
                fetcher = Fetcher(
                    Endpoint(transport, context.scrub, read=read_vectors).send,
                    retry_policy(spec, context.limits),
                    own_limits(endpoint_limits(spec), context.budget, target),
                    RequestBuilder(spec, pricing, 0 if context.layout is None else context.layout.shard or 0),
                    known.score_vectors,
                    context.stopped,
                    most_open=most_open(spec),
                )
                group.create_task(fetcher.run())
                rater = ApiRater(known, fetcher)
                try:
                    yield rater
                finally:
                    fetcher.close()
                known.sealed = not rater.stopping and fetcher.lane.stopped is None
    except BaseExceptionGroup as group_of_errors:
        raise cause_of(group_of_errors) from group_of_errors
    _say_what_was_odd(fetcher, rater, context.say)


def _say_what_was_odd(fetcher: Fetcher, rater: ApiRater, say: Callable[[str], None]) -> None:
    counts = (
        (fetcher.truncated, "cut to the longest input of the model"),
        (rater.empty, "empty and scored as a zero vector"),
        (fetcher.refused, "refused by the embedder"),
    )
    words = [f"{count:,} {what}" for count, what in counts if count]
    if words:
        say(f"texts to embed: {', '.join(words)}")


@dataclass(slots=True)
class KnownScores:
    """Scores that need no request, and the making and keeping of those that do; for worker threads.

    `sealed`: at the end every score is in a sealed part, so that none of those on file here is needed any more.
    """

    scorer: Scorer
    paid: PaidScores
    cache: VectorCache | None
    pricing: Pricing | None
    sealed: bool = False

    def find(self, texts: Sequence[str]) -> dict[str, float]:
        """Of the texts that were paid for, are empty, or have a vector in the cache."""
        found = self.paid.known(texts)
        if "" in texts:
            found |= self._scored([""], np.zeros((1, self.scorer.vector_length or 0), np.float32))
        missing = [text for text in texts if text not in found]
        if self.cache is not None:
            for start in range(0, len(missing), CACHED_AT_A_TIME):
                found |= self._usable(self.cache.get(missing[start : start + CACHED_AT_A_TIME]))
        return found

    def score_vectors(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> list[float]:
        """See `fetch.ScoreVectors`."""
        scores = [] if vectors is None else list(self._scored(texts, vectors).values())
        if vectors is not None and self.cache is not None:
            self.cache.put(texts, vectors)
        self.paid.add(texts, scores, self._usd(usages))
        return scores

    def close(self) -> None:
        self.paid.close(sealed=self.sealed)
        if self.cache is not None:
            self.cache.close()

    def _usable(self, cached: Mapping[str, Vectors]) -> dict[str, float]:
        usable = {text: row for text, row in cached.items() if len(row) == self.scorer.vector_length}
        return self._scored(list(usable), np.stack(list(usable.values()))) if usable else {}

    def _scored(self, texts: Sequence[str], vectors: Vectors) -> dict[str, float]:
        scores = self.scorer.score(bare_questions(texts, vectors))
        return dict(zip(texts, scores.tolist(), strict=True))

    def _usd(self, usages: Sequence[Usage]) -> Decimal | None:
        costs = [attempt_usd(usage, self.pricing) for usage in usages]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(costs) else None


class ApiRater:
    """See `Rater`."""

    def __init__(self, known: KnownScores, fetcher: Fetcher) -> None:
        self.ahead = TEXTS_IN_FLIGHT
        self.ahead_chars = CHARS_IN_FLIGHT
        self.stopping = False
        self.empty = 0
        self._in_turn = asyncio.Lock()  # what comes first in the input is asked for first, and sealed first
        self._known = known
        self._fetcher = fetcher

    @property
    def sent(self) -> int:
        return self._fetcher.lane.sent

    @property
    def stopped(self) -> str | None:
        return self._fetcher.lane.stopped

    @property
    def spent_usd(self) -> Decimal:
        return self._known.paid.bill.usd

    async def rate(self, questions: Questions) -> Rated | None:
        usable = [text for text, refused in zip(questions.texts, questions.refused, strict=True) if not refused]
        self.empty += usable.count("")
        texts = list(dict.fromkeys(usable))
        async with self._in_turn:
            known = await asyncio.to_thread(self._known.find, texts)
            pending = await self._fetcher.ask([text for text in texts if text not in known])
        asked = await self._fetcher.scores(pending)
        if asked is None:
            return None
        await asyncio.to_thread(self._known.paid.sync)
        return _rated(questions, {**known, **asked})

    def stop(self) -> None:
        self.stopping = True
        self._fetcher.lane.stop()

    def abandon(self) -> None:
        self.stopping = True
        self._fetcher.lane.abandon()


def _rated(questions: Questions, found: Mapping[str, float | NoVector]) -> Rated:
    """A row whose text got no vector has no score; that refuses it, unless it demands a side."""
    scores = np.full(len(questions.texts), np.nan)
    refusals: dict[int, str] = {}
    for row in np.flatnonzero(~questions.refused).tolist():
        value = found[questions.texts[row]]
        if not isinstance(value, NoVector):
            scores[row] = value
        elif questions.forced[row] is None:
            refusals[row] = f"the embedder refused it: {value.reason}"
    return Rated(scores, refusals)
