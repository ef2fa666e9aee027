"""The `score` command: scores and nothing else, to a Parquet file or line by line."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import UsageFault
from batchroute.parts import sync_file
from batchroute.store import saving
from batchroute.types import Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from batchroute.router import Scorer
    from batchroute.source import Source

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
GROUP_ROWS = 65_536


def score_file(
    source: Source, scorer: Scorer, out: Path, limit: int | None, on_rows: Callable[[int], None]
) -> tuple[int, int]:
    """Writes file, row, id and score of up to `limit` rows in input order; returns rows and refused rows.

    A refused row's score is null. `on_rows` is told the rows done so far. The file appears whole or not at all.
    """
    if out.suffix != ".parquet":
        raise UsageFault(f"{out}: scores are written as Parquet; give a name that ends in .parquet")
    unfinished = out.with_name(f".{out.name}.unfinished")
    rows = refused = 0
    with saving(out):
        with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
            for tables in _grouped(_scored(source, scorer, limit)):
                table = pa.concat_tables(tables)
                writer.write_table(table)
                rows += table.num_rows
                refused += table["score"].null_count
                on_rows(rows)
        sync_file(unfinished)
        unfinished.replace(out)
    return rows, refused


def _scored(source: Source, scorer: Scorer, limit: int | None) -> Iterator[pa.Table]:
    left = limit
    for chunk in source.chunks():
        if left == 0:
            return
        part = chunk if left is None else chunk.head(left)
        questions = part.questions()
        scores = scorer.score(questions)
        left = None if left is None else left - len(scores)
        yield pa.table(
            [
                pa.array([part.file] * len(scores), pa.string()),
                pa.array(part.rows),
                pa.array(questions.ids, pa.string()),
                pa.array(scores, mask=np.isnan(scores)),
            ],
            schema=SCHEMA,
        )


def _grouped(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    """Tables enough for a row group of fair size."""
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if sum(part.num_rows for part in group) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def score_lines(lines: Iterable[str], scorer: Scorer, batch_size: int) -> Iterator[str]:
    """`score<TAB>prompt` for each line, in vectorised batches."""
    left = iter(lines)
    while batch := list(islice(left, batch_size)):
        texts = [line.rstrip("\n") for line in batch]
        scores = scorer.score(_questions(texts))
        yield from (f"{score:.6f}\t{text}" for score, text in zip(scores.tolist(), texts, strict=True))


def _questions(texts: list[str]) -> Questions:
    count = len(texts)
    return Questions(
        texts=texts,
        ids=[None] * count,
        forced=[None] * count,
        refused=np.zeros(count, np.bool_),
        chars=np.fromiter(map(len, texts), np.int64, count),
    )
