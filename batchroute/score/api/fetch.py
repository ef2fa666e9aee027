"""Texts -> scores, by asking for their vectors over one lane: grouped, and divided where a text spoils a request.

The lane retries, limits and stops as any other. What it cannot know is decided here: whether the server packs
vectors, which text of a refused request is to blame, and what becomes of a text that gets no vector.
"""

# A server that refuses a request for the sake of one text does not say which. Eight texts, of which f is bad:
#
#     abcdefgh  refused
#     abcd      answered      efgh  refused
#                             ef    refused      gh  answered
#                             e     answered     f   refused alone: f gets no vector, and its row is refused
#
# That is 2 log2(n) + 1 requests: 7 here, 17 of 256 texts; and every good text is answered, and billed, once. Where
# all texts are refused the texts are not to blame: after stop_after_same_refusal such answers the lane stops, long
# before every text has been asked alone.

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from batchroute.send.classify import stop_reason
from batchroute.send.lane import Lane
from batchroute.send.refusals import SameRefusal
from batchroute.types import StopReason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from batchroute.score.api.requests import EmbedRequest, EmbedText, RequestBuilder
    from batchroute.send.allowance import Allowance
    from batchroute.send.classify import Answer
    from batchroute.send.request import Outcome, Spent
    from batchroute.send.retry import RetryPolicy
    from batchroute.types import Usage, Vectors

    # Of each text that is asked for: its score, why it has none, or None where the lane stopped before.
    Pending: TypeAlias = Mapping[str, asyncio.Future["float | NoVector | None"]]


