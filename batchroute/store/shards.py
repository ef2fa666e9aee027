"""The shards of a run directory: consecutive rows of one input file each, cut once, that one process works on.

    {"shard_mb": 64.0, "files": [...], "shards": [[0, "a.jsonl", 0, 0, 41873, 67108990], ...]}

An entry is its number, its file, its first row and the byte there, its end row and the byte there. In a Parquet
file both "bytes" are row numbers; the end of a file that is not counted, as it is compressed, is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.input.chunk import Position


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of the input from one position up to another, both in one file, or at the beginning of the next one.

    `rows` is how many it has, blank lines not counted; None where that is not known before they are read.
    """

    number: int
    file: str
    start: Position
    end: Position
    rows: int | None
