"""Scores of the input's rows on disk: written once, in input order, and never computed again.

A part covers consecutive rows and knows the input position it starts at, so that a lane can pass over a part that
holds nothing for it. Knows nothing of routers, nor what a score means.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.input.chunk import Position
from batchroute.store.files import AS_UMASK_SAYS, whole_file
from batchroute.store.layout import part_in, score_parts_in
from batchroute.types import SIDES, Media

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from batchroute.input.chunk import Chunk
    from batchroute.store.rows import DoneRows
    from batchroute.types import Floats, Questions

# Parts have 1024, 2048, 4096 ... 262,144 rows. The first is soon there to be sent; 100 million rows make about 390
# parts, so that a lane which resumes reads few files.
FIRST_PART_ROWS = 1024
LARGEST_PART_ROWS = 262_144
_SCHEMA = pa.schema(
    [
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("forced", pa.dictionary(pa.int8(), pa.string())),
        pa.field("chars", pa.int64(), nullable=False),
        pa.field("refusal", pa.dictionary(pa.int32(), pa.string())),
        pa.field("media", pa.dictionary(pa.int32(), pa.string())),  # `Media` as JSON; older parts lack it
    ]
)
_META = b"batchroute"


class _Span(msgspec.Struct, frozen=True):
    """What a part's metadata says: the input between two positions; `last`: the input ends here."""

    start: Position
    end: Position
    last: bool


@dataclass(frozen=True, slots=True)
class ScorePart:
    """Consecutive rows of the input, from one position to another, with their scores on disk: read by itself.

    `number` is its place among them, `last`: the input ends here.
    """

    number: int
    path: Path
    start: Position
    end: Position
    rows: int
    last: bool


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The columns of one part, entry i of each belongs to row i; a refused row's score is NaN.

    `files` are the names that `file` [n] points into; `forced` [n] holds "strong", "weak" or None; `refusals` says
    of rows that could not be scored why, where the input does not. `media` says of each kind of media that a row
    has which rows have it.
    """

    files: list[str]
    file: NDArray[np.int32]
    row: NDArray[np.int64]
    score: Floats
    forced: NDArray[np.object_]
    chars: NDArray[np.int64]
    refusals: Mapping[int, str] = field(default_factory=dict)
    media: Mapping[Media, NDArray[np.int64]] = field(default_factory=dict)


class Scores:
    """The folder of parts: one writer, and readers that wait for it."""

    def __init__(self, folder: Path, shard: int | None = None) -> None:
        """Reads which parts are there; one that a crash cut short has no name yet and is written again.

        `shard`: those of one shard alone, in a run that has some.
        """
        self.folder = folder
        self._shard = shard
        self.read_again()
        self.finished = False
        self._changed = asyncio.Condition()
        self._pending: list[pa.RecordBatch] = []
        self._start: Position | None = None
        self._end: Position | None = None

    def read_again(self) -> None:
        """Which parts are there now; nobody else may be writing them."""
        self.parts = [
            read_footer(number, path) for number, path in enumerate(score_parts_in(self.folder, self._shard))
        ]

    @property
    def rows(self) -> int:
        """How many rows stand in parts."""
        return sum(part.rows for part in self.parts)

    @property
    def end(self) -> Position | None:
        """Where scoring goes on; None at the very beginning."""
        return self.parts[-1].end if self.parts else None

    @property
    def exhausted(self) -> bool:
        """Whether the parts reach the end of the input."""
        return bool(self.parts) and self.parts[-1].last

    def add(
        self, chunk: Chunk, questions: Questions, scores: Floats, refusals: Mapping[int, str] | None = None
    ) -> None:
        """Takes a scored chunk, and seals a part when enough has come together. Not from two threads at once."""
        self._pending.append(_batch(chunk, questions, scores, refusals or {}))
        self._start = self._start or chunk.position
        self._end = chunk.end
        wanted = min(LARGEST_PART_ROWS, FIRST_PART_ROWS << len(self.parts))
        if sum(batch.num_rows for batch in self._pending) >= wanted:
            self._seal(last=False)

    def close(self, *, last: bool) -> None:
        """Seals what is pending; `last` records that the input ends here."""
        if self._pending or (last and not self.exhausted):
            self._seal(last=last)

    def _seal(self, *, last: bool) -> None:
        start = self._start or self.end or Position(0, 0, 0)
        end = self._end or start  # a last part without rows only says that the input ends here
        path = part_in(self.folder, len(self.parts), self._shard)
        span = msgspec.json.encode(_Span(start, end, last))
        table = pa.Table.from_batches(self._pending, _SCHEMA).unify_dictionaries()
        with whole_file(path, mode=AS_UMASK_SAYS) as unfinished:
            pq.write_table(table.replace_schema_metadata({_META: span}), unfinished, compression="zstd")
        self._pending, self._start, self._end = [], None, None
        self.parts.append(ScorePart(len(self.parts), path, start, end, table.num_rows, last))

    def free(self) -> FreeScores:
        """The scores a share is taken of."""
        return FreeScores(self.parts)

    async def announce(self, *, finished: bool = False) -> None:
        """Wakes the readers: there is a new part, or there will be no more."""
        async with self._changed:
            self.finished = self.finished or finished
            self._changed.notify_all()

    async def part(self, number: int) -> ScorePart | None:
        """Waits for a part; None when scoring is finished and there is none of that number."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.finished or number < len(self.parts))
        return self.parts[number] if number < len(self.parts) else None


