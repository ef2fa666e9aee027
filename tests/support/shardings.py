"""Run directories that are cut into shards, opened by real processes of each kind."""

from __future__ import annotations

import contextlib
import os
import signal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batchroute.input.chunk import Position
from batchroute.input.cut import Shard
from batchroute.run.open import open_input
from batchroute.store.sharded import Share, open_sharded
from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from batchroute.store.directory import RunDirectory
    from batchroute.store.sharded import Role, ShardedDirectory

FILE = "prompts.jsonl"
ROWS_A_SHARD = 4
SHARDS = 3
ALONE = Share(0, 1)


def write_input(folder: Path) -> None:
    """The rows of all shards, each with an id, and the shards.json that says how they are cut."""
    lines(folder / FILE, *({"prompt": f"question {row}"} for row in range(SHARDS * ROWS_A_SHARD)))
    (folder / "run").mkdir(exist_ok=True)
    job = job_of(folder / FILE, folder / "run")
    files = open_input(job.input, job.router, None).fingerprint()
    cuts = [[each.number, FILE, *_place(each.start), *_place(each.end)] for each in shards_of(folder)]
    written = {"shard_mb": job.engine.shard_mb, "files": files, "shards": cuts}
    (folder / "run" / "shards.json").write_bytes(msgspec.json.encode(written))


def _place(position: Position) -> tuple[int, int]:
    return position.row, position.offset


def shards_of(folder: Path) -> list[Shard]:
    """As the input of `write_input` is cut, each of ROWS_A_SHARD rows."""
    starts = [0]
    for line in (folder / FILE).read_bytes().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    cuts = [Position(0, row, starts[row]) for row in range(0, len(starts), ROWS_A_SHARD)]
    return [Shard(number, FILE, start, end, ROWS_A_SHARD) for number, (start, end) in enumerate(pairwise(cuts))]


@contextlib.contextmanager
def sharded(
    folder: Path, role: Role = ALONE, changes: Mapping[str, Any] | None = None, *, retry_refused: bool = False
) -> Iterator[ShardedDirectory]:
    """The directory of the job whose input `write_input` wrote, with these changes of its settings."""
    job = job_of(folder / FILE, folder / "run", dict(changes or {}))
    source = open_input(job.input, job.router, folder / "run")
    with open_sharded(job, source, role, retry_refused=retry_refused) as directory:
        yield directory


def score(folder: Path, of: RunDirectory, shard: Shard, *, last: bool = True) -> None:
    """All rows of a shard, scored the same; `last`: it is known that these are all."""
    job = job_of(folder / FILE, folder / "run")
    for chunk in open_input(job.input, job.router, None).between(shard.start, shard.end).chunks():
        of.scores.add(chunk, chunk.questions(), np.full(len(chunk.rows), 0.5))
    of.scores.close(last=last)


class Entered:
    """Another process that has entered the directory, with these shards open, until the block ends."""

    def __init__(self, folder: Path, role: Role, *shards: int) -> None:
        is_in, has_entered = os.pipe()
        is_over, self._end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._end)
            try:
                with sharded(folder, role) as directory:
                    _ = [directory.open(shards_of(folder)[number]) for number in shards]
                    os.write(has_entered, b"!")
                    os.read(is_over, 1)
            finally:
                os._exit(0)
        for theirs in (has_entered, is_over):
            os.close(theirs)
        self._is_in = is_in

    def __enter__(self) -> Self:
        assert os.read(self._is_in, 1) == b"!", "the other process failed"
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in (self._end, self._is_in):
            os.close(pipe)
        if self.pid:
            os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """As the kernel does for want of memory."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0


def killed(folder: Path, role: Role, *shards: int) -> None:
    """A process that enters the directory, opens these shards, and is killed."""
    with Entered(folder, role, *shards) as other:
        other.kill()
