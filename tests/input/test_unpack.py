"""Packed files: every line there is before a fault, and the fault; what is a fault, and what is padding."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.input.split import ChunkLimits
from batchroute.input.stream import open_bytes
from batchroute.input.unpack import TornStream
from inputs import keys, line_of, lines, prompts, source, user_texts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SMALL = ChunkLimits(rows=3, chunk_bytes=40, line_bytes=4000)


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue())


# A zstd frame that its reader is to skip, as parallel and seekable writers put them before and behind the others.
SKIPPED = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
PACKED = pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", _zstd)])


def text_of(rows: Iterable[str]) -> bytes:
    return b"".join(line_of({"prompt": row}) + b"\n" for row in rows)


def in_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@PACKED
def test_compressed_files_are_read_to_their_end(tmp_path: Path, ending: str, pack: Any) -> None:
    members = [text_of(f"{part} {i}" for i in range(500)) for part in "ab"]
    path = in_file(tmp_path / f"a.jsonl{ending}", b"".join(pack(member) for member in members))
    packed = source(path, limits=SMALL)
    assert user_texts(packed) == [f"{part} {i}" for part in "ab" for i in range(500)]
    middle = list(packed.chunks())[100]
    assert keys(packed.chunks(middle.position)) == keys(packed.chunks())[int(middle.rows[0]) :]


@PACKED
def test_a_member_for_each_line_is_read_as_well(tmp_path: Path, ending: str, pack: Any) -> None:
    """As a writer leaves them that packs each line by itself, among some that are longer than is read at once."""
    rng = np.random.default_rng(0)
    texts = [rng.bytes(60_000 if row % 500 == 0 else row % 50).hex() for row in range(2000)]
    data = b"".join(pack(text_of([text])) for text in texts)
    assert user_texts(source(in_file(tmp_path / f"a.jsonl{ending}", data))) == texts


@pytest.mark.parametrize("cut", [1, 9, 400])
@PACKED
def test_a_torn_file_gives_its_whole_lines_and_one_refused_row(
    tmp_path: Path, ending: str, pack: Any, cut: int
) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.bytes(200).hex() for _ in range(2000)]
    found = prompts(source(in_file(tmp_path / f"a.ndjson{ending}", pack(text_of(rows))[:-cut])))
    assert len(found) > (1980 if pack is gzip.compress else 1600)  # zstd's blocks are of 128 KiB
    assert [prompt.refusal is None for prompt in found] == [True] * (len(found) - 1) + [False]
    assert "damaged or ends early" in str(found[-1].refusal)


@pytest.mark.parametrize("zeros", [1, 512, 200_000])
@PACKED
def test_zeros_between_members_and_behind_them_are_padding(
    tmp_path: Path, ending: str, pack: Any, zeros: int
) -> None:
    data = b"".join(pack(text_of(rows)) + bytes(zeros) for rows in (["a", "b"], [], ["c"]))
    assert user_texts(source(in_file(tmp_path / f"a.jsonl{ending}", data))) == ["a", "b", "c"]


@pytest.mark.parametrize("junk", [b"\n", b"<html>", b"\x1f\x8b", SKIPPED[:6], bytes(9) + b"x", b"x" * 100_000])
@pytest.mark.parametrize("newline", [b"\n", b""])
@PACKED
def test_other_junk_behind_costs_no_line_and_is_said(
    tmp_path: Path, ending: str, pack: Any, newline: bytes, junk: bytes
) -> None:
    data = pack(text_of(["a", "b"]).removesuffix(b"\n") + newline) + junk
    of = source(in_file(tmp_path / f"a.jsonl{ending}", data))
    found = prompts(of)
    assert [prompt.refusal is None for prompt in found] == [True, True, False]
    assert str(found[2].refusal).startswith("line 3: the compressed file is damaged or ends early")
    for place, chunk in enumerate(of.chunks()):
        assert keys(of.chunks(chunk.position)) == keys(iter(list(of.chunks())[place:]))


def test_frames_to_be_skipped_hold_no_lines(tmp_path: Path) -> None:
    data = SKIPPED + _zstd(text_of(["a"])) + SKIPPED + _zstd(text_of(["b"])) + SKIPPED
    assert user_texts(source(in_file(tmp_path / "a.jsonl.zst", data))) == ["a", "b"]


@given(st.data())
def test_all_that_stands_before_a_fault_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What a decompressor brings out that is given one byte after the other."""
    texts = data.draw(st.lists(st.text("ab", max_size=99), min_size=1, max_size=9))
    packed = bytearray(b"".join(gzip.compress(text.encode()) for text in texts))
    packed[data.draw(st.integers(4, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    path = in_file(tmp_path_factory.mktemp("packed") / "a.jsonl", bytes(packed))
    found = bytearray()
    with open_bytes(source(path).files[0]) as stream:
        try:
            while block := stream.read(1 << 20):
                found += block
        except TornStream:
            with pytest.raises(TornStream):  # and again, whoever asks again
                stream.read(1)
    assert bytes(found).startswith(one_by_one(bytes(packed)))


def one_by_one(packed: bytes) -> bytes:
    found, member = b"", zlib.decompressobj(wbits=31)
    for at in range(len(packed)):
        try:
            found += member.decompress(packed[at : at + 1])
        except zlib.error:
            return found
        if member.eof:
            member = zlib.decompressobj(wbits=31)
    return found


def test_how_a_file_is_packed_it_says_itself(tmp_path: Path) -> None:
    """Downloads are unpacked on the way and keep their name, or lose it."""
    plain = lines(tmp_path / "plain.jsonl.gz", {"prompt": "a"})
    packed = in_file(tmp_path / "packed.jsonl", gzip.compress(text_of(["b"])))
    other = in_file(tmp_path / "other.jsonl.gz", _zstd(text_of(["c"])))
    empty = in_file(tmp_path / "empty.jsonl.gz", b"")
    assert user_texts(source(plain, packed, other, empty)) == ["a", "b", "c"]


def test_a_longer_window_than_any_reader_may_hold_is_refused_with_its_cure(tmp_path: Path) -> None:
    """A frame as `zstd --long=31` makes it, by hand: a window of 2 GiB, and one raw block."""
    text = text_of(["a"])
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + (len(text) << 3 | 1).to_bytes(3, "little") + text
    (found,) = prompts(source(in_file(tmp_path / "a.jsonl.zst", frame)))
    assert "pack it again without --long: zstd -dc --long=31 OLD | zstd -o NEW" in str(found.refusal)
