"""What came of a shard, and what did not: `done` and `attempts.json` in its folder, and the run's failed.jsonl.

A shard that has no `done` is worked on again. What stands in it could be counted again from the shard's parts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import PoisonShard
from batchroute.store.files import decoding, saving, sync_file, whole_file, write_whole
from batchroute.store.layout import RunLayout, layouts_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.cut import Shard
    from batchroute.store.rows import RunStore

MOST_ATTEMPTS = 3


class ShardDone(msgspec.Struct, frozen=True):
    """A shard whose rows have all come to an end, `rows` of them; the `failed` ones are to be asked again.

    `ok` counts by endpoint; `cost_usd` is what is known of the bill of all of them.
    """

    rows: int
    ok: dict[str, int]
    refused: int
    failed: int
    cost_usd: Decimal = Decimal(0)
    epoch: int = 0


def read_done(shard: RunLayout) -> ShardDone | None:
    """None where the shard is not done."""
    try:
        content = shard.done.read_bytes()
    except FileNotFoundError:
        return None
    with decoding(shard.done, "remove it to go through the shard again"):
        return msgspec.json.decode(content, type=ShardDone)


def write_done(store: RunStore, rows: int, epoch: int) -> None:
    """Whole and durable, or not at all."""
    tally, failed = store.tally, len(store.failed())
    done = ShardDone(rows, dict(tally.ok), tally.refused, failed, store.spent_usd, epoch)
    with saving(store.layout.own):
        write_whole(store.layout.done, msgspec.json.encode(done))


class ShardProgress(msgspec.Struct, frozen=True, array_like=True):
    """How far a shard is: any new record, or part of its scores, changes it."""

    done: int
    unsettled: int
    attempts: int
    scored: int


class ShardAttempts(msgspec.Struct, frozen=True):
    """How many processes began a shard, one after the other, and found it at this `progress`.

    `driver` is the epoch of the driver they worked for, 0 for none: where it is another one, nobody knows that it
    was the shard that they died of.
    """

    processes: int
    progress: ShardProgress
    driver: int = 0


# A process dies of row 7 of shard 17, again and again; each began it at 0 rows done.
#
#   first    finds no attempts.json, writes 1 process          dies
#   second   1 process at 0 rows, where it is now: writes 2    dies
#   third    writes 3                                          dies
#   fourth   3 processes at 0 rows: leaves the shard
#
# Had the second one settled a row, the third would have found another progress, and written 1. One that ends in
# order, or is stopped, removes the file: it did not die.


def begin_attempt(shard: Shard, store: RunStore, scored: int, driver: int) -> None:
    """Notes that a process begins; PoisonShard where too many have begun, and died, at this very place."""
    unsettled = store.unsettled.values()
    here = ShardProgress(store.tally.done, len(unsettled), sum(row.attempts for row in unsettled), scored)
    path = store.layout.attempts
    before = _read_attempts(path)
    counts = before is not None and (before.progress, before.driver) == (here, driver)
    died = before.processes if before is not None and counts else 0
    if died >= MOST_ATTEMPTS:
        raise PoisonShard(
            f"shard {shard.number} ({place_of(shard)}) has cost {died} processes without a new record; "
            f"see what ends them, memory or a row, then remove {path} and run again to try it once more"
        )
    with saving(path):
        write_whole(path, msgspec.json.encode(ShardAttempts(died + 1, here, driver)))


def end_attempt(shard: RunLayout) -> None:
    """The process did not die of it."""
    with saving(shard.attempts):
        shard.attempts.unlink(missing_ok=True)
        sync_file(shard.own)


def _read_attempts(path: Path) -> ShardAttempts | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    with decoding(path, "remove it"):
        return msgspec.json.decode(content, type=ShardAttempts)


def place_of(shard: Shard) -> str:
    """As "prompts.jsonl, rows 41873 to 83000", of which the last is the next one's."""
    until = f"to {shard.end.row}" if shard.end.row > shard.start.row else "to the end"
    return f"{shard.file}, rows {shard.start.row} {until}"


def write_root_failed(run: Path) -> None:
    """The run's failed.jsonl: the lines of all its shards, in input order."""
    path = RunLayout(run).failed
    with saving(path), whole_file(path) as unfinished, unfinished.open("wb") as file:
        for layout in layouts_of(run):
            if layout.failed.exists():
                file.write(layout.failed.read_bytes())
