"""Texts -> scores, by asking for their vectors over one lane: grouped, and divided where a text spoils a request.

The lane retries, limits and stops as any other. What it cannot know is decided here: whether the server packs
vectors, which text of a refused request is to blame, and what becomes of a text that gets no vector.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from batchroute.send.breaker import SameRefusal
from batchroute.send.classify import stop_reason
from batchroute.send.lane import Lane

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from batchroute.score.api.batches import Batch, Speller, Text
    from batchroute.send.allowance import Allowance
    from batchroute.send.classify import Answer
    from batchroute.send.request import Outcome, Spent
    from batchroute.send.retry import RetryPolicy
    from batchroute.types import Usage, Vectors


class Take(Protocol):
    """Makes scores of vectors, and keeps them before it returns; called in a worker thread, one at a time."""

    def __call__(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> list[float]:
        """[n] for n texts and `vectors` [n, dim]; without vectors only the bill of a vain request is kept."""
        ...


# Refusals that speak of the texts, whatever form their vectors are asked for in.
_OF_THE_TEXT = frozenset({"context_length", "content_filter", "http_413", "answer_too_large"})


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a text has no vector and never will."""

    reason: str


@dataclass(slots=True, eq=False)
class Order:
    """Texts that somebody waits for; `done` is False where the lane stopped before the last of them came."""

    left: int
    done: asyncio.Future[bool]
    found: dict[str, float | Unanswered] = field(default_factory=dict)

    def put(self, text: str, value: float | Unanswered) -> None:
        self.found[text] = value
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(True)

    def leave(self) -> None:
        if not self.done.done():
            self.done.set_result(False)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Texts that were asked for: `texts` by this order, those in `shared` by earlier ones that are not done."""

    texts: Sequence[str]
    order: Order
    shared: Mapping[str, Order]


class Fetching:
    """All requests of one embedder; `run` has to be under way while `scores` is awaited.

    `cut` and `vain` count texts that were shortened, and those that got no vector.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[Answer]],
        policy: RetryPolicy,
        allowance: Allowance,
        speller: Speller,
        take: Take,
        say: Callable[[str], None],
        *,
        most_open: int,
    ) -> None:
        """A refused or failing request is this class's responsibility, so the lane must not hold it back."""
        self.cut = 0
        self.vain = 0
        self._speller = speller
        self._take = take
        self._queue: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._orders: dict[str, Order] = {}
        self._taking = asyncio.Lock()
        self._arrivals: asyncio.TaskGroup | None = None
        self._packed: bool | None = None  # whether vectors come as base64; None: not known yet
        self._answers = 0  # good ones
        self._failures: list[tuple[str, str]] = []  # texts alone that failed since the last good answer
        self._unsettled = 0
        self._ended = False
        self._refusals: SameRefusal[tuple[str, str]] = SameRefusal(policy.stop_after_same_refusal)
        alone = replace(policy, stop_after_same_refusal=0, excuse_outages=False)
        self.lane: Lane[Batch] = Lane(lambda batch: send(batch.body), alone, allowance, say, most_open=most_open)

    async def run(self) -> None:
        """Until `close`, or until the lane stops."""
        try:
            async with asyncio.TaskGroup() as self._arrivals:
                await self.lane.deliver(self._batches(), self)
        finally:
            self._ended = True
            for order in set(self._orders.values()):
                order.leave()

    def close(self) -> None:
        """Nobody waits for anything any more."""
        self._queue.put_nowait(None)

    async def ask(self, texts: Sequence[str]) -> Waiting:
        """Begins to ask for these different texts, behind all that were asked for before."""
        shared = {text: self._orders[text] for text in texts if text in self._orders}
        wanted = [text for text in texts if text not in shared]
        order = Order(len(wanted), asyncio.get_running_loop().create_future())
        self._orders |= dict.fromkeys(wanted, order)
        for group in await asyncio.to_thread(lambda: list(self._speller.grouped(wanted))):
            self.cut += sum(len(text.sent) < len(text.whole) for text in group)
            self._ask(group)
        if not wanted:
            order.done.set_result(True)
        elif self._ended:
            order.leave()
        return Waiting(wanted, order, shared)

    async def scores(self, waiting: Waiting) -> Mapping[str, float | Unanswered] | None:
        """A score, or why there is none, for each of the texts; None where the lane stopped before."""
        order, shared = waiting.order, waiting.shared
        complete = [await each.done for each in {order, *shared.values()}]
        for text in waiting.texts:
            self._orders.pop(text, None)
        found = order.found | {text: other.found[text] for text, other in shared.items() if text in other.found}
        return found if all(complete) else None

    def _ask(self, texts: tuple[Text, ...], *, packed: bool | None = None) -> None:
        """Puts a request in the queue. Base64 is a quarter of the bytes of numbers, and a tenth of the work."""
        as_base64 = self._packed is not False if packed is None else packed
        self._unsettled += 1
        self._queue.put_nowait(self._speller.batch(texts, as_base64=as_base64))

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        while (batch := await self._queue.get()) is not None:
            yield batch

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """See `Sink`."""
        if outcome.status == "open":
            self._leave(batch)
            self.lane.stop(stop_reason(outcome.answer))
            return
        self._unsettled -= 1
        answers = self._answers
        vectors: Vectors | None = outcome.answer.vectors if outcome.status == "ok" else None
        if vectors is not None and len(vectors) == len(batch.texts):
            self._answers += 1
            self._refusals.ok()
            self._packed = self._packed or batch.as_base64
            self._arrive(batch.texts, vectors, outcome.usages)
        else:
            if outcome.usages:
                self._arrive((), None, outcome.usages)
            count = 0 if vectors is None else len(vectors)
            self._refused(batch, outcome, outcome.answer.error or f"{count} vectors for {len(batch.texts)} texts")
        if self._refusals.decided or not self._unsettled:
            self._give_up(self._refusals.release())
        if self._answers > answers or (self._answers and not self._unsettled):
            failures, self._failures = self._failures, []
            self._give_up(failures)

    def _refused(self, batch: Batch, outcome: Outcome, reason: str) -> None:
        """A server that has no base64 refuses whatever is asked for so; that says nothing of the texts."""
        of_the_text = outcome.answer.error_type in _OF_THE_TEXT
        if self._packed is None and batch.as_base64 and not of_the_text:
            self._ask(batch.texts, packed=False)
        elif not self._refusals.decided and self._refusals.refused(reason):
            self._refusals.release()
            self.lane.stop(f"the first answers are all the same refusal ({reason}); fix [router.embedder]")
        else:
            self._divide(batch, outcome, reason)

    def _divide(self, batch: Batch, outcome: Outcome, reason: str) -> None:
        """Finds the text that spoils a request, by halves; alone, it is made shorter or gets no vector."""
        texts, only = batch.texts, batch.texts[0]
        too_long = self._speller.cutter.may_be_too_long(only, outcome.answer.error_type)
        if len(texts) > 1:
            self._ask(texts[: len(texts) // 2])
            self._ask(texts[len(texts) // 2 :])
        elif outcome.status == "refused" and too_long:
            self.cut += len(only.sent) == len(only.whole)
            self._ask((only.shortened(),))
        elif outcome.status == "failed":
            self._failed(only, reason)
        else:
            self._refusals.hold((only.whole, reason))

    def _failed(self, text: Text, reason: str) -> None:
        """A text that fails alone is to blame itself once another request is answered well, before it or after.

        An endpoint that is away is noticed by the lane's breaker, before its texts are alone.
        """
        self._failures.append((text.whole, reason))
        if not self._answers and not self._unsettled:
            self.lane.stop(f"{reason}; nothing else was answered meanwhile; run again later")

    def _give_up(self, refusals: list[tuple[str, str]]) -> None:
        """These texts are to blame themselves: others were answered, or there are no others."""
        self.vain += len(refusals)
        for text, reason in refusals:
            self._put(text, Unanswered(reason))

    def _arrive(self, texts: Sequence[Text], vectors: Vectors | None, usages: Sequence[Usage]) -> None:
        if self._arrivals is not None:
            self._arrivals.create_task(self._keep([text.whole for text in texts], vectors, usages))

    async def _keep(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> None:
        async with self._taking:
            scores = await asyncio.to_thread(self._take, texts, vectors, usages)
        for text, score in zip(texts, scores, strict=True):
            self._put(text, score)

    def _put(self, text: str, value: float | Unanswered) -> None:
        if text in self._orders:  # else whoever wanted it went away when the lane stopped
            self._orders[text].put(text, value)

    def leave(self, batch: Batch, spent: Spent) -> None:
        """See `Sink`."""
        self._leave(batch)

    def _leave(self, batch: Batch) -> None:
        for text in batch.texts:
            if text.whole in self._orders:
                self._orders[text.whole].leave()
