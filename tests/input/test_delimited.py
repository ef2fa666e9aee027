"""CSV as people have it: quotes, delimiters, endings, what cannot be read, and the same cells as Python's csv."""

from __future__ import annotations

import csv
import gzip
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.delimited import cells, delimited
from batchroute.input.look import refuse_unreadable
from batchroute.input.split import ChunkLimits, Splitter
from inputs import kept, prompts, source, user_texts

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.open import Source


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def opened(tmp_path: Path, data: bytes | str, name: str = "a.csv", **settings: Any) -> Source:
    of = source(written(tmp_path / name, data), **settings)
    refuse_unreadable(of)
    return of


def refusals(of: Source) -> list[str | None]:
    found = [prompt.refusal for prompt in prompts(of)]
    refused = [refusal for chunk in of.chunks() for refusal in chunk.questions().refused.tolist()]
    assert refused == [refusal is not None for refusal in found]
    return found


# What is read.


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ("prompt\na\nb\n", ["a", "b"]),
        ("prompt\r\na\r\nb", ["a", "b"]),
        ("\ufeffprompt,id\na,1\n", ["a"]),
        ('"prompt","id"\n"a, ""b""\n c","1"\n', ['a, "b"\n c']),
        (' id,prompt \n1,a\nx,"b"\n', None),
        ("\n\r\nprompt,id\n\na,1\n\r\n\nb,2\n\n", ["a", "b"]),
        ("id;prompt\n1;a, b\n", ["a, b"]),
        ("id\tprompt\n1\ta; b, c\n", ["a; b, c"]),
        ("kind (a, b, c);prompt\nx;y, z\nx;y\n", ["y, z", "y"]),
        ("id|prompt\n1|a\n", ["a"]),
        ("sep=;\r\nprompt;id\r\na, b;1\r\n", ["a, b"]),
        ("SEP=|\nprompt\na,b\n", ["a,b"]),
        (',prompt,,\n0,"a",x,y\n', ["a"]),  # pandas' index and a spreadsheet's empty columns
        ('"a, b; c; d; e",prompt\n1,x\n', ["x"]),
        ('prompt,id\n5" disk,1\nx"y"z,2\n"a"b"c,3\n', ['5" disk', 'x"y"z', 'ab"c']),
        ('prompt,id\n"",1\n', [""]),
        ("prompt,id\n  a  ,1\n", ["  a  "]),
        ("prompt,id\na\rb,1\n", ["a\rb"]),
        ("prompt,id\na\x00b,1\n", ["a\x00b"]),
        ("prompt,id\na\u2028b\x0bc\x85,1\n", ["a\u2028b\x0bc\x85"]),
        ("prompt,id\nNaN,1\nnull,2\nN/A,3\n", ["NaN", "null", "N/A"]),
        ("prompt\n", []),
        ("prompt", []),
        ("", []),
        ("\ufeff", []),
        ("\n\r\n\n", []),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.CSV.gz"])
def test_texts_are_the_cells_below_the_header(
    tmp_path: Path, data: str, texts: list[str] | None, name: str
) -> None:
    packed = gzip.compress(data.encode(), mtime=0) if name.endswith("gz") else data
    if texts is None:
        with pytest.raises(InputFault, match=r"no column 'prompt'; did you mean 'prompt '\?"):
            opened(tmp_path, packed, name)
        return
    of = opened(tmp_path, packed, name)
    assert user_texts(of) == texts
    assert [prompt.row for prompt in prompts(of)] == list(range(len(texts)))


def test_an_empty_cell_is_null_and_a_quoted_one_is_an_empty_text(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        'prompt,id,topic,params,route\n,1,,,\n"",2,"",,\nc,,x,"{""top_p"": 0.5}",weak\n',
        id="id",
        keep=["topic"],
        params="params",
        route="route",
    )
    first, second, third = prompts(of)
    assert first.refusal == "line 2: column 'prompt' is missing or null, not text"
    assert (second.refusal, second.id, kept(second, of)) == (None, "2", {"topic": ""})
    assert (third.id, third.params, kept(third, of)) == (None, {"top_p": 0.5}, {"topic": "x"})
    (chunk,) = of.chunks()
    assert chunk.questions().forced == [None, None, "weak"]


