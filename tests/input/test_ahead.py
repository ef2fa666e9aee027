"""Looking at chunks takes none of them, and what is to come is known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.ahead import ChunksAhead
from batchroute.input.split import ChunkLimits
from inputs import lines, source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source

TEXT = "x" * 86  # with its braces and its name 100 bytes a line


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Ten rows of 100 bytes, three a chunk."""
    path = tmp_path_factory.mktemp("input") / "prompts.jsonl"
    lines(path, *({"prompt": TEXT} for _ in range(10)))
    return source(path, limits=ChunkLimits(rows=3))


def rows_of(chunks: Iterator[Chunk]) -> list[list[int]]:
    return [chunk.rows.tolist() for chunk in chunks]


@pytest.mark.parametrize(
    ("size", "rows", "expected"),
    [
        (0, None, True),
        (1, None, True),
        (1000, None, True),
        (1001, None, False),
        (600, 6, True),
        (601, 6, False),
        (1000, 10, True),
        (1, 0, False),
        (900, 8, True),  # whole chunks are looked at: the third one has the eighth row
    ],
)
def test_what_is_to_come(ten: Source, size: int, rows: int | None, expected: bool) -> None:
    assert ChunksAhead(ten.chunks()).have(size, rows) is expected


@given(looks=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1500), st.none() | st.integers(0, 12))))
def test_all_chunks_come_once_and_in_order(ten: Source, looks: list[tuple[int, int, int | None]]) -> None:
    """However often one looks between two of them."""
    ahead, taken = ChunksAhead(ten.chunks()), []
    for take, size, rows in looks:
        left = 1000 - 100 * sum(map(len, taken))
        assert ahead.have(size, None) is (size <= left)
        ahead.have(size, rows)
        if take % 2 and (chunk := next(ahead, None)) is not None:
            taken.append(chunk.rows.tolist())
    assert [*taken, *rows_of(ahead)] == rows_of(ten.chunks())


def test_a_fault_comes_behind_the_same_chunks(tmp_path: Path) -> None:
    """A Parquet file whose second row group is broken: its first one is read, with or without a look."""
    path = tmp_path / "prompts.parquet"
    table = pa.table({"prompt": [f"{row} {TEXT}" for row in range(2000)]})
    pq.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False)
    begin = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[begin : begin + 64] = b"\xff" * 64
    path.write_bytes(data)
    limits = ChunkLimits(rows=1000)

    def read(chunks: Iterator[Chunk]) -> int:
        rows: list[int] = []
        with pytest.raises(InputFault, match="broken"):
            rows.extend(len(chunk.rows) for chunk in chunks)
        return sum(rows)

    ahead = ChunksAhead(source(path, limits=limits).chunks())
    assert ahead.have(100_000_000, None) is False
    assert read(ahead) == read(source(path, limits=limits).chunks()) > 0
