"""One shard that this process works on: its rows are scored, asked and kept, until all of them have ended.

Knows one shard; which are worked on, and by which lanes, is decided by the engine.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.run.scoring import Scoring
    from batchroute.run.shard import ShardRun
    from batchroute.run.shards.queue import ShardTask
    from batchroute.send.request import Delivery, Request
    from batchroute.store.directory import RunDirectory


@dataclass(slots=True)
class OpenShard:
    """`out` requests of it are with the lanes; `fed` are the lanes that have been given all their rows.

    `place` is its number among those that the process opened. The `threshold` is set when its rows may be asked:
    when what finished runs have answered is taken over.
    """

    place: int
    task: ShardTask
    directory: RunDirectory
    rows: ShardRun
    scoring: Scoring
    threshold: asyncio.Future[float] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    out: int = 0
    fed: set[str] = field(default_factory=set)
    closing: bool = False
    scored: asyncio.Task[None] | None = None
    _beside: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def number(self) -> int:
        return self.task.shard.number

    @property
    def ended_rows(self) -> int | None:
        """How many rows are wanted, where all of them have ended, though some may have failed; else None."""
        wanted, store = self.scoring.wanted_rows, self.directory.store
        has_ended = wanted is not None and store.tally.done + len(store.failed()) >= wanted
        return wanted if has_ended else None

    def begin(self, group: asyncio.TaskGroup) -> None:
        """What goes on beside the lanes, as long as it is open."""
        store = self.directory.store
        self._beside = [group.create_task(store.keep_synced()), group.create_task(store.keep_sealed())]

    async def score(self, lowest: float, reuse: Delivery[Request] | None) -> None:
        """Scores what is not scored yet, and sets the threshold when its rows may be asked."""
        if reuse is None:
            self.threshold.set_result(lowest)
        await self.scoring.run()
        if reuse is not None and self.scoring.complete:
            await self.rows.take_over(reuse, lowest)
            self.threshold.set_result(lowest)

    async def close(self) -> None:
        """Nothing works on it any more, and all full journals are sealed."""
        await self.directory.store.sealed()
        for task in self._beside:
            task.cancel()
        await asyncio.wait(self._beside)
        self.rows.close()
