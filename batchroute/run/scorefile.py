"""The `score` command: scores and nothing else, to a Parquet file or line by line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import Stopped, UsageFault
from batchroute.input.ahead import ChunksAhead
from batchroute.score.parallel import open_rater_for
from batchroute.score.rater import bare_questions, rated_chunks
from batchroute.score.router import LoadedFrom, load_scorer
from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, whole_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.spec import RouterSpec
    from batchroute.score.rater import OpenRater, Rater
    from batchroute.score.router import Scorer
    from batchroute.types import Questions

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
GROUP_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """`refused` are among its rows; they took `took_s` from when the router was loaded."""

    rows: int
    refused: int
    took_s: float


async def score_file(
    source: Source,
    router: RouterSpec,
    open_rater: OpenRater,
    out: Path,
    limit: int | None,
    on_rows: Callable[[int], None],
) -> ScoredFile:
    """Writes file, row, id and score of up to `limit` rows in input order.

    A refused row's score is null. `on_rows` is told the rows done so far. The file appears whole or not at all;
    Stopped where not every row could be scored.
    """
    if out.suffix != ".parquet":
        raise UsageFault(f"{out}: scores are written as Parquet; give a name that ends in .parquet")
    refuse_homeless(out)
    rows = refused = 0
    with (
        saving(out),
        whole_file(out, mode=AS_UMASK_SAYS) as unfinished,
        pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer,
    ):
        chunks = ChunksAhead(_wanted(source.chunks(), limit))
        load = partial(load_scorer, router)
        async with open_rater_for(chunks, None, LoadedFrom(router), load, open_rater) as rater:
            started = time.monotonic()
            async for table in _grouped(_scored(chunks, rater)):
                await asyncio.to_thread(writer.write_table, table)
                rows += table.num_rows
                refused += table["score"].null_count
                on_rows(rows)
        if rater.stopped is not None:
            raise Stopped(f"the embedder stopped: {rater.stopped}")
    return ScoredFile(rows, refused, time.monotonic() - started)


async def _scored(chunks: ChunksAhead, rater: Rater) -> AsyncIterator[pa.Table]:
    def read() -> tuple[Chunk, Questions] | None:
        chunk = next(chunks, None)
        return None if chunk is None else (chunk, chunk.questions())

    async with contextlib.aclosing(rated_chunks(read, rater)) as rated_in_order:
        async for chunk, questions, rated in rated_in_order:
            scores = rated.scores
            yield pa.table(
                [
                    pa.array([chunk.file] * len(scores), pa.string()),
                    pa.array(chunk.rows),
                    pa.array(questions.ids, pa.string()),
                    pa.array(scores, mask=np.isnan(scores)),
                ],
                schema=SCHEMA,
            )


def _wanted(chunks: Iterator[Chunk], limit: int | None) -> Iterator[Chunk]:
    """The first `limit` rows."""
    left = limit
    for chunk in chunks:
        if left == 0:
            return
        wanted = chunk if left is None else chunk.head(left)
        left = None if left is None else left - len(wanted.rows)
        yield wanted


async def _grouped(tables: AsyncIterator[pa.Table]) -> AsyncIterator[pa.Table]:
    """Tables put together to row groups of fair size."""
    group: list[pa.Table] = []
    async for table in tables:
        group.append(table)
        if sum(part.num_rows for part in group) >= GROUP_ROWS:
            yield pa.concat_tables(group)
            group = []
    if group:
        yield pa.concat_tables(group)


async def score_lines(
    lines: Iterable[str], scorer: Scorer, open_rater: OpenRater, batch_size: int, say: Callable[[str], None]
) -> None:
    """Says `score<TAB>prompt` for each line, in vectorised batches; nan where the embedder refuses the prompt."""
    left = iter(lines)
    async with open_rater(scorer) as rater:
        while batch := await asyncio.to_thread(lambda: list(islice(left, batch_size))):
            texts = [line.rstrip("\n") for line in batch]
            rated = await rater.rate(bare_questions(texts))
            if rated is None:
                raise Stopped(f"the embedder stopped: {rater.stopped}")
            for score, text in zip(rated.scores.tolist(), texts, strict=True):
                say(f"{score:.6f}\t{text}")
