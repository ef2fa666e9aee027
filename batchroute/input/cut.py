"""An input cut into shards: consecutive rows of one file each, for one process to work on.

Decided from the files alone: no row is decoded. What becomes of shards, and where they are written down, is not
known here.

    Parquet                  whole row groups; one that is far too large is cut between its rows
    plain JSON lines         at the beginning of a row, found by counting lines (`marks`)
    anything else            the file: what is packed cannot be sought, and only the beginning of a CSV or an array
                             says where its rows end
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from batchroute.input.chunk import Position
from batchroute.input.marks import marks
from batchroute.input.parquet import open_parquet
from batchroute.input.stream import open_bytes
from batchroute.job.engine import LEAST_SHARD_ROWS, SHARDS_PER_SENDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchroute.input.file import InputFile
    from batchroute.input.open import Source
    from batchroute.job.engine import EngineSpec

MIB = 1 << 20
FAR_TOO_LARGE = 4  # times the size of a shard: up to there a row group is read by one process
_PIECES = 8  # a shard of a size that is not given is put together from, at least
_LEAST_PIECE = 64 << 10


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


@dataclass(frozen=True, slots=True)
class _Aim:
    """What shards are to be: of at most `size` bytes, or of more, until they have so many `rows`.

    They are put together from pieces of about `piece` bytes and at most `piece_rows` rows. A row group of up to
    `group` bytes is not cut by bytes.
    """

    size: float
    rows: int
    piece: int = sys.maxsize
    piece_rows: int = sys.maxsize
    group: float = math.inf


class _Piece(NamedTuple):
    """What is not cut any further: where it ends, its rows, its bytes."""

    end: Position
    rows: int
    size: float


def cut(source: Source, engine: EngineSpec, senders: int) -> list[Shard]:
    """All rows, each in one shard, in input order.

    Where the job gives `engine.shard_mb`, shards are of that size. Else they are of 64 MB, or smaller so that each
    of `senders` may have 20; yet a shard has 10,000 rows where its file has as many, as long as there is one for
    each sender. By example, for 8 senders:

        160 GB, 160,000,000 rows     2,560 shards of 64 MB, 62,500 rows each
        1 GB, 2,000,000 rows         160 of 6.4 MB, so that each sender has 20
        1 GB, 200,000 rows           20 of 10,000 rows
        1 GB, 1,000 rows             8 of 125 rows, one for each sender
        9 files, 100 rows each       9: a shard lies in one file

    Raises as `Source.chunks`.
    """
    size = engine.shard_mb * MIB
    if "shard_mb" in engine.model_fields_set:
        return _shards(source, _Aim(size, 1, math.ceil(size), group=FAR_TOO_LARGE * size))
    wanted = SHARDS_PER_SENDER * senders
    size = min(size, sum(file.size for file in source.files) / wanted)
    piece = max(math.ceil(size / _PIECES), _LEAST_PIECE)
    shards = _shards(source, _Aim(size, LEAST_SHARD_ROWS, piece, group=FAR_TOO_LARGE * size))
    if len(shards) >= wanted:
        return shards
    rows = _rows_for(senders, wanted, shards)
    return _shards(source, _Aim(0, rows, piece_rows=rows))


def _rows_for(senders: int, wanted: int, shards: Iterable[Shard]) -> int:
    """How many rows a shard may have, that there are as many as wanted; else 10,000, or one shard a sender."""
    counts: Counter[int] = Counter()
    whole_files = 0
    for shard in shards:
        counts[shard.start.file] += shard.rows or 0
        whole_files += shard.rows is None

    def most_rows(number: int) -> int:
        """The most rows that a shard may have where there are to be so many; 0 where there are not."""

        def are_too_few(rows: int) -> bool:
            return whole_files + sum(max(count // rows, 1) for count in counts.values() if count) < number

        return bisect_left(range(1, max(counts.values(), default=0) + 1), 1, key=are_too_few)

    return max(most_rows(wanted), min(LEAST_SHARD_ROWS, most_rows(senders)), 1)


def _shards(source: Source, aim: _Aim) -> list[Shard]:
    shards: list[Shard] = []
    for at, file in enumerate(source.files):
        start = Position(at, 0, 0)
        if (pieces := _pieces(source, at, aim)) is None:
            shards.append(Shard(len(shards), file.name, start, Position(at + 1, 0, 0), None))
            continue
        for piece in _joined(pieces, aim):
            shards.append(Shard(len(shards), file.name, start, piece.end, piece.rows))
            start = piece.end
    return shards


def _pieces(source: Source, at: int, aim: _Aim) -> Iterator[_Piece] | None:
    """Those of a file, in order; None where it cannot be cut."""
    file = source.files[at]
    if is_whole(file):
        return None
    if file.format == "parquet":
        return _parquet_pieces(file, at, aim)
    return _line_pieces(file, at, aim, source.limits.line_bytes)


def is_whole(file: InputFile) -> bool:
    """Whether a file is one shard, as it cannot be cut."""
    if file.format != "jsonl":
        return file.format != "parquet"
    with open_bytes(file) as stream:
        return stream.unpacked is not None


def _line_pieces(file: InputFile, at: int, aim: _Aim, line_bytes: int) -> Iterator[_Piece]:
    found = marks(file, aim.piece, aim.piece_rows, line_bytes)
    before = next(found)
    for mark in found:
        yield _Piece(position(at, mark.lines, mark.offset), mark.rows - before.rows, mark.offset - before.offset)
        before = mark


def _parquet_pieces(file: InputFile, at: int, aim: _Aim) -> Iterator[_Piece]:
    """Bytes are those of the file, of all columns: what a shard costs to fetch."""
    with open_parquet(file) as opened:
        metadata = opened.metadata
        first = 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            rows = group.num_rows
            size = sum(group.column(leaf).total_compressed_size for leaf in range(metadata.num_columns))
            parts = 1 if size <= aim.group else min(math.ceil(size / aim.piece), rows)
            ends = {first + rows * part // parts for part in range(1, parts + 1)}
            ends.update(range(-(-first // aim.piece_rows) * aim.piece_rows, first + rows, aim.piece_rows))
            for begin, end in pairwise(sorted({first, *ends})):
                yield _Piece(position(at, end, end), end - begin, size * (end - begin) / rows)
            first += rows


def position(file: int, row: int, offset: int) -> Position:
    """A place between rows: the lines of plain JSON lines are its rows, and nobody asks for those of Parquet."""
    return Position(file, row, offset, row)


def _joined(pieces: Iterable[_Piece], aim: _Aim) -> list[_Piece]:
    """The pieces of a file put together up to the size aimed at, or more, until they have the rows."""
    joined: list[_Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is not None and (last.rows < aim.rows or last.size + piece.size <= aim.size):
            joined[-1] = _both(last, piece)
        else:
            joined.append(piece)
    if len(joined) > 1 and joined[-1].rows < aim.rows:
        joined[-2:] = [_both(*joined[-2:])]
    return joined if joined and joined[0].rows else []


def _both(one: _Piece, other: _Piece) -> _Piece:
    return _Piece(other.end, one.rows + other.rows, one.size + other.size)


def limited(shards: Sequence[Shard], source: Source, limit: int | None) -> list[tuple[Shard, int | None]]:
    """The first `limit` rows of the input: shards, each with how many of its rows are wanted; None: all.

    A shard whose rows were not counted is read as far as its rows are wanted, but for the last one of all.
    """
    if limit is None:
        return [(shard, None) for shard in shards]
    wanted: list[tuple[Shard, int | None]] = []
    left = limit
    for shard in shards:
        if left == 0:
            break
        is_last = shard.number == shards[-1].number
        rows = left if is_last and shard.rows is None else _rows_up_to(left, shard, source)
        wanted.append((shard, None if rows < left else left))
        left -= min(rows, left)
    return wanted


def _rows_up_to(most: int, shard: Shard, source: Source) -> int:
    """How many rows a shard has, counted until they are so many."""
    if shard.rows is not None:
        return shard.rows
    rows = 0
    for chunk in source.between(shard.start, shard.end).chunks():
        rows += len(chunk.rows)
        if rows >= most:
            break
    return rows
