"""Small input files, and what a source makes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.input.keep import unpack
from batchroute.input.open import Source, open_source
from batchroute.job.spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchroute.input.chunk import Chunk
    from batchroute.input.split import ChunkLimits
    from batchroute.types import Prompt


def source(*paths: Path, limits: ChunkLimits | None = None, **settings: Any) -> Source:
    """The source of these paths; keyword arguments are those of [input], or of open_source."""
    ours = {name: settings.pop(name, None) for name in ("score_text", "vector_column", "output", "raw", "begun")}
    reserved: Sequence[str] = settings.pop("reserved", ["id", "score"])
    spec = InputSpec.model_validate({"path": [str(path) for path in paths], **settings})
    return open_source(spec, reserved=reserved, limits=limits, **ours)


def lines(path: Path, *rows: object) -> Path:
    """A JSONL file; strings and bytes are lines as they are, anything else is dumped."""
    path.write_bytes(b"".join(line_of(row) + b"\n" for row in rows))
    return path


def line_of(row: object) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()


def parquet(path: Path, columns: dict[str, Any], row_group_size: int | None = None) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def grouped(path: Path, groups: Sequence[int]) -> Path:
    """A Parquet file of row groups of so many rows."""
    with pq.ParquetWriter(path, pa.schema([("prompt", pa.string()), ("id", pa.string())])) as writer:
        for number, count in enumerate(groups):
            texts = pa.array([f"{number} {at}" for at in range(count)], pa.string())
            writer.write_table(pa.table({"prompt": texts, "id": texts}), row_group_size=max(count, 1))
    return path


def prompts(of: Source) -> list[Prompt]:
    return [prompt for chunk in of.chunks() for prompt in chunk.prompts(np.arange(len(chunk.rows)))]


def user_texts(of: Source) -> list[str]:
    return [json.loads(prompt.messages)[-1]["content"] for prompt in prompts(of)]


def kept(prompt: Prompt, of: Source) -> dict[str, Any]:
    row: dict[str, Any] = unpack([prompt.keep], of.keep_schema).to_pylist()[0]
    return row


def unpacked(prompt: Prompt, of: Source) -> tuple[Prompt, dict[str, Any]]:
    """Comparable: a message may carry its neighbours' null bits."""
    return msgspec.structs.replace(prompt, keep=b""), kept(prompt, of)


def keys(chunks: Iterator[Chunk]) -> list[tuple[str, int]]:
    return [(chunk.file, row) for chunk in chunks for row in chunk.rows.tolist()]
