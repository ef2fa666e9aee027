"""One array of objects: its elements, what is none, and where it breaks; the same as Python's json."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.elements import Elements
from batchroute.input.look import refuse_unreadable
from batchroute.input.row import Unreadable
from batchroute.input.split import ChunkLimits, Splitter
from inputs import kept, lines, prompts, source, user_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.input.split import Record


def opened(tmp_path: Path, data: bytes | str, name: str = "a.json", **settings: Any) -> Source:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    of = source(path, **settings)
    refuse_unreadable(of)
    return of


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b'[{"prompt": "a"}, {"prompt": "b"}]', ["a", "b"]),
        (b'\xef\xbb\xbf \r\n[\n  {\n    "prompt": "]}, {\\"[",\n    "x": [[{}]]\n  }\n]\r\n', [']}, {"[']),
        (b'[{"prompt": "a\\\\"},{"prompt": "\\\\\\""}]', ["a\\", '\\"']),
        (
            b'[{"prompt": "\\ud83d!", "x": NaN}, {"prompt": "\\ud83d\\ude00", "x": 1e999}]',
            ["\ufffd!", "\U0001f600"],
        ),
        (b'[{"prompt": "a"},]', ["a"]),
        (b'{"prompt": "a"}\n{"prompt": "b"}\n', ["a", "b"]),  # lines, as Hugging Face calls them .json
        (b'{"prompt": "a"}', ["a"]),
        (b"[]", []),
        (b" [ \n ] \n", []),
        (b"", []),
        (b"\n", []),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.JSON.gz"])
def test_texts_are_those_of_the_objects(tmp_path: Path, data: bytes, texts: list[str], name: str) -> None:
    of = opened(tmp_path, gzip.compress(data, mtime=0) if name.endswith("gz") else data, name)
    assert user_texts(of) == texts
    assert [prompt.row for prompt in prompts(of)] == list(range(len(texts)))


DEEP = b'{"prompt": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("data", "refusals"),
    [
        (
            b'[{"prompt": "a"}, 7, null, "x, ]", [{}], {"prompt": "b"}]',
            dict.fromkeys((1, 2, 3, 4), "not a JSON object"),
        ),
        (b'[{"prompt": "a"}, {"prompt": "\xff"}, {"prompt": "b"}]', {1: "not UTF-8 at byte 13"}),
        (
            b'[{"prompt": "a"}, {"prompt": a}, nonsense, {}]',
            {1: "not JSON", 2: "not JSON", 3: "column 'prompt' is"},
        ),
        (b'[{"prompt": "a"}, ' + DEEP + b', {"prompt": "b"}]', {1: "not JSON: nested too deep"}),
        (b'[{"prompt": "a"}] [{"prompt": "b"}]', {1: "what stands behind the array's end is not read: b'[{"}),
        (b'[{"prompt": "a"},\n{"prompt": "b', {1: "the array has no end, its writer did not finish"}),
        (b'[{"prompt": "a"},\n', {1: "the array has no end"}),
        (b'[{"prompt": "a"}', {1: "the array has no end"}),
        (b'[{"prompt": "a"}, {"prompt": "' + b"x]" * 3000 + b'"}, {"prompt": "b"}]', {1: "longer than 0 MiB"}),
        (b'[{"prompt": "a"}, [' + b"[1]," * 3000 + b'1], {"prompt": "b"}]', {1: "longer than 0 MiB"}),
        (b'[{"prompt": "a"}, ' + b"9" * 5000 + b', {"prompt": "b"}]', {1: "longer than 0 MiB"}),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [20, 4000])
def test_what_is_no_row_is_refused_by_its_index(
    tmp_path: Path, data: bytes, refusals: dict[int, str], chunk_bytes: int
) -> None:
    limits = ChunkLimits(rows=2, chunk_bytes=chunk_bytes, line_bytes=4000)
    if DEEP in data:
        limits = ChunkLimits(rows=2, chunk_bytes=chunk_bytes)
    of = opened(tmp_path, data, limits=limits)
    found = {prompt.row: prompt.refusal for prompt in prompts(of) if prompt.refusal is not None}
    assert found.keys() == refusals.keys()
    for row, why in refusals.items():
        assert found[row].startswith(f"element {row}: {why}")  # type: ignore[union-attr]
    asked = [refused for chunk in of.chunks() for refused in chunk.questions().refused.tolist()]
    assert [row for row, refused in enumerate(asked) if refused] == sorted(refusals)


def test_what_cannot_be_unpacked_further_is_a_row(tmp_path: Path) -> None:
    data = gzip.compress(json.dumps([{"prompt": str(i)} for i in range(3000)]).encode())
    of = opened(tmp_path, data[:-8] + b"damage", "a.json.gz")
    *rows, last = prompts(of)
    assert [prompt.refusal for prompt in rows] == [None] * 3000
    assert str(last.refusal).startswith("element 3000: the compressed file is damaged")


def test_what_is_kept_of_printed_elements_is_what_a_line_would_have(tmp_path: Path) -> None:
    row = {"prompt": "a\nb", "x": {"y": [1, 2.50, None]}, "n": 1}
    printed = opened(tmp_path, json.dumps([row], indent=2), keep=["x", "prompt", "n"])
    line = source(lines(tmp_path / "b.jsonl", json.dumps(row, separators=(",", ":"))), keep=["x", "prompt", "n"])
    assert [kept(prompt, printed) for prompt in prompts(printed)] == [
        kept(prompt, line) for prompt in prompts(line)
    ]
    whole = opened(tmp_path, json.dumps([row], indent=2), keep=["*"])
    assert [kept(prompt, whole) for prompt in prompts(whole)] == [
        {"input": json.dumps(row, separators=(",", ":"))}
    ]


@pytest.mark.parametrize(
    ("data", "settings", "why"),
    [
        (
            b'{"data": [{"prompt": "a"}]}',
            {},
            "one object and no rows; its rows stand in 'data', write them one a line",
        ),
        (b'{"v": {"a": [{}]}, "d": [\n{"prompt": "a"}]}', {}, "not one line is a row.*its rows stand in 'd'"),
        (b'{"prompt": {"0": "a", "1": "b"}}', {}, "one object and no rows; it holds columns, not rows; of pandas"),
        (b'{"prompt": {\n"0": "a"}}', {}, "not one line is a row.*it holds columns"),
        (b'{"columns": ["prompt"], "index": [0], "data": [["a"]]}', {}, "it holds columns, not rows"),
        (b'{\n "prompt": "a"\n}', {}, "not one line is a row.*write each object on a line of its own"),
        (b'{"description": "", "promt": {}}', {}, r"one object without .*'promt'\?.*take it out of input.path"),
        (b"[1, 2]", {}, "not one element is a row, the first begins '1': not a JSON object"),
        (b"[{a: 1}, {'b': 2}]", {}, "not one element is a row, the first begins '{a: 1}': not JSON"),
        (b'["a"]\n["b"]\n', {}, "not one line is a row.*an array is no JSON lines"),
        (b'{"prompt": "a"}\n', {"format": "json"}, 'no array, it begins .* set input.format = "jsonl"'),
        (b"prompt\na\n", {"format": "json"}, "no array, it begins 'prompt"),
        ('[{"prompt": "a"}]'.encode("utf-16"), {}, "it is UTF-16"),
        (b'[{"text": "a"}]', {}, "no row has a column 'prompt'; it has text"),
        (b'[{"promt": "a"}, {"id": 1}]', {}, "no row has a column 'prompt'; did you mean 'promt'"),
    ],
)
def test_a_file_that_holds_no_rows_is_a_fault_that_says_what_to_do(
    tmp_path: Path, data: bytes, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputFault, match=rf"(?s)a\.json: .*{why}"):
        opened(tmp_path, data, **settings)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('a"\\{}[],\n é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\]}'), inner, max_size=3),
    max_leaves=8,
)


def split(data: bytes, limits: ChunkLimits) -> Sequence[Record]:
    stream = io.BytesIO(data)
    blocks = Splitter(lambda size: stream.read(min(size, 7)), limits, Elements())
    return [record for block in blocks for record in block.records]


@settings(max_examples=300)
@given(
    st.lists(VALUES, max_size=8),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(5, 50),
    st.integers(1, 5),
    st.sampled_from([b"", b"\xef\xbb\xbf", b" \n"]),
    st.sampled_from([b"", b"\n\n  "]),
)
def test_elements_are_what_python_reads(
    values: list[Any],
    indent: int | None,
    ensure_ascii: bool,
    chunk_bytes: int,
    most: int,
    before: bytes,
    behind: bytes,
) -> None:
    data = before + json.dumps(values, indent=indent, ensure_ascii=ensure_ascii).encode() + behind
    found = split(data, ChunkLimits(most, chunk_bytes, 10**6))
    assert [json.loads(element) for element in found if isinstance(element, bytes)] == values
    assert len(found) == len(values)


@given(st.lists(VALUES, max_size=5), st.data())
def test_an_array_that_is_cut_has_its_whole_elements_and_says_so(values: list[Any], data: st.DataObject) -> None:
    whole = json.dumps(values).encode()
    cut = data.draw(st.integers(1, len(whole) - 1))
    *found, fault = split(whole[:cut], ChunkLimits(3, 20, 10**6))
    assert isinstance(fault, Unreadable)
    assert [json.loads(element) for element in found if isinstance(element, bytes)] == values[: len(found)]
