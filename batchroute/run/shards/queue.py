"""Which shards a process works on: a list of its own, or whatever a driver gives it.

Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from batchroute.lease.messages import ShardEnd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.store.shards import Shard


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to work on, and how many of its rows are wanted; None: all."""

    shard: Shard
    limit: int | None = None


class ShardQueue(Protocol):
    """Where a process gets its shards from, and says what became of each."""

    async def take(self) -> ShardTask | None:
        """The next one, waited for where others may come; None: there are no more."""
        ...

    def give_back(self, end: ShardEnd) -> None: ...


class OwnShards:
    """See `ShardQueue`: those of a `--shard` process, in order; `left` are those that it could not end."""

    def __init__(self, tasks: Iterable[ShardTask]) -> None:
        self.left: list[ShardEnd] = []
        self._tasks = iter(tasks)

    async def take(self) -> ShardTask | None:
        return next(self._tasks, None)

    def give_back(self, end: ShardEnd) -> None:
        if not end.done:
            self.left.append(end)
