"""What is wrong with lines is said before the first row is asked, with what to do; a late column is no fault."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.look import refuse_unreadable
from batchroute.input.names import instead_of
from inputs import lines, prompts, source, user_texts

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"prompt": "a"}\n{"prompt": "b"}\n'
ARRAY = [{"prompt": "a"}, {"prompt": "b"}]
JQ = "write one object a line: jq -c '.[]' OLD > NEW"


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the time would be part of the tests' names


def looked_at(*paths: Path, **settings: Any) -> None:
    refuse_unreadable(source(*paths, **settings))


@pytest.mark.parametrize(
    ("data", "cure"),
    [
        (b'[{"role": "user"}]\n[{"role": "user"}]\n', JQ),  # lines that are arrays
        (b'["a", "b"]', JQ),
        (b"[]", JQ),
        (json.dumps(ARRAY[0], indent=1).encode(), "write each object on a line of its own, as UTF-8: jq -c ."),
        (GOOD.replace(b"\n", b"\r"), "write each object on a line of its own"),
        (GOOD.decode().encode("utf-16"), "it is UTF-16: iconv -f UTF-16 -t UTF-8"),
        (GOOD.decode().encode("utf-16-be"), "it is UTF-16"),
        (
            b"prompt,id\na,1\n",
            'write one JSON object a line, such as {"prompt": "..."}; if it is CSV, name it .csv',
        ),
        (
            b'{"version": 1, "data": [{"prompt": "a"},\n{"prompt": "b"}]}',
            "its rows stand in 'data', write them one a",
        ),
        (b'"a"\n"b"\n', "write one JSON object a line"),
        (b"{'prompt': 'a'}\n", "Python's dicts are no JSON: write each with json.dumps"),
        (b'{"prompt": "\xff"}\n', "on a line of its own, as UTF-8"),
        (bytes(3000), "it holds zeros: write it again"),
        (zipped(zipped(GOOD)), "it was packed twice: unpack it once"),
        (zipped(GOOD)[:14], "the compressed file is damaged or ends early; write or fetch it again"),
        (b"BZh91AY&SY", "unpack it: only gzip and zstd are read"),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "ndjson.gz"])
def test_a_file_without_a_row_is_a_fault_with_its_cure(
    tmp_path: Path, data: bytes, cure: str, ending: str
) -> None:
    (tmp_path / "d").mkdir()
    lines(tmp_path / "d/a.jsonl", {"prompt": "a"})
    (tmp_path / f"d/bad.{ending}").write_bytes(data)
    with pytest.raises(InputFault, match=rf"^{tmp_path}/d/bad\.{ending}: not one line .*{re.escape(cure)}"):
        looked_at(tmp_path / "d")


ARRAYS = [
    json.dumps(ARRAY).encode(),
    json.dumps(ARRAY, indent=2).encode(),
    b"\xef\xbb\xbf" + json.dumps(ARRAY, indent=2).encode(),
    b'[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n',  # whose last object alone would be a row
    b'[ {"prompt": "a"},\n{"prompt": "b"}\n]\n',
]


@pytest.mark.parametrize("data", ARRAYS)
@pytest.mark.parametrize("ending", ["jsonl", "ndjson.gz", "json"])
def test_an_array_is_read_whatever_its_file_is_called_but_not_as_lines(
    tmp_path: Path, data: bytes, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(zipped(data) if ending.endswith("gz") else data)
    looked_at(path)
    assert user_texts(source(path)) == ["a", "b"]
    with pytest.raises(InputFault, match=f"not one line .*{re.escape(JQ)}"):
        looked_at(path, format="jsonl")


def test_parquet_called_jsonl_and_the_other_way_round(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.jsonl")
    with pytest.raises(InputFault, match=r"a\.jsonl: .*it is a Parquet file: name it \.parquet"):
        looked_at(tmp_path / "a.jsonl")
    (tmp_path / "b.parquet").write_bytes(GOOD)
    with pytest.raises(InputFault, match=r"b\.parquet: not a readable .*if it holds JSON lines, name it \.jsonl"):
        looked_at(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.jsonl").read_bytes()[:-9])
    with pytest.raises(InputFault, match=r"c\.parquet: .*its end is missing, write or fetch it again"):
        looked_at(tmp_path / "c.parquet")


def test_every_file_without_a_row_is_named_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("[]")
    with pytest.raises(InputFault, match=r"(?s)a\.jsonl: not one line.*b\.jsonl: not one line"):
        looked_at(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\xef\xbb\xbf", zipped(b""), zipped(b"\n")])
def test_a_file_without_lines_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    looked_at(tmp_path / "a.jsonl", id="nowhere")


@pytest.mark.parametrize("first", [b"{", b"[]", b"[1", b"null", b"\xff", b"[INFO] dump"])
def test_one_row_is_enough_whatever_stands_before_it(tmp_path: Path, first: bytes) -> None:
    path = lines(tmp_path / "a.jsonl", *[first] * 5000, {"prompt": "late"})
    looked_at(path)
    assert [prompt.refusal is None for prompt in prompts(source(path))] == [False] * 5000 + [True]


COLUMNS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "promt"},
    "messages": {"messages": "promt"},
    "template": {"template": "{{ promt }} {{ prompt }}"},
    "id": {"id": "promt"},
    "keep": {"keep": ["prompt", "promt"]},
    "params": {"params": "promt"},
    "route": {"route": "promt"},
    "router.text": {"score_text": "promt"},
    "router.embedder.column": {"vector_column": "promt"},
}


@pytest.mark.parametrize("setting", COLUMNS)
def test_a_column_that_no_row_has_is_a_fault_that_names_the_nearest(tmp_path: Path, setting: str) -> None:
    rows = lines(tmp_path / "a.jsonl", {"prompt": "a"}, b"{", {"prompt": None, "topic": 1})
    words = r"a\.jsonl: no row has a column 'promt'; did you mean 'prompt'\? it has prompt, topic"
    with pytest.raises(InputFault, match=words):
        looked_at(rows, **COLUMNS[setting])
    columns = pa.table({"prompt": ["a"], "topic": ["b"]})
    pq.write_table(columns, tmp_path / "b.parquet")
    words = r"b\.parquet: no column 'promt'; did you mean 'prompt'\? it has prompt, topic"
    with pytest.raises(InputFault, match=words):
        looked_at(tmp_path / "b.parquet", **COLUMNS[setting])


def test_every_column_that_no_row_has_is_named_at_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "a", "Id": 1})
    with pytest.raises(InputFault, match=r"(?s)'id'; did you mean 'Id'\?.*'prompt'; it has "):
        looked_at(path, id="id")


def test_a_column_of_some_file_or_of_a_late_row_is_no_fault(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"prompt": "a"})
    lines(tmp_path / "b.jsonl", *[{"prompt": "b"}] * 5000, '{"prompt": "c", "topic": NaN}')
    looked_at(tmp_path, keep=["topic"], id="topic")


def test_the_whole_line_and_the_fields_of_batch_lines_are_no_columns(tmp_path: Path) -> None:
    looked_at(lines(tmp_path / "a.jsonl", {"prompt": "a"}), keep=["*"])
    batch = lines(tmp_path / "b.jsonl", {"custom_id": "c", "body": {}})
    looked_at(batch, format="openai-batch")
    with pytest.raises(InputFault, match="no row has a column 'way'"):
        looked_at(batch, format="openai-batch", route="way")


ROWS = st.lists(
    st.dictionaries(st.sampled_from(["prompt", "a", "b", "c"]), st.none() | st.text(max_size=3)), max_size=9
)


@given(ROWS, st.sets(st.sampled_from(["a", "b", "c"])))
def test_a_column_is_missing_if_and_only_if_no_row_has_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], wanted: set[str]
) -> None:
    path = lines(tmp_path_factory.mktemp("look") / "a.jsonl", *rows)
    lacking = ({"prompt", *wanted} - {name for row in rows for name in row}) if rows else set()
    if not lacking:
        looked_at(path, keep=sorted(wanted))
        return
    with pytest.raises(InputFault) as caught:
        looked_at(path, keep=sorted(wanted))
    assert set(re.findall(r"no row has a column '(\w+)'", str(caught.value))) == lacking


@pytest.mark.parametrize(
    ("name", "there", "words"),
    [
        ("promt", ["id", "prompt"], "did you mean 'prompt'? it has id, prompt"),
        ("user_prompt", ["prompt"], "did you mean 'prompt'? it has prompt"),
        ("PROMPT", ["Prompt"], "did you mean 'Prompt'? it has Prompt"),
        ("prompt", ["text"], "it has text"),
        ("prompt", [], "it has no columns"),
        ("x", [f"c{i}" for i in range(30)], f"it has {', '.join(f'c{i}' for i in range(20))}, ..."),
    ],
)
def test_the_nearest_name_is_suggested(name: str, there: list[str], words: str) -> None:
    assert instead_of(name, there) == words
