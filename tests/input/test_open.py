"""Chunks: every row once, from any place, in bounded memory; what is scored and what is sent agree."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.chunk import Position
from batchroute.input.lines import Lines
from batchroute.input.split import ChunkLimits, Splitter
from inputs import keys, line_of, lines, parquet, prompts, source, unpacked, user_texts

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.open import Source

SMALL = ChunkLimits(rows=3, chunk_bytes=40, line_bytes=4000)

# Lines: what a file may hold.

FILE_BYTES = st.lists(
    st.one_of(
        st.sampled_from([b"", b" ", b"\t\r", b"{", b"\xff", b'{"prompt":null}', b"\x0b", b"[]"]),
        st.text(max_size=60).map(lambda text: json.dumps({"prompt": text, "id": text}).encode()),
        st.text(max_size=60).map(
            lambda text: json.dumps({"prompt": text}, ensure_ascii=False).encode("utf-8", "replace")
        ),
    ),
    max_size=25,
).flatmap(
    lambda rows: st.sampled_from([b"\n".join(rows), b"\n".join(rows) + b"\n", b"\xef\xbb\xbf" + b"\n".join(rows)])
)
LIMITS = st.builds(ChunkLimits, rows=st.integers(1, 9), chunk_bytes=st.integers(3, 300), line_bytes=st.just(4000))


@settings(max_examples=300)
@given(FILE_BYTES, LIMITS)
def test_runs_hold_every_line_once_whatever_their_extent(data: bytes, limits: ChunkLimits) -> None:
    stream = memoryview(data)
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        block = bytes(stream[at : at + min(size, 7)])
        at += len(block)
        return block

    blocks = list(Splitter(read, limits, Lines()))
    seen = {row: line for block in blocks for row, line in zip(block.rows.tolist(), block.records, strict=True)}
    expected = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert seen == {number: line for number, line in enumerate(expected) if line.strip()}
    assert all(len(block.records) <= limits.rows for block in blocks)
    for block in blocks:
        for line, end in zip(block.records, block.ends.tolist(), strict=True):
            assert data[:end].removesuffix(b"\n").endswith(line)  # type: ignore[arg-type]
    places = [place for block in blocks for place in (block.start, block.end) if place is not None]
    assert places == sorted(places)
    assert all(place.row == place.line for place in places)


@given(FILE_BYTES, LIMITS)
def test_both_readings_of_lines_agree_from_any_place(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, limits: ChunkLimits
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(data)
    check_readings(source(path, limits=limits, id="id", keep=["prompt"]))


@settings(max_examples=50)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=80)), max_size=40),
    st.integers(1, 40),
    LIMITS,
)
def test_both_readings_of_parquet_agree_from_any_place(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], row_group_size: int, limits: ChunkLimits
) -> None:
    column = pa.array(texts, pa.string())
    path = parquet(tmp_path_factory.mktemp("parquet") / "a.parquet", {"prompt": column}, row_group_size)
    whole = source(path, limits=limits, keep=["*"])
    check_readings(whole)
    assert [row for _, row in keys(whole.chunks())] == list(range(len(texts)))


def check_readings(whole: Source) -> None:
    """The picked prompts are those of all, questions refuse the same rows, any start gives the same tail."""
    chunks = list(whole.chunks())
    expected = keys(whole.chunks())
    assert len(set(expected)) == len(expected)
    done = 0
    for chunk in chunks:
        everything = chunk.prompts(np.arange(len(chunk.rows)))
        picks = np.arange(0, len(chunk.rows), 2)
        assert [unpacked(prompt, whole) for prompt in chunk.prompts(picks)] == [
            unpacked(prompt, whole) for prompt in everything[::2]
        ]
        asked = chunk.questions()
        assert asked.refused.tolist() == [prompt.refusal is not None for prompt in everything]
        assert asked.ids == [prompt.id for prompt in everything]
        assert keys(whole.chunks(chunk.position)) == expected[done:]
        assert keys(iter([chunk.head(1)])) == expected[done : done + 1]
        assert keys(whole.chunks(chunk.head(1).end)) == expected[done + 1 :]
        done += len(chunk.rows)
    assert done == len(expected)


def test_rows_are_physical_lines_split_at_newlines_only(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "a\u2028b"}, "", '{"prompt": "c"}\r', "  ", {"prompt": "d"})
    path.write_bytes(path.read_bytes().replace(b"\\u2028", "\u2028".encode()))
    found = prompts(source(path))
    assert [(prompt.row, json.loads(prompt.messages)[0]["content"]) for prompt in found] == [
        (0, "a\u2028b"),
        (2, "c"),
        (4, "d"),
    ]


def test_the_example_of_rows_lines_and_positions_is_true(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt":"a"}\n\n{"prompt":"b"}\n')
    whole = source(path, limits=ChunkLimits(rows=1))
    assert path.stat().st_size == 34
    assert [(chunk.position, chunk.rows.tolist(), chunk.end) for chunk in whole.chunks()] == [
        (Position(0, 0, 3), [0], Position(0, 1, 18)),
        (Position(0, 2, 19), [2], Position(0, 3, 34)),
    ]
    for start in (Position(0, 1, 18), Position(0, 2, 19)):
        assert [chunk.rows.tolist() for chunk in whole.chunks(start)] == [[2]]


def test_a_leading_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"prompt": "a"}', b'\xef\xbb\xbf{"prompt": "b"}')
    first, second = prompts(source(path))
    assert first.refusal is None
    assert second.refusal is not None
    assert second.refusal.startswith("line 2: not JSON")


def test_an_empty_jsonl_file_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.touch()
    assert not list(source(path).chunks())


@pytest.mark.parametrize("size", [39, 40, 41, 80])
def test_a_last_line_as_long_as_a_chunk_comes_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line_of({"prompt": "x" * (size - 14)}))
    assert path.stat().st_size == size
    assert user_texts(source(path, limits=SMALL)) == ["x" * (size - 14)]


def test_the_next_chunk_starts_where_the_last_one_ends(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"prompt": str(i)} for i in range(20)))
    chunks = list(source(path, limits=SMALL).chunks())
    assert [chunk.end for chunk in chunks[:-1]] == [chunk.position for chunk in chunks[1:]]


def test_a_line_over_the_cap_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    limits = ChunkLimits(rows=10, chunk_bytes=1 << 16, line_bytes=1 << 20)
    rows = [{"prompt": "a"}, {"prompt": "x" * (3 << 20)}, {"prompt": "y" * (1 << 19)}, {"prompt": "b"}]
    found = prompts(source(lines(tmp_path / "a.jsonl", *rows), limits=limits))
    assert [prompt.refusal for prompt in found] == [None, "line 2: longer than 1 MiB", None, None]
    assert [len(prompt.messages) > 1 << 19 for prompt in found] == [False, False, True, False]


def test_a_prompt_of_5_mb_passes(tmp_path: Path) -> None:
    texts = ["a", "x" * 5_000_000, "b"]
    by_lines = lines(tmp_path / "a.jsonl", *({"prompt": text} for text in texts))
    by_columns = parquet(tmp_path / "a.parquet", {"prompt": texts})
    assert user_texts(source(by_lines)) == texts
    assert user_texts(source(by_columns)) == texts


def test_a_decompression_bomb_stays_small_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"prompt": "a"}\n')
        for _ in range(100):
            file.write(b" " * (1 << 20))
    limits = ChunkLimits(chunk_bytes=1 << 20, line_bytes=4 << 20)
    tracemalloc.start()
    found = prompts(source(path, limits=limits))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [prompt.refusal for prompt in found] == [None, "line 2: longer than 4 MiB"]
    assert peak < 24 << 20


def test_identical_long_prompts_do_not_swell_a_batch(tmp_path: Path) -> None:
    """A dictionary page hides in the metadata how much text a row group holds."""
    path = parquet(tmp_path / "a.parquet", {"prompt": ["x" * 20_000] * 4000})
    chunks = list(source(path).chunks())
    assert sum(len(chunk.rows) for chunk in chunks) == 4000
    assert max(chunk.questions().chars.sum() for chunk in chunks) <= 4 << 20


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"prompt": [str(i) for i in range(1000)]}, row_group_size=10)
    assert [len(chunk.rows) for chunk in source(path).chunks()] == [1000]


# Parquet files.


def test_row_groups_before_the_start_are_not_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.bytes(500).hex() for _ in range(3000)]
    path = parquet(tmp_path / "a.parquet", {"prompt": texts}, row_group_size=1000)
    whole = source(path, limits=ChunkLimits(rows=1000))
    third = list(whole.chunks())[2]
    data = bytearray(path.read_bytes())
    data[1000:500_000] = bytes(499_000)
    path.write_bytes(data)
    assert [chunk.rows[0] for chunk in whole.chunks(third.position)] == [2000]
    with pytest.raises(InputFault, match="broken Parquet file"):
        list(whole.chunks())


def test_the_same_input_has_the_same_fingerprint_and_another_one_has_not(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"prompt": "x" * 1000} for _ in range(3000)))
    before = source(path).fingerprint()
    assert (before[0].name, before[0].size) == ("a.jsonl", path.stat().st_size)
    assert source(path).fingerprint() == before
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    after = source(path).fingerprint()
    assert (after[0].head == before[0].head, after[0].tail == before[0].tail) == (True, False)
