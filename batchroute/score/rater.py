"""Chunks -> chunks with scores, in their order, as many at a time as whoever rates them can use.

Knows neither models nor disks: a `Rater` gives the scores, whoever iterates puts them away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from batchroute.input.chunk import Chunk
    from batchroute.score.router import Scorer
    from batchroute.types import Floats, Questions

    OpenRater: TypeAlias = "Callable[[Scorer], AbstractAsyncContextManager[Rater]]"
    Read: TypeAlias = "Callable[[], tuple[Chunk, Questions] | None]"

AT_ONCE_CHARS = 4096  # of one text: less work than to hand it to a thread and back
CHARS_AHEAD = 16 << 20  # of texts under way, however few rows they are


@dataclass(frozen=True, slots=True)
class Rated:
    """`scores` [n], NaN where there is none; `refusals` says why, by row, where the input does not."""

    scores: Floats
    refusals: Mapping[int, str] = field(default_factory=dict)


class Rater(Protocol):
    """Gives questions their scores; `ahead` is how many rows it can use at a time.

    `stopped` is why it ended of its own accord. After `stop` it begins nothing more, after `abandon` it does not
    even wait for what is under way.
    """

    @property
    def ahead(self) -> int: ...
    @property
    def stopped(self) -> str | None: ...

    async def rate(self, questions: Questions) -> Rated | None:
        """None where the rater stopped before all of them had their scores."""
        ...

    def stop(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass(slots=True)
class ThreadRater:
    """The rater of a scorer that needs no requests: a chunk at a time, beside the event loop.

    But for a single short text, where that takes no time. Always in the same `thread`: torch and the allocator
    keep a pool of their own for every thread that calls them.
    """

    scorer: Scorer
    thread: Executor
    ahead: int = 1
    stopped: str | None = None

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


@dataclass(frozen=True, slots=True)
class _UnderWay:
    chunk: Chunk
    questions: Questions
    task: asyncio.Task[Rated | None]


async def rated_chunks(read: Read, rater: Rater) -> AsyncGenerator[tuple[Chunk, Questions, Rated], None]:
    """What `read` gives (in a worker thread, until None) with its scores; ends early where the rater stops."""
    under_way: deque[_UnderWay] = deque()
    more = True
    try:
        while True:
            while more and _has_room(under_way, rater.ahead):
                found = await asyncio.to_thread(read)
                more = found is not None
                if found is not None:
                    under_way.append(_UnderWay(*found, asyncio.create_task(rater.rate(found[1]))))
            if not under_way or (rated := await under_way[0].task) is None:
                return
            first = under_way.popleft()
            yield first.chunk, first.questions, rated
    finally:
        for left in under_way:
            left.task.cancel()
        await asyncio.gather(*(left.task for left in under_way), return_exceptions=True)


def _has_room(under_way: deque[_UnderWay], ahead: int) -> bool:
    rows = sum(len(each.questions.texts) for each in under_way)
    return rows < ahead and sum(int(each.questions.chars.sum()) for each in under_way) < CHARS_AHEAD
