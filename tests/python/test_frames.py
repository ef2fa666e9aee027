"""Frames of every library as input: what becomes of their columns, and when two of them are the same."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchroute as br
from batchroute.python.frames import digest_of, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from servers import ThreadedSimulator

ROWS = 3
TEXTS = ["one", "two", "three"]
KEYWORDS: Any = {
    "strong": "gpt-6.1-sol",
    "weak": "gpt-6-luna",
    "strong_fraction": 0.5,
    "progress": False,
    "prompt": "text",
}
CATEGORIES = ["a", "b", "a"]
DAYS = [dt.datetime(2026, 11, day) for day in (26, 27, 28)]  # noqa: DTZ001 - a frame's own, without a zone
FRAMES: dict[str, Any] = {
    "polars": pl.DataFrame(
        {
            "text": TEXTS,
            "category": pl.Series(CATEGORIES, dtype=pl.Categorical),
            "kind": pl.Series(CATEGORIES, dtype=pl.Enum(["a", "b"])),
            "nested": [[1, 2], [], None],
            "record": [{"a": 1, "b": [None]}, None, {"a": None, "b": []}],
            "when": DAYS,
            "nothing": [None] * 3,
            "vector": pl.Series([[0.1, 0.2]] * 3, dtype=pl.Array(pl.Float32, 2)),
            "amount": pl.Series(["1.10", None, "3.00"]).cast(pl.Decimal(10, 2)),
            "number": [1.5, float("nan"), None],
            "bytes": [b"\x00\xff", b"", None],
        }
    ),
    "lazy": pl.LazyFrame({"text": TEXTS}),
    "pandas": pd.DataFrame(
        {
            "text": TEXTS,
            "category": pd.Categorical(CATEGORIES),
            "when": pd.to_datetime(DAYS).tz_localize("Europe/Berlin"),
            "span": pd.to_timedelta([1, 2, 3], unit="h"),
            "month": pd.period_range("2026-01", periods=3, freq="M"),
            "range": pd.interval_range(0, 3),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "nested": [[1], None, [2, 3]],
            "flag": [True, False, True],
            7: [0.5, None, 1.5],
        }
    ),
    "arrow": pa.table({"text": TEXTS, "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64()))}),
    "batch": pa.record_batch({"text": TEXTS}),
    "rows": [{"text": "one"}, {"text": "two", "more": 2}, {"text": "three", "tags": ["x"]}],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_answers_stand_beside_the_columns_of_a_frame(kind: str, tmp_path: Path, server: ThreadedSimulator) -> None:
    run = br.run(FRAMES[kind], output=tmp_path / "run", base_url=server.url, **KEYWORDS)
    found = run.df()
    given_table = table_of(FRAMES[kind])
    assert found["response"].null_count() == 0
    assert found["text"].to_list() == TEXTS
    for name in given_table.column_names:
        kept = pl.Series(found[name]).to_arrow().to_pylist()
        assert str(kept) == str(pl.Series(pl.from_arrow(given_table)[name]).to_arrow().to_pylist()), name
    assert len(found.to_pandas()) == ROWS


def test_names_that_the_results_have_get_a_prefix(tmp_path: Path, server: ThreadedSimulator) -> None:
    frame = pl.DataFrame(
        {"text": TEXTS, "score": [9, 8, 7], "response": ["old"] * 3, "id": [3, 1, 2], "input_id": 0}
    )
    found = br.run(frame, id="id", output=tmp_path / "run", base_url=server.url, **KEYWORDS).df()
    assert found["id"].to_list() == ["3", "1", "2"]
    assert found["input_score"].to_list() == [9, 8, 7]
    assert found["input_response"].to_list() == ["old"] * 3
    assert found["input_input_id"].to_list() == [3, 1, 2]


INDEXES = {
    "a counter": (pd.RangeIndex(3), []),
    "dates": (pd.DatetimeIndex(DAYS, name="day"), ["day"]),
    "twice the same": (pd.Index(["x", "x", "y"]), ["index"]),
    "a name that a column has": (pd.Index([5, 6, 7], name="text"), ["index"]),
    "two levels": (pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), ["index", "index_0"]),
    "filtered": (pd.Index([4, 9, 2]), ["index"]),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_of_pandas_is_kept_unless_it_only_counts(kind: str) -> None:
    index, names = INDEXES[kind]
    table = table_of(pd.DataFrame({"text": TEXTS}, index=index))
    assert table.column_names == ["text", *names]
    assert table["text"].to_pylist() == TEXTS


def test_a_list_of_texts_needs_no_column(tmp_path: Path, server: ThreadedSimulator) -> None:
    keywords = {name: value for name, value in KEYWORDS.items() if name != "prompt"}
    run = br.run(TEXTS, output=tmp_path / "run", base_url=server.url, **keywords)
    assert run.df()["prompt"].to_list() == TEXTS


def test_messages_are_a_column_of_lists(tmp_path: Path, server: ThreadedSimulator) -> None:
    chats = [[{"role": "system", "content": "short"}, {"role": "user", "content": text}] for text in TEXTS]
    keywords = {name: value for name, value in KEYWORDS.items() if name != "prompt"}
    frame = pl.DataFrame({"chat": chats})
    run = br.run(frame, messages="chat", output=tmp_path / "run", base_url=server.url, **keywords)
    assert run.df()["chat"].to_list() == chats


BAD: dict[str, tuple[Any, str]] = {
    "a series": (pl.Series("text", TEXTS), "a Series is no input"),
    "a series of pandas": (pd.Series(TEXTS, name="text"), "a Series is no input; give .* a list, or a frame"),
    "a number": (7, "a int is no input"),
    "nothing": (None, "a NoneType is no input"),
    "mixed objects": (pd.DataFrame({"text": TEXTS, "odd": [1, "a", object()]}), "odd"),
    "names twice": (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "(?i)duplicate column names"),
    "objects of polars": (
        pl.DataFrame({"text": TEXTS, "odd": pl.Series([object()] * 3, dtype=pl.Object)}),
        "'odd' holds Python objects",
    ),
    "a struct without fields": (pa.table({"text": TEXTS, "s": pa.array([{}] * 3, pa.struct([]))}), "Parquet"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_a_frame_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    frame, words = BAD[kind]
    with pytest.raises(br.InputFault, match=words):
        br.run(frame, output=tmp_path / "run", simulate=True, **KEYWORDS)
    assert not (tmp_path / "run" / "input.parquet").exists()


def test_the_same_frame_goes_on_and_a_changed_one_is_said(tmp_path: Path, server: ThreadedSimulator) -> None:
    where: Any = {"output": tmp_path / "run", "base_url": server.url, **KEYWORDS, "strong_fraction": 1.0}
    frame = pl.DataFrame({"text": TEXTS, "n": [1, 2, 3]})
    br.run(frame, limit=2, **where)
    before = (tmp_path / "run" / "input.parquet").read_bytes()
    for same in (frame, frame.to_pandas(), frame.to_arrow()):
        assert br.run(same, limit=2, **where).report.ok == 2
    assert server.stats().requests == 2
    changes = {
        r"3 rows; here 2": frame.head(2),
        r"columns text, n; here text": frame.select("text"),
        r"the same columns and rows; here other values": frame.with_columns(n=pl.lit(0)),
    }
    for words, changed in changes.items():
        with pytest.raises(br.RunFault, match=words):
            br.run(changed, **where)
    assert (tmp_path / "run" / "input.parquet").read_bytes() == before
    more = br.run(
        pl.DataFrame({"text": [*TEXTS, "four"], "n": [1, 2, 3, 4]}),
        **{**where, "output": tmp_path / "more"},
        settings={"input.reuse": tmp_path / "run"},
    )
    assert (more.report.reused, more.report.ok) == (2, 4), "what the message advises does work"


def test_without_an_output_the_same_call_finds_its_answers(
    tmp_path: Path, server: ThreadedSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({"text": TEXTS})
    first = br.run(frame, base_url=server.url, **KEYWORDS)
    assert first.path.parent == tmp_path / "runs"
    assert br.run(frame, base_url=server.url, max_cost_usd=None, **KEYWORDS).path == first.path
    assert server.stats().requests == ROWS
    others = [
        br.run(frame, base_url=server.url, **{**KEYWORDS, "strong_fraction": 1.0}),
        br.run(frame.with_columns(n=1), base_url=server.url, **KEYWORDS),
        br.run(frame, base_url=server.url, name="second", **KEYWORDS),
    ]
    assert len({first.path, *(run.path for run in others)}) == 4
    assert others[-1].path.name.startswith("second-")


def test_a_directory_of_files_takes_no_frame(tmp_path: Path, server: ThreadedSimulator) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "data.parquet")
    where: Any = {"output": tmp_path / "run", "base_url": server.url, **KEYWORDS}
    run = br.run(tmp_path / "data.parquet", **where)
    assert (run.report.name, run.df()["text"].to_list()) == ("data", TEXTS)
    with pytest.raises(br.RunFault, match="it was begun with files, not with a frame"):
        br.run(pl.DataFrame({"text": ["x"]}), **where)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").write_text("mine")
    with pytest.raises(br.RunFault, match=r"notes\.txt"):
        br.run(pl.DataFrame({"text": ["x"]}), **{**where, "output": tmp_path / "else"})


COLUMNS = st.sampled_from(["int", "float", "text", "list", "bool"])
VALUES: dict[str, Any] = {
    "int": st.none() | st.integers(-(2**40), 2**40),
    "float": st.none() | st.just(float("nan")) | st.floats(allow_nan=False),
    "text": st.none() | st.text(max_size=5),
    "list": st.none() | st.lists(st.integers(0, 9), max_size=3),
    "bool": st.none() | st.booleans(),
}
TYPES: dict[str, Any] = {
    "int": pl.Int64,
    "float": pl.Float64,
    "text": pl.String,
    "list": pl.List(pl.Int64),
    "bool": pl.Boolean,
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    kinds, rows = draw(st.lists(COLUMNS, min_size=1, max_size=4)), draw(st.integers(0, 12))
    return pl.DataFrame(
        {
            f"c{place}": pl.Series(draw(st.lists(VALUES[kind], min_size=rows, max_size=rows)), dtype=TYPES[kind])
            for place, kind in enumerate(kinds)
        }
    )


@given(frames(), st.integers(0, 12))
def test_a_digest_does_not_depend_on_pieces(frame: pl.DataFrame, cut: int) -> None:
    table = table_of(frame)
    pieces = pa.concat_tables([table_of(frame[:cut]), table_of(frame[cut:])])
    padded = table_of(pl.concat([frame, frame]))
    assert digest_of(pieces) == digest_of(table)
    assert digest_of(padded.slice(len(frame))) == digest_of(table)
    assert digest_of(padded.slice(0, len(frame))) == digest_of(table)


@given(frames(), st.data())
def test_a_digest_depends_on_every_value(frame: pl.DataFrame, data: st.DataObject) -> None:
    if frame.is_empty():
        return
    row, values = data.draw(st.integers(0, len(frame) - 1)), frame["c0"].to_list()
    other = frame.with_columns(pl.Series("c0", [*values[:row], *values[row + 1 :], None], frame["c0"].dtype))
    is_same = frame.equals(other, null_equal=True) or str(frame.to_dicts()) == str(other.to_dicts())
    assert (digest_of(table_of(frame)) == digest_of(table_of(other))) == is_same
