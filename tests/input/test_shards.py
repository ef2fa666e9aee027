"""Shards of an input, each read alone: together they are the input, and none reads what lies behind it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.chunk import Position
from batchroute.input.split import ChunkLimits
from inputs import keys, lines, parquet, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Any

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.types import Prompt


def line(text: str) -> bytes:
    return json.dumps({"prompt": text, "id": text}).encode()


LINES = st.lists(
    st.one_of(st.sampled_from([b"", b" ", b"{", b"\xff"]), st.text(max_size=30).map(line)),
    max_size=20,
)


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.string())


TEXTS = st.lists(st.none() | st.text(max_size=30), max_size=20)
LIMITS = st.builds(ChunkLimits, rows=st.integers(1, 6), chunk_bytes=st.integers(3, 200), line_bytes=st.just(4000))


@given(st.lists(st.one_of(LINES, LINES.map(tuple), TEXTS.map(column)), min_size=1, max_size=3), LIMITS, st.data())
def test_the_shards_of_any_split_are_the_whole_input(
    tmp_path_factory: pytest.TempPathFactory, files: Sequence[Any], limits: ChunkLimits, data: st.DataObject
) -> None:
    """A list is a plain JSONL file, a tuple a compressed one, an array a Parquet file."""
    folder = tmp_path_factory.mktemp("shards")
    whole = source(*(write(folder, number, rows) for number, rows in enumerate(files)), limits=limits, id="id")
    edges = [Position(0, 0, 0), *edges_of(whole)]
    cuts = sorted(data.draw(st.lists(st.sampled_from(edges), max_size=5)))
    starts, ends = [None, *cuts], [*cuts, None]
    shards = [list(whole.chunks(start, end)) for start, end in zip(starts, ends, strict=True)]
    for shard, start, end in zip(shards, starts, ends, strict=True):
        assert all(start is None or start <= chunk.position for chunk in shard)
        assert all(end is None or chunk.end <= end for chunk in shard)
    together = [chunk for shard in shards for chunk in shard]
    assert read(together) == read(whole.chunks())


def test_a_shard_that_ends_amid_blank_lines_ends_there(tmp_path: Path) -> None:
    lines = [line("a"), b"{", b"", b"", b"{", b"", b""]
    whole = source(write(tmp_path, 0, lines), limits=ChunkLimits(rows=5, chunk_bytes=40), id="id")
    sizes = [len(each) + 1 for each in lines]
    start, end = Position(0, 1, sizes[0]), Position(0, 5, sum(sizes[:5]))
    [shard] = whole.chunks(start, end)
    assert (shard.rows.tolist(), shard.end) == ([1, 4], end)
    assert list(whole.chunks(end)) == []


def write(folder: Path, number: int, rows: Any) -> Path:
    if isinstance(rows, pa.Array):
        return parquet(folder / f"{number}.parquet", {"prompt": rows, "id": rows}, 3)
    data = b"\n".join(rows)
    path = folder / f"{number}.jsonl{'.gz' if isinstance(rows, tuple) else ''}"
    path.write_bytes(gzip.compress(data) if isinstance(rows, tuple) else data)
    return path


def edges_of(whole: Source) -> list[Position]:
    """Every place where a shard may begin or end: before and behind each row."""
    heads = [chunk.head(rows + 1).end for chunk in whole.chunks() for rows in range(len(chunk.rows))]
    return [*heads, *(chunk.position for chunk in whole.chunks())]


def read(chunks: Iterable[Chunk]) -> list[Prompt]:
    return [prompt for chunk in chunks for prompt in chunk.prompts(np.arange(len(chunk.rows)))]


@given(LINES, LIMITS, st.sampled_from(["gzip", "zstd"]))
def test_a_compressed_file_has_the_chunks_and_positions_of_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], limits: ChunkLimits, codec: str
) -> None:
    folder, data = tmp_path_factory.mktemp("packed"), b"\n".join(rows)
    (folder / "plain").mkdir()
    (folder / "plain/a.jsonl").write_bytes(data)
    packed = folder / f"a.jsonl.{'gz' if codec == 'gzip' else 'zst'}"
    with pa.CompressedOutputStream(pa.OSFile(str(packed), "wb"), codec) as stream:
        stream.write(data)
    plain, unpacked = source(folder / "plain/a.jsonl", limits=limits), source(packed, limits=limits)
    for start in (None, *edges_of(plain)):
        chunks = [list(of.chunks(start)) for of in (plain, unpacked)]
        places = [[(chunk.position, chunk.rows.tolist(), chunk.end) for chunk in found] for found in chunks]
        assert places[0] == places[1]
        assert [prompt.messages for prompt in read(chunks[0])] == [prompt.messages for prompt in read(chunks[1])]


def test_files_behind_the_end_are_not_opened(tmp_path: Path) -> None:
    paths = [lines(tmp_path / f"{name}.jsonl", *({"prompt": f"{i}"} for i in range(9))) for name in "abc"]
    whole = source(*paths, limits=ChunkLimits(rows=4))
    ends = [chunk.end for chunk in whole.chunks()]
    paths[2].unlink()
    assert keys(whole.chunks(ends[1], ends[4])) == [("a.jsonl", 8), *(("b.jsonl", row) for row in range(8))]
    paths[1].unlink()
    assert keys(whole.chunks(None, Position(1, 0, 0))) == [("a.jsonl", row) for row in range(9)]


def test_row_groups_behind_the_end_are_not_read(tmp_path: Path) -> None:
    texts = [np.random.default_rng(row).bytes(500).hex() for row in range(3000)]
    path = parquet(tmp_path / "a.parquet", {"prompt": texts}, row_group_size=1000)
    whole = source(path, limits=ChunkLimits(rows=1000))
    first = next(whole.chunks())
    size = path.stat().st_size
    data = bytearray(path.read_bytes())
    data[size // 2 : size - 10_000] = bytes(size - 10_000 - size // 2)
    path.write_bytes(data)
    assert keys(whole.chunks(None, first.end)) == keys(iter([first]))
    with pytest.raises(InputFault, match="broken Parquet file"):
        list(whole.chunks())


def test_a_compressed_file_is_read_no_further_than_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    rows = [line(np.random.default_rng(row).bytes(200).hex()) + b"\n" for row in range(2000)]
    path.write_bytes(gzip.compress(b"".join(rows))[:-100_000])
    whole = source(path, limits=ChunkLimits(rows=100))
    first = next(whole.chunks())
    (only,) = whole.chunks(None, first.end)
    assert [prompt.refusal for prompt in only.prompts(np.arange(100))] == [None] * 100
