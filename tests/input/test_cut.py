"""Inputs cut into shards: each row in one of them, of the sizes and numbers of rows that are aimed at."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.input import marks
from batchroute.input.chunk import Position
from batchroute.input.cut import Shard, cut, limited
from batchroute.input.split import BOM, ChunkLimits
from batchroute.job.engine import LEAST_SHARD_ROWS, SHARDS_PER_SENDER, EngineSpec
from inputs import grouped, keys, lines, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.types import Prompt

MIB = 1 << 20
ENDINGS = {"gz": ".jsonl.gz", "csv": ".csv", "array": ".json", "lines": ".jsonl"}


def of_size(size: float) -> EngineSpec:
    """Shards of so many bytes."""
    return EngineSpec(shard_mb=size / MIB)


def row(text: str) -> bytes:
    return json.dumps({"prompt": text, "id": text}).encode()


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b" ", b"\r", b"\t\x0b\x0c \r", b"{", b"\xff", b" " * 150, b"[1]"]),
        st.text(max_size=30).map(row),
        st.text(max_size=30).map(lambda text: b"  " + row(text) + b"\r"),
        st.integers(100, 900).map(lambda size: row("x" * size)),  # longer than a block, than a shard, than a line
    ),
    max_size=20,
)
GROUPS = st.lists(st.sampled_from([0, 1, 1, 2, 7, 40]), max_size=8)
FILES = st.one_of(
    st.tuples(st.just("lines"), LINES, st.booleans(), st.booleans()),
    st.tuples(st.sampled_from(["gz", "csv", "array"]), st.integers(0, 9)),
    st.tuples(st.just("parquet"), GROUPS),
)


def written(folder: Path, number: int, kind: str, rows: Any, bom: bool = False, newline: bool = False) -> Path:
    if kind == "parquet":
        return grouped(folder / f"{number}.parquet", rows)
    path = folder / f"{number}{ENDINGS[kind]}"
    if kind == "lines":
        path.write_bytes(BOM * bom + b"\n".join(rows) + b"\n" * newline)
    elif kind == "gz":
        path.write_bytes(gzip.compress(b"\n\n".join(row(str(at)) for at in range(rows))))
    elif kind == "csv":
        path.write_bytes(b"prompt,id\n" + b"".join(b"%d,%d\n" % (at, at) for at in range(rows)))
    else:
        path.write_bytes(json.dumps([{"prompt": str(at), "id": str(at)} for at in range(rows)]).encode())
    return path


def prompts_of(chunks: Iterable[Chunk]) -> list[Prompt]:
    return [prompt for chunk in chunks for prompt in chunk.prompts(np.arange(len(chunk.rows)))]


def read(whole: Source, shards: Sequence[Shard]) -> list[list[Prompt]]:
    return [prompts_of(whole.between(shard.start, shard.end).chunks()) for shard in shards]


def assert_is_cut(whole: Source, shards: Sequence[Shard]) -> None:
    """The shards are the rows of the local reading, each once and in order, as many as they say; none is empty."""
    assert [shard.number for shard in shards] == list(range(len(shards)))
    parts = read(whole, shards)
    assert [prompt for part in parts for prompt in part] == prompts_of(whole.chunks())
    for shard, part in zip(shards, parts, strict=True):
        assert shard.file == whole.files[shard.start.file].name
        assert {prompt.file for prompt in part} <= {shard.file}
        assert shard.rows is None or shard.rows == len(part) > 0
        assert shard.end > shard.start
        assert shard.end.file == shard.start.file or shard.end == Position(shard.start.file + 1, 0, 0)
    for one, other in pairwise(shards):
        assert one.end == other.start or other.start == Position(other.start.file, 0, 0)


@settings(max_examples=40)
@given(
    st.lists(FILES, min_size=1, max_size=3),
    st.sampled_from([ChunkLimits(4, 64, 400), ChunkLimits(1, 3, 200), ChunkLimits()]),
    st.integers(1, 300),
    st.integers(1, 12),
    st.sampled_from([4, 5, 64, 4 * MIB]),
)
def test_shards_are_the_rows_of_the_input_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    files: Sequence[Any],
    limits: ChunkLimits,
    size: int,
    senders: int,
    block: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = source(*(written(folder, number, *each) for number, each in enumerate(files)), limits=limits, id="id")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_BLOCK_BYTES", block)
        of_that_size, for_senders = cut(whole, of_size(size), senders), cut(whole, EngineSpec(), senders)
    assert_is_cut(whole, of_that_size)
    assert_is_cut(whole, for_senders)
    rows = len(prompts_of(whole.chunks()))
    can_be_cut = all(kind in {"lines", "parquet"} for kind, *_ in files)
    assert len(for_senders) >= (min(senders, rows) if can_be_cut else 1)


def test_places_of_lines_by_the_example_of_the_module(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt":"a"}\n\n{"prompt":"b b b b"}\n{"prompt":"c c"}')
    whole = source(path)
    assert list(marks.marks(whole.files[0], 20, 10, 100)) == [(0, 0, 0), (37, 3, 2), (53, 4, 3)]
    one, other = cut(whole, of_size(20), 1)
    assert one == Shard(0, "a.jsonl", Position(0, 0, 0), Position(0, 3, 37), 2)
    assert other == Shard(1, "a.jsonl", Position(0, 3, 37), Position(0, 4, 53), 1)
    assert (one.end.line, other.start.line) == (3, 3)


def test_a_bad_row_of_a_shard_is_named_by_its_line_in_the_file(tmp_path: Path) -> None:
    whole = source(lines(tmp_path / "a.jsonl", {"prompt": "a"}, "", {"prompt": "b"}, "{", {"prompt": "c"}))
    refusals = [prompt.refusal or "" for part in read(whole, cut(whole, of_size(1), 1)) for prompt in part]
    assert [refusal.partition(":")[0] for refusal in refusals] == ["", "", "line 4", ""]


@pytest.mark.parametrize("blocks", [8, 64, 4 * MIB])
def test_blank_lines_count_as_the_reader_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """One that is too long even for a record is a refused row: its reader does not learn that it is blank."""
    path = tmp_path / "a.jsonl"
    blank = [b" " * 70, b"\r", b"\x0b\x0c" * 20, b" " * 40 + b"\xc2\xa0", b" " * 90]
    path.write_bytes(b"".join(each + b"\n" + row("x") + b"\n" for each in blank) + b" " * 99)
    whole = source(path, limits=ChunkLimits(rows=3, chunk_bytes=8, line_bytes=200))
    monkeypatch.setattr(marks, "_BLOCK_BYTES", blocks)
    assert_is_cut(whole, cut(whole, of_size(60), 1))
    path.write_bytes(row("x") + b"\n" + b" " * 300 + b"\n" + row("x") + b"\n" + b"\t" * 300)
    whole = source(path, limits=ChunkLimits(rows=3, chunk_bytes=8, line_bytes=200))
    monkeypatch.setattr(marks, "_BLOCK_BYTES", min(blocks, 64))
    shards = cut(whole, of_size(60), 1)
    assert sum(shard.rows or 0 for shard in shards) == 4
    assert_is_cut(whole, shards)


def test_a_line_of_5_mb_on_a_cut(tmp_path: Path) -> None:
    long = {"prompt": "y" * (5 * MIB)}
    small = [{"prompt": str(at) + "x" * 1000} for at in range(2000)]
    whole = source(lines(tmp_path / "a.jsonl", *small[:900], long, *small[900:]))
    shards = cut(whole, of_size(MIB), 1)
    assert_is_cut(whole, shards)
    sizes = sorted(shard.end.offset - shard.start.offset for shard in shards)
    assert 5 * MIB < sizes[-1] < 6.1 * MIB
    assert sizes[-2] < 1.1 * MIB


def test_what_is_appended_is_in_no_shard(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"prompt": f"{at}"} for at in range(50)))
    whole = source(path)
    with path.open("ab") as file:
        file.write(b'{"prompt": "late"}\n')
    shards = cut(whole, of_size(100), 1)
    assert_is_cut(whole, shards)
    assert sum(shard.rows or 0 for shard in shards) == 50


# Rows, and bytes of each, senders -> the shards there may be.
NUMBERS = pytest.mark.parametrize(
    ("files", "size", "senders", "fewest", "most"),
    [
        ([1], 10, 8, 1, 1),
        ([7], 10, 8, 7, 7),
        ([1000], 10, 8, 8, 8),
        ([1000], 10, 1, 1, 1),
        ([4, 4], 10, 3, 3, 4),
        ([100] * 9, 10, 8, 9, 9),
        ([1, 999, 0], 10, 8, 8, 9),
        ([79_999], 20, 8, 8, 8),  # not one too few, though there are not 10,000 rows for each
        ([80_000], 20, 4, 7, 8),
        ([100_000], 20, 2, 9, 10),
        ([30_000, 9_999, 1], 20, 4, 5, 5),
        ([0], 10, 8, 0, 0),
    ],
)


@NUMBERS
@pytest.mark.parametrize("kind", ["lines", "one group", "groups of 700"])
def test_each_sender_has_a_shard_and_shards_have_rows(
    tmp_path: Path, files: Sequence[int], size: int, senders: int, fewest: int, most: int, kind: str
) -> None:
    for at, count in enumerate(files):
        texts = [f"{number:0{size}d}" for number in range(count)]
        if kind == "lines":
            lines(tmp_path / f"{at}.jsonl", *({"prompt": text} for text in texts))
        else:
            table = pa.table({"prompt": pa.array(texts, pa.string())})
            pq.write_table(
                table, tmp_path / f"{at}.parquet", row_group_size=700 if kind == "groups of 700" else None
            )
    whole = source(tmp_path)
    shards = cut(whole, EngineSpec(), senders)
    assert fewest <= len(shards) <= most
    assert keys(chunk for shard in shards for chunk in whole.between(shard.start, shard.end).chunks()) == keys(
        whole.chunks()
    )
    if sum(max(count // LEAST_SHARD_ROWS, 1) for count in files if count) >= senders:
        assert all((shard.rows or 0) >= min(LEAST_SHARD_ROWS, files[shard.start.file]) for shard in shards)


@pytest.mark.parametrize("kind", ["lines", "parquet"])
def test_each_sender_has_twenty_where_there_are_rows(tmp_path: Path, kind: str) -> None:
    texts = [f"{number:08d}" for number in range(450_000)]
    if kind == "lines":
        (tmp_path / "a.jsonl").write_text("".join(f'{{"prompt":"{text}"}}\n' for text in texts))
    else:
        pq.write_table(pa.table({"prompt": texts}), tmp_path / "a.parquet", row_group_size=50_000)
    shards = cut(source(tmp_path), EngineSpec(), 2)
    assert 2 * SHARDS_PER_SENDER <= len(shards) <= 45
    assert min(shard.rows or 0 for shard in shards) >= LEAST_SHARD_ROWS


def test_small_row_groups_go_together_and_large_ones_are_cut(tmp_path: Path) -> None:
    """By the bytes of all columns, as they are in the file."""
    groups = [1, 7, 50_000, 7, 1, 0, 900, 50_000]
    whole = source(grouped(tmp_path / "a.parquet", groups))
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    sizes = [
        sum(metadata.row_group(at).column(leaf).total_compressed_size for leaf in (0, 1))
        for at in range(len(groups))
    ]
    small = sum(sizes[3:7])
    shards = cut(whole, of_size(small), 1)
    assert_is_cut(whole, shards)
    ends = [shard.end.row for shard in shards]
    parts = -(-sizes[2] // small)
    assert sizes[2] > 4 * small
    assert ends[0] == 8
    assert 50_008 in ends
    assert 50_916 in ends
    assert len(shards) == pytest.approx(2 * parts + 2, abs=1)
    whole_groups = cut(whole, of_size(sizes[2] / 3.9), 1)
    assert {shard.end.row for shard in whole_groups} <= {8, 50_008, 50_916, 100_916}


def test_what_cannot_be_cut_is_one_shard_each(tmp_path: Path) -> None:
    for number, kind in enumerate(("gz", "csv", "array")):
        written(tmp_path, number, kind, 9)
    whole = source(tmp_path)
    assert cut(whole, of_size(1), 4) == cut(whole, EngineSpec(), 4)
    assert [(shard.file, shard.start, shard.end, shard.rows) for shard in cut(whole, of_size(1), 4)] == [
        (name, Position(at, 0, 0), Position(at + 1, 0, 0), None)
        for at, name in enumerate(("0.jsonl.gz", "1.csv", "2.json"))
    ]


@pytest.mark.parametrize("limit", [0, 1, 8, 9, 10, 17, 18, 19, 26, 27, 28, None])
@pytest.mark.parametrize("kinds", [("lines", "gz", "lines"), ("gz", "csv", "array"), ("gz", "lines", "csv")])
def test_the_first_rows_of_the_input_are_whole_shards_and_a_cut_one(
    tmp_path: Path, kinds: Sequence[str], limit: int | None
) -> None:
    for number, kind in enumerate(kinds):
        written(tmp_path, number, kind, [row(f"{at}") for at in range(9)] if kind == "lines" else 9)
    whole = source(tmp_path)
    wanted = limited(cut(whole, of_size(100), 1), whole, limit)
    parts = read(whole, [shard for shard, _ in wanted])
    cut_parts = [part[:most] for part, (_, most) in zip(parts, wanted, strict=True)]
    assert [prompt for part in cut_parts for prompt in part] == prompts_of(whole.chunks())[:limit]
    assert all(most is None for _, most in wanted[:-1])
    assert limit is None or len([part for part in cut_parts if not part]) == 0


def test_only_what_must_be_counted_is_read(tmp_path: Path) -> None:
    """Of three files that cannot be cut, the first 12 rows are in the first two, and the last has no need."""
    for number in range(3):
        written(tmp_path, number, "gz", 9)
    whole = source(tmp_path)
    shards = cut(whole, of_size(100), 1)
    (tmp_path / "2.jsonl.gz").unlink()
    assert limited(shards, whole, 12) == [(shards[0], None), (shards[1], 3)]
    assert limited(shards, whole, 20) == [(shards[0], None), (shards[1], None), (shards[2], 2)]
    assert limited(shards, whole, None) == [(shard, None) for shard in shards]