def test_messages_and_templates_are_read_of_cells(tmp_path: Path) -> None:
    chat = '[{""role"": ""user"", ""content"": ""Why?""}]'
    assert user_texts(opened(tmp_path, f'messages\n"{chat}"\n', messages="messages")) == ["Why?"]
    of = opened(tmp_path, 'a,b\nx,y\nx,\nx,""\n', template="{{ a }}-{{ b }}")
    assert [prompt.refusal for prompt in prompts(of)] == [
        None,
        "line 3: column 'b' of the template is missing or null",
        None,
    ]


def test_star_keeps_every_column_that_has_a_name(tmp_path: Path) -> None:
    of = opened(tmp_path, ",prompt,score\n0,a,7\n", keep=["*"])
    assert [kept(prompt, of) for prompt in prompts(of)] == [{"prompt": "a", "input_score": "7"}]


# What is refused, and where it stands.


@pytest.mark.parametrize(
    ("rows", "line", "why"),
    [
        (
            b"a,1,2\nok,1\n",
            2,
            "has 3 cells where the header has 2; a cell that holds ',' or",
        ),
        (b"\n\na\nok,1\n", 4, "has 1 cells where the header has 2"),
        (b'"x\n\ny",1\nb\nok,1\n', 5, "has 1 cells where the header has 2"),
        (b"ok,1\ncaf\xe9,1\n", 3, "not UTF-8 at byte 4; if it was saved as Windows-1252: iconv -f WINDOWS-1252"),
        (b'ok,1\n"b,2\nc,3\n', 3, "a quote that opens a cell is not closed; the rows from here on are lost"),
        (b"ok,1\n" + b"x" * 5000 + b",1\nok,1\n", 3, "longer than 0 MiB"),
        (b'ok,1\n"' + b"x\n" * 3000 + b'",1\nok,1\n', 3, "longer than 0 MiB"),
        (b'ok,1\n"' + b'x""\n' * 3000 + b'"",1\nok,1\n', 3, "longer than 0 MiB"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [40, 4000])
def test_a_refused_row_names_its_physical_line(
    tmp_path: Path, rows: bytes, line: int, why: str, chunk_bytes: int
) -> None:
    limits = ChunkLimits(rows=2, chunk_bytes=chunk_bytes, line_bytes=4000)
    found = [refusal for refusal in refusals(opened(tmp_path, b"prompt,id\n" + rows, limits=limits)) if refusal]
    assert len(found) == 1
    assert found[0].startswith(f"line {line}: {why}")


def test_what_cannot_be_unpacked_further_is_a_row(tmp_path: Path) -> None:
    data = gzip.compress(b"prompt,id\n" + b"a,1\n" * 3000)
    of = opened(tmp_path, data[:-8] + b"damage", "a.csv.gz")
    *rows, last = refusals(of)
    assert not any(rows)
    assert len(rows) == 3000
    assert last is not None
    assert last.endswith("the rows from here on are lost")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"promt,id\na,1\n", r"no column 'prompt'; did you mean 'promt'\? it has promt, id"),
        (
            b"prompt,id,prompt,id\na,1,b,2\n",
            r"several columns are called 'prompt', 'id'; rename",
        ),
        (b",,\na,b,c\n", r"its header names no column"),
        (b'"prompt,id\na,1\n', r"its header has no end; look for a quote that is not closed"),
        (b"prompt,\xe9\na,1\n", r"its header is not UTF-8 at byte 8; if it was saved as Windows-1252"),
        (b"prompt,id\ra,1\rb,2\r", r"its lines end with \\r alone; write them anew: tr"),
        ("prompt,id\na,1\n".encode("utf-16"), r"it is UTF-16: iconv"),
        ("prompt,id\na,1\n".encode("utf-16-le"), r"it is UTF-16: iconv"),
        (bytes(99), r"it holds zeros"),
        (b"PAR1....", r"it is a Parquet file"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", r"it is an Excel workbook: save it as CSV UTF-8"),
        (
            gzip.compress(b"prompt,id\na,1\n", mtime=0)[:12],
            r"not one line can be read: the compressed file is damaged",
        ),
        (b"prompt,id\na\nb\n", r"not one line is a row, the first begins 'a\\n': has 1 cells where"),
        (b"prompt,id\n\xe9,1\n", r"not one line is a row.*not UTF-8"),
    ],
)
def test_a_file_that_is_no_csv_is_a_fault_that_names_it(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(InputFault, match=rf"^{re.escape(str(tmp_path))}/a\.csv: .*{why}"):
        opened(tmp_path, data)


# The same as Python's csv.

CELL = st.text('a"\n,; é\\\t', max_size=8)


def split(data: bytes, framing: Any, limits: ChunkLimits) -> list[tuple[bytes, int]]:
    """The records of these bytes and the lines they begin on, as they come in pieces of up to 7 bytes."""
    stream = io.BytesIO(data)
    blocks = Splitter(lambda size: stream.read(min(size, 7)), limits, framing)
    return [item for block in blocks for item in zip(block.records, block.lines.tolist(), strict=True)]  # type: ignore[misc]


@settings(max_examples=300)
@given(
    st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(1, 50),
    st.integers(1, 5),
    st.booleans(),
)
def test_what_python_writes_is_read_as_python_reads_it(
    rows: list[list[str]],
    delimiter: str,
    newline: str,
    quoting: Any,
    chunk_bytes: int,
    most: int,
    is_ended: bool,
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows(rows)
    data = file.getvalue().encode() if is_ended else file.getvalue().encode().removesuffix(newline.encode())
    found = split(data, delimited(delimiter, 0), ChunkLimits(most, chunk_bytes, 10**6))
    assert [[cell or "" for cell in cells(delimiter).of(record)] for record, _ in found] == rows
    reader, starts, line = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter), [], 0
    for _ in reader:
        starts.append(line)
        line = reader.line_num
    assert [line for _, line in found] == starts


@settings(max_examples=500)
@given(st.text('a",\n', max_size=40), st.integers(1, 12))
def test_any_text_is_read_as_python_reads_it(text: str, chunk_bytes: int) -> None:
    found = [record for record, _ in split(text.encode(), delimited(",", 0), ChunkLimits(3, chunk_bytes, 10**6))]
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if found and not isinstance(found[-1], bytes):  # a quote that is not closed: Python takes it for closed
        found, expected = found[:-1], expected[:-1]
    assert [[cell or "" for cell in cells(",").of(record)] for record in found] == expected


def test_the_cells_of_some_rows_are_read_alone(tmp_path: Path) -> None:
    of = opened(tmp_path, "prompt,id\n" + "".join(f'"row\n{i}",{i}\n' for i in range(50)), id="id")
    for chunk in of.chunks():
        assert [prompt.id for prompt in chunk.prompts(np.array([3, 7]))] == ["3", "7"]


@pytest.mark.parametrize("rows", [[], ["y, z;1"], ["y, z;1", "ragged"], ["y, z;1", "\\xff;1"]])
def test_the_delimiter_can_be_said(tmp_path: Path, rows: list[str]) -> None:
    data = "\n".join(["sep=;", "prompt;kind (a, b)", *rows]).encode().replace(b"\\xff", b"\xff")
    of = opened(tmp_path, data)
    assert [prompt.refusal for prompt in prompts(of)][:1] == [None] * bool(rows)


def test_a_header_may_be_longer_than_a_block(tmp_path: Path) -> None:
    names = ",".join(f"column {number}" for number in range(9000))  # more than is looked at at first
    of = opened(tmp_path, f"prompt,{names}\na{',' * 9000}\n", limits=ChunkLimits(chunk_bytes=50))
    assert user_texts(of) == ["a"]
