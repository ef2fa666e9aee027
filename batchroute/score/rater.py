"""Texts as a scorer reads them; chunks -> chunks with scores, in order, as many at a time as the rater can use.

Knows neither models nor disks: a `Rater` gives the scores, the caller stores them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batchroute.types import Questions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from batchroute.input.chunk import Chunk
    from batchroute.score.router import Scorer
    from batchroute.types import Floats, Vectors

    OpenRater: TypeAlias = "Callable[[Scorer], AbstractAsyncContextManager[Rater]]"
    InFlight: TypeAlias = "tuple[Chunk, Questions, asyncio.Task[Rated | None]]"
    Read: TypeAlias = "Callable[[], tuple[Chunk, Questions] | None]"

AT_ONCE_CHARS = 4096  # of one text: less work than to hand it to a thread and back
CHARS_IN_FLIGHT = 16 << 20  # of texts that are being rated, however few rows they are


def bare_questions(texts: Sequence[str], vectors: Vectors | None = None) -> Questions:
    """Texts that belong to no input row; `vectors` [n, dim] are theirs."""
    count = len(texts)
    return Questions(
        texts=list(texts),
        ids=[None] * count,
        forced=[None] * count,
        refused=np.zeros(count, np.bool_),
        chars=np.fromiter(map(len, texts), np.int64, count),
        vectors=vectors,
    )


@dataclass(frozen=True, slots=True)
class Rated:
    """`scores` [n], NaN where there is none; `refusals` says why, by row, where the input does not."""

    scores: Floats
    refusals: Mapping[int, str] = field(default_factory=dict)


class Rater(Protocol):
    """Gives questions their scores; it can use `ahead` rows at a time, or fewer of `ahead_chars` characters.

    `sent` is how many requests it made, `stopped` why it ended of its own accord, `spent_usd` what is known of the
    bill of the run directory's embeddings, over all runs. After `stop` it begins nothing
    more, after `abandon` it does not wait for what is in flight, either.
    """

    @property
    def ahead(self) -> int: ...
    @property
    def ahead_chars(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def stopped(self) -> str | None: ...
    @property
    def spent_usd(self) -> Decimal: ...

    async def rate(self, questions: Questions) -> Rated | None:
        """None where the rater stopped before all of them had their scores."""
        ...

    def stop(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass(slots=True)
class ThreadRater:
    """The rater of a scorer that needs no requests: a chunk at a time, beside the event loop.

    A single short text is scored on the spot, which takes less time than to change threads. Always in the same
    `thread`: torch and the allocator keep a pool of their own for every thread that calls them.
    """

    scorer: Scorer
    thread: Executor
    ahead: int = 1
    ahead_chars: int = CHARS_IN_FLIGHT
    sent: int = 0
    stopped: str | None = None
    spent_usd: Decimal = Decimal(0)

    async def rate(self, questions: Questions) -> Rated | None:
        if self.scorer.quick and len(questions.texts) == 1 and questions.chars[0] <= AT_ONCE_CHARS:
            return Rated(self.scorer.score(questions))
        loop = asyncio.get_running_loop()
        return Rated(await loop.run_in_executor(self.thread, self.scorer.score, questions))

    def stop(self) -> None:
        """A chunk is soon done."""

    def abandon(self) -> None:
        """A thread cannot be left."""


@contextlib.asynccontextmanager
async def open_thread_rater(scorer: Scorer) -> AsyncIterator[Rater]:
    """See `ThreadRater`."""
    with ThreadPoolExecutor(1, "scorer") as thread:
        yield ThreadRater(scorer, thread)


async def rated_chunks(read: Read, rater: Rater) -> AsyncGenerator[tuple[Chunk, Questions, Rated], None]:
    """What `read` gives (in a worker thread, until None) with its scores; ends early where the rater stops."""
    # A rater in a thread has ahead = 1: a chunk is read, rated and given. One behind an API has 16,384: of chunks
    # of 1,000 rows 17 are in flight, and where the third is answered first it waits for the two before it.
    in_flight: deque[InFlight] = deque()
    more = True
    try:
        while True:
            while more and _has_room(in_flight, rater):
                found = await asyncio.to_thread(read)
                more = found is not None
                if found is not None:
                    in_flight.append((*found, asyncio.create_task(rater.rate(found[1]))))
            if not in_flight or (rated := await in_flight[0][2]) is None:
                return
            chunk, questions, _ = in_flight.popleft()
            yield chunk, questions, rated
    finally:
        tasks = [task for _, _, task in in_flight]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _has_room(in_flight: deque[InFlight], rater: Rater) -> bool:
    rows = sum(len(questions.texts) for _, questions, _ in in_flight)
    chars = sum(int(questions.chars.sum()) for _, questions, _ in in_flight)
    return rows < rater.ahead and chars < rater.ahead_chars
