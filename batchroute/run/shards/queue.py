"""Which shards a process works on: a list of its own, or whatever a driver gives it.

Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.input.cut import Shard

# `locked`: another process has it; `returned`: unfinished, for anybody to go on with; `left`: for nobody.
ShardOutcome: TypeAlias = Literal["done", "locked", "returned", "left"]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to work on, and how many of its rows are wanted; None: all."""

    shard: Shard
    limit: int | None = None


class TaskQueue(Protocol):
    """Where a process gets its shards from, and says what became of each."""

    async def take(self) -> ShardTask | None:
        """The next one, waited for where others may come; None: there are no more."""
        ...

    def give_back(self, number: int, outcome: ShardOutcome, said: str | None = None) -> None:
        """`said`: why it is not done."""
        ...


class OwnShards:
    """See `TaskQueue`: those of a `--shard` process, in order; `unfinished` says why some could not be ended."""

    def __init__(self, tasks: Iterable[ShardTask]) -> None:
        self.unfinished: list[str] = []
        self._tasks = iter(tasks)

    async def take(self) -> ShardTask | None:
        return next(self._tasks, None)

    def give_back(self, number: int, outcome: ShardOutcome, said: str | None = None) -> None:
        if said is not None:
            self.unfinished.append(said)