class ScoreVectors(Protocol):
    """Makes scores of vectors, and keeps them before it returns; called in a worker thread, one at a time."""

    def __call__(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> list[float]:
        """[n] for n texts and `vectors` [n, dim]; without vectors only what the request was billed is kept."""
        ...


# Refusals that speak of the texts, whatever form their vectors are asked for in.
_OF_THE_TEXT = frozenset({"context_length", "content_filter", "http_413", "answer_too_large"})


@dataclass(frozen=True, slots=True)
class NoVector:
    """Why a text has no vector and never will."""

    reason: str


class Fetcher:
    """All requests of one embedder, and their sink; `run` has to be under way while `scores` is awaited.

    `truncated` and `refused` count texts that were shortened, and those that got no vector.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[Answer]],
        policy: RetryPolicy,
        allowance: Allowance,
        builder: RequestBuilder,
        score_vectors: ScoreVectors,
        report: Callable[[str], None],
        *,
        most_open: int,
    ) -> None:
        """A refused or failing request is this class's responsibility, so the lane must not hold it back."""
        self.truncated = 0
        self.refused = 0
        self._builder = builder
        self._score_vectors = score_vectors
        self._queue: asyncio.Queue[EmbedRequest | None] = asyncio.Queue()
        self._pending: dict[str, asyncio.Future[float | NoVector | None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._arrivals: asyncio.TaskGroup | None = None
        self._takes_base64: bool | None = None  # None: not known yet
        self._is_answered = False  # a request, and well
        self._unsettled = 0
        self._ended = False
        self._failures: list[tuple[str, str]] = []  # texts alone that failed since the last good answer
        self._refusals: SameRefusal[tuple[str, str]] = SameRefusal(policy.stop_after_same_refusal)
        alone = replace(policy, stop_after_same_refusal=0, excuse_outages=False)
        self.lane: Lane[EmbedRequest] = Lane(
            {"": lambda request: send(request.body)}, alone, allowance, report, most_open=most_open
        )

    async def run(self) -> None:
        """Until `close`, or until the lane stops."""
        try:
            async with asyncio.TaskGroup() as self._arrivals:
                await self.lane.deliver(self._requests(), self)
        finally:
            self._ended = True
            for text in self._pending:
                self._resolve(text, None)

    def close(self) -> None:
        """No more texts will be asked for."""
        self._queue.put_nowait(None)

    async def ask(self, texts: Sequence[str]) -> Pending:
        """Begins to ask for these different texts, behind all that were asked for before.

        Those that are pending already are not asked for again.
        """
        new = [text for text in texts if text not in self._pending]
        loop = asyncio.get_running_loop()
        self._pending |= {text: loop.create_future() for text in new}
        pending = {text: self._pending[text] for text in texts}
        for group in await asyncio.to_thread(lambda: list(self._builder.group(new))):
            self.truncated += sum(len(text.sent) < len(text.whole) for text in group)
            self._ask(group)
        if self._ended:
            for text in new:
                self._resolve(text, None)
        return pending

    async def scores(self, pending: Pending) -> Mapping[str, float | NoVector] | None:
        """A score, or why there is none, for each of the texts; None where the lane stopped before."""
        for future in pending.values():
            if not future.done():  # the texts of a request are done together, so few of them are waited for
                await asyncio.wait([future])  # unlike a plain await, this never cancels what others wait for, too
        for text in pending:
            self._pending.pop(text, None)
        results = {text: future.result() for text, future in pending.items()}
        found = {text: result for text, result in results.items() if result is not None}
        return found if len(found) == len(pending) else None

    def _ask(self, texts: tuple[EmbedText, ...], *, as_base64: bool | None = None) -> None:
        """Puts a request in the queue. Base64 is a quarter of the bytes of numbers, and a tenth of the work."""
        as_base64 = self._takes_base64 is not False if as_base64 is None else as_base64
        self._unsettled += 1
        self._queue.put_nowait(self._builder.build(texts, as_base64=as_base64))

    async def _requests(self) -> AsyncGenerator[EmbedRequest, None]:
        while (request := await self._queue.get()) is not None:
            yield request

    def settle(self, request: EmbedRequest, outcome: Outcome) -> None:
        """See `Sink`."""
        if outcome.status == "open":
            self._abandon(request)
            self.lane.stop(stop_reason(outcome.answer))
            return
        self._unsettled -= 1
        vectors: Vectors | None = outcome.answer.vectors if outcome.status == "ok" else None
        is_good = vectors is not None and len(vectors) == len(request.texts)
        if is_good:
            self._is_answered = True
            self._refusals.succeeded()
            self._takes_base64 = self._takes_base64 or request.as_base64
            self._arrive(request.texts, vectors, outcome.usages)
        else:
            self._arrive((), None, outcome.usages)
            count = 0 if vectors is None else len(vectors)
            wrong = outcome.answer.error or f"{count} vectors for {len(request.texts)} texts"
            self._refuse(request, outcome, wrong)
        # Texts that stand alone are to blame themselves: others were answered, or there are no others.
        if is_good or not self._unsettled or not self._refusals.watching:
            self._give_up(self._refusals.release())
        if is_good or (self._is_answered and not self._unsettled):
            failures, self._failures = self._failures, []
            self._give_up(failures)

    def leave(self, request: EmbedRequest, spent: Spent) -> None:
        """See `Sink`."""
        self._abandon(request)

    def _refuse(self, request: EmbedRequest, outcome: Outcome, reason: str) -> None:
        """A server that has no base64 refuses whatever is asked for so; that says nothing of the texts."""
        of_the_text = outcome.answer.error_type in _OF_THE_TEXT
        if self._takes_base64 is None and request.as_base64 and not of_the_text:
            self._ask(request.texts, as_base64=False)
        elif self._is_answered or not self._is_too_many(reason):
            self._divide(request.texts, outcome, reason)

    def _is_too_many(self, reason: str) -> bool:
        """Counts a refusal, and stops the lane where it is one too many.

        Until something is answered all requests count, then only texts alone: one bad text among 256 spoils their
        request, and as many requests are under way as the lane has slots.
        """
        too_many = self._refusals.refused(reason)
        if too_many is None:
            return False
        self._refusals.release()
        self.lane.stop(StopReason(f"{too_many} with no success between", reason, "fix [router.embedder]"))
        return True

    def _divide(self, texts: tuple[EmbedText, ...], outcome: Outcome, reason: str) -> None:
        """Finds the text that spoils a request, by halves; alone, it is made shorter or gets no vector."""
        only, half = texts[0], len(texts) // 2
        if half:
            self._ask(texts[:half])
            self._ask(texts[half:])
        elif outcome.status == "failed":
            self._fail(only, reason)
        elif outcome.status == "refused" and self._builder.limit.may_be_too_long(only, outcome.answer.error_type):
            self.truncated += len(only.sent) == len(only.whole)
            self._ask((only.shortened(),))
        else:
            self._refusals.hold((only.whole, reason))
            if self._is_answered:
                self._is_too_many(reason)

    def _fail(self, text: EmbedText, reason: str) -> None:
        """A text that fails alone is to blame itself once another request is answered well, before it or after.

        An endpoint that is away is noticed by the lane's breaker, before its texts are alone.
        """
        self._failures.append((text.whole, reason))
        if not self._is_answered and not self._unsettled:
            self.lane.stop(StopReason(reason, advice="nothing else was answered meanwhile; run again later"))

    def _give_up(self, refusals: list[tuple[str, str]]) -> None:
        self.refused += len(refusals)
        for text, reason in refusals:
            self._resolve(text, NoVector(reason))

    def _arrive(self, texts: Sequence[EmbedText], vectors: Vectors | None, usages: Sequence[Usage]) -> None:
        """Scores are made and kept beside the event loop; the lane goes on meanwhile."""
        if self._arrivals is not None and (texts or usages):
            self._arrivals.create_task(self._keep([text.whole for text in texts], vectors, usages))

    async def _keep(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> None:
        async with self._one_at_a_time:
            scores = await asyncio.to_thread(self._score_vectors, texts, vectors, usages)
        for text, score in zip(texts, scores, strict=True):
            self._resolve(text, score)

    def _abandon(self, request: EmbedRequest) -> None:
        for text in request.texts:
            self._resolve(text.whole, None)

    def _resolve(self, text: str, result: float | NoVector | None) -> None:
        future = self._pending.get(text)
        if future is not None and not future.done():
            future.set_result(result)