def read_scores(part: ScorePart) -> ScoredRows:
    """One part's columns."""
    with pq.ParquetFile(part.path) as stored:
        table = stored.read().combine_chunks()
    file = table["file"].combine_chunks() if table.num_rows else pa.array([], _SCHEMA.field("file").type)
    return ScoredRows(
        files=file.dictionary.to_pylist(),
        file=file.indices.to_numpy(),
        row=table["row"].to_numpy(),
        score=table["score"].to_numpy(),
        forced=_sides(table["forced"]),
        chars=table["chars"].to_numpy(),
        refusals=_refusals(table["refusal"]),
        media=_media(table["media"]) if "media" in table.column_names else {},
    )


def _media(column: pa.ChunkedArray) -> dict[Media, NDArray[np.int64]]:
    """Which rows have which; there are few kinds."""
    if column.null_count == len(column):
        return {}
    codes = column.combine_chunks()
    kinds = [msgspec.json.decode(kind, type=Media) for kind in codes.dictionary.to_pylist()]
    row_kinds = pc.fill_null(codes.indices, -1).to_numpy()
    return {kind: np.flatnonzero(row_kinds == code) for code, kind in enumerate(kinds)}


def _refusals(column: pa.ChunkedArray) -> dict[int, str]:
    rows = np.flatnonzero(column.is_valid().to_numpy())
    return {row: column[row].as_py() for row in rows.tolist()}


def _sides(forced: pa.ChunkedArray) -> NDArray[np.object_]:
    """Row by row this would take longer than everything else that is done with a part."""
    sides = np.empty(len(forced), dtype=object)
    for side in SIDES:
        sides[pc.fill_null(pc.equal(forced, side), fill_value=False).to_numpy()] = side
    return sides


@dataclass(frozen=True, slots=True)
class FreeScores:
    """The scores a share is taken of, part by part, as often as they are asked for: those of rows not forced.

    Neither `read_table` nor `to_numpy`: each imports pandas, where there is one, for a third of a second.
    """

    parts: Sequence[ScorePart]

    def __iter__(self) -> Iterator[Floats]:
        for part in self.parts:
            with pq.ParquetFile(part.path) as file:
                table = file.read(["score", "forced"])
            free = table.filter(pc.and_(table["score"].is_valid(), table["forced"].is_null()))
            yield np.from_dlpack(free["score"].combine_chunks()).astype(np.float64, copy=False)


def _batch(chunk: Chunk, questions: Questions, scores: Floats, refusals: Mapping[int, str]) -> pa.RecordBatch:
    count = len(scores)
    file = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [chunk.file])
    forced = pa.array(questions.forced, pa.string()).dictionary_encode().cast(_SCHEMA.field("forced").type)
    score = pa.array(scores, mask=questions.refused | np.isnan(scores))
    why = pa.array([refusals.get(row) for row in range(count)] if refusals else [None] * count, pa.string())
    refusal = why.dictionary_encode()
    kinds = [media and msgspec.json.encode(media).decode() for media in questions.media] or [None] * count
    media = pa.array(kinds, pa.string()).dictionary_encode()
    return pa.RecordBatch.from_arrays(
        [file, pa.array(chunk.rows), score, forced, pa.array(questions.chars), refusal, media], schema=_SCHEMA
    )


def read_footer(number: int, path: Path) -> ScorePart:
    """What a part of that place among them says of itself; RunFault where it is none."""
    try:
        footer = pq.read_metadata(path)
        span = msgspec.json.decode((footer.metadata or {})[_META], type=_Span)
    except (OSError, KeyError, pa.ArrowInvalid, ValueError) as error:
        raise RunFault(f"{path}: not a file of scores ({error}); remove the folder to score again") from error
    return ScorePart(number, path, span.start, span.end, footer.num_rows, span.last)


def among(rows: ScoredRows, done: DoneRows) -> NDArray[np.bool_]:
    """[n] whether each row is in the set."""
    found = np.zeros(len(rows.row), np.bool_)
    for code, file in enumerate(rows.files):
        here = rows.file == code
        found[here] = done.mask(file, rows.row[here])
    return found
