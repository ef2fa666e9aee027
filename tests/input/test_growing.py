"""Files that go on being written: a run reads what it found, and knows it again."""

from __future__ import annotations

import gzip
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.growing import appended
from inputs import line_of, lines, parquet, prompts, source, user_texts

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.file import Fingerprint
    from batchroute.input.open import Source


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def begun(of: Source) -> dict[str, Fingerprint]:
    return {file.name: file for file in of.fingerprint()}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue())


def text(*rows: str) -> bytes:
    return b"".join(line_of({"prompt": row}) + b"\n" for row in rows)


def written(path: Path, rows: list[str]) -> Path:
    if path.suffix == ".parquet":
        return parquet(path, {"prompt": rows})
    path.write_bytes({".gz": gzip.compress, ".zst": zstd}.get(path.suffix, bytes)(text(*rows)))
    return path


KINDS = pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.jsonl", text("late", "later")),
        ("a.jsonl", b'{"prompt": "la'),
        ("a.jsonl.gz", gzip.compress(text("late"), mtime=0)),
        ("a.jsonl.gz", b"\x1f\x8b"),
        ("a.jsonl.zst", zstd(text("late"))),
        ("a.parquet", b"PAR1 and a new footer to come"),
    ],
)


@pytest.mark.parametrize("rows", [1, 6000])  # the second is more than is read at once
@KINDS
def test_what_is_appended_is_not_read_and_the_file_is_known_again(
    tmp_path: Path, name: str, more: bytes, rows: int
) -> None:
    texts = [f"row {row} " + "x" * 1000 for row in range(rows)]
    path = written(tmp_path / name, texts)
    first = source(path)
    before, opened = begun(first), first.chunks()
    next(opened)
    append(path, more)
    assert sum(len(chunk.rows) for chunk in opened) + len(next(first.chunks()).rows) == rows
    again = source(path, begun=before)
    assert user_texts(first) == user_texts(again) == texts
    assert begun(first) == begun(again) == before
    words = f"leaves that to another job: {path} by {len(more)} bytes"
    assert words in str(appended(first.files))
    assert words in str(appended(again.files))


def test_a_file_that_is_as_long_as_it_was_has_not_grown(tmp_path: Path) -> None:
    assert appended(source(written(tmp_path / "a.jsonl", ["a"])).files) is None


def test_many_files_that_have_grown_are_counted(tmp_path: Path) -> None:
    for name in "abcde":
        lines(tmp_path / f"{name}.jsonl", {"prompt": name})
    of = source(tmp_path)
    for name in "abcd":
        append(tmp_path / f"{name}.jsonl", b"{}\n")
    assert str(appended(of.files)).endswith("c.jsonl by 3 bytes and 1 more")


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_a_file_is_known_again_if_and_only_if_it_begins_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    path = tmp_path_factory.mktemp("growing") / "a.jsonl"
    path.write_bytes(old)
    before = begun(source(path))
    path.write_bytes(new)
    assert (begun(source(path, begun=before)) == before) == new.startswith(old)


def test_a_large_file_that_was_rewritten_is_another_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ["x" * 1000] * 3000)
    before = begun(source(path))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data + text("late"))
    assert begun(source(path, begun=before)) != before


def test_a_file_that_lost_lines_is_a_fault(tmp_path: Path) -> None:
    of = source(written(tmp_path / "a.jsonl", ["a", "b"]))
    (tmp_path / "a.jsonl").write_bytes(text("a"))
    with pytest.raises(InputFault, match=r"a\.jsonl: has become shorter since the run began; restore it"):
        list(of.chunks())


# A last line that is cut short.


def later(path: Path, data: bytes) -> threading.Thread:
    """Appends when somebody has begun to wait for it."""

    def work() -> None:
        time.sleep(0.2)
        append(path, data)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("rest", [b'te"}\n', b"t", b'te"}\n{"prompt": "later"}\n'])
@pytest.mark.parametrize("before", [1, 5000])
def test_a_line_that_is_being_written_belongs_to_those_who_read_the_rest(
    tmp_path: Path, rest: bytes, before: int
) -> None:
    texts = [f"row {row} of what there is" for row in range(before)]
    path = written(tmp_path / "a.jsonl", texts)
    size = path.stat().st_size
    append(path, b'{"prompt": "la')
    thread = later(path, rest)
    of = source(path)
    thread.join()
    assert (of.files[0].size, user_texts(of)) == (size, texts)
    assert str(appended(of.files)).endswith(f"by {len(rest) + 14:,} bytes")
    assert user_texts(source(path, begun=begun(of))) == texts


@pytest.mark.parametrize(
    ("end", "refused"),
    [(b'{"prompt": "la', True), (b'{"prompt": "late"}', False), (b"  ", None), (b"x" * 99_999, True)],
)
def test_a_last_line_without_an_end_is_a_row_where_nothing_comes(
    tmp_path: Path, end: bytes, refused: bool | None
) -> None:
    path = written(tmp_path / "a.jsonl", ["a"])
    append(path, end)
    found: list[Any] = [prompt.refusal is not None for prompt in prompts(source(path))]
    assert found == [False] + ([] if refused is None else [refused])


@pytest.mark.parametrize("rest", [b'te"\n', b"t", b'te"\n"later"\n', b'""'])
@pytest.mark.parametrize("torn", [b'"la', b"la", b'"la\n\nla', b'"la\n"'])
def test_a_record_that_is_being_written_belongs_to_those_who_read_the_rest(
    tmp_path: Path, torn: bytes, rest: bytes
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt\n"a\n\nb"\nc\n' + torn)
    thread = later(path, rest)
    of = source(path)
    thread.join()
    assert (of.files[0].size, user_texts(of)) == (16, ["a\n\nb", "c"])
    assert user_texts(source(path, begun=begun(of))) == ["a\n\nb", "c"]


@pytest.mark.parametrize("age_s", [0, 3600])
def test_a_record_without_a_newline_is_a_row_where_nothing_comes(tmp_path: Path, age_s: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt\na\nb")
    os.utime(path, (time.time() - age_s,) * 2)
    assert user_texts(source(path)) == ["a", "b"]


@pytest.mark.parametrize("data", [b'prompt\n"a"\n', b'[{"prompt": "a"}]'])
def test_csv_and_arrays_are_read_as_long_as_they_were(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / ("a.json" if data.startswith(b"[") else "a.csv")
    path.write_bytes(data)
    of = source(path)
    append(path, b"\nlate\n")
    assert user_texts(of) == user_texts(source(path, begun=begun(of))) == ["a"]
