from __future__ import annotations

import csv
import json
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import RunFault, Stopped, UsageFault
from batchroute.report.export.files import export_run
from batchroute.report.export.order import tables_in_order
from batchroute.report.export.writers import WRITERS, Csv, JsonLines
from runs import FINISHED_AT, failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RAW = pa.field("raw", pa.string())


def _places(out: Path) -> list[tuple[str, int]]:
    return [(row["file"], row["row"]) for row in pq.read_table(out, columns=["file", "row"]).to_pylist()]


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]


@settings(max_examples=25)
@given(data=st.data())
def test_rows_come_out_once_and_in_input_order_however_they_lie_in_parts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    files = data.draw(st.permutations(["b.jsonl", "a.jsonl", "sub/é.jsonl"]))
    place = st.tuples(st.sampled_from(files), st.integers(0, 5000))
    places = data.draw(st.lists(place, unique=True, min_size=1, max_size=60))
    part_of = data.draw(st.lists(st.integers(0, 4), min_size=len(places), max_size=len(places)))
    parts = [
        [ok(row, file=file) for (file, row), n in zip(places, part_of, strict=True) if n == k] for k in range(5)
    ]
    folder = tmp_path_factory.mktemp("order")
    run = write_run(folder / "run", parts, files=files)
    export_run(run, folder / "out.parquet")
    assert _places(folder / "out.parquet") == sorted(places, key=lambda p: (files.index(p[0]), p[1]))


def test_rows_of_many_buckets_are_in_order_and_unchanged(tmp_path: Path) -> None:
    rows = [ok(row, "strong" if row % 7 else "weak", response=f"{row} " * 20) for row in range(9000)]
    run = write_run(tmp_path / "run", [rows[6000:] + rows[:3000:2], rows[1:3000:2], rows[3000:6000]])
    (tmp_path / "spill").mkdir()
    parts = sorted((run / "results").iterdir())
    tables = list(tables_in_order(parts, ["prompts.jsonl"], tmp_path / "spill", bucket_bytes=1 << 16))
    assert pa.concat_tables(tables).equals(pa.Table.from_pylist(rows, schema=tables[0].schema))
    assert len(tables) > 5
    assert not list((tmp_path / "spill").iterdir())


KEPT = [
    pa.field("topic", pa.dictionary(pa.int32(), pa.string())),
    pa.field("vector", pa.list_(pa.float32(), 2)),
    pa.field("pairs", pa.map_(pa.string(), pa.int64())),
    pa.field("nested", pa.struct([("a", pa.list_(pa.int64()))])),
    pa.field("price", pa.decimal128(9, 2)),
    pa.field("blob", pa.binary()),
    pa.field("at", pa.timestamp("ns")),
    pa.field("big", pa.large_string()),
    pa.field("sure", pa.bool_()),
    pa.field("view", pa.string_view()),
]


def _kept(topic: str) -> dict[str, Any]:
    return {
        "topic": topic,
        "vector": [0.5, 1.5],
        "pairs": [("x", 1)],
        "nested": {"a": [1, None]},
        "price": Decimal("1.10"),
        "blob": b"\x00\xff",
        "at": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # a column without a time zone
        "big": "text",
        "sure": True,
        "view": "seen",
    }


@pytest.fixture
def kept_run(tmp_path: Path) -> Path:
    parts = [[ok(1, **_kept("b"))], [ok(0, **_kept("a")), ok(2, **_kept("c"))]]
    return write_run(tmp_path / "run", parts, extra=KEPT, rows=3)


def test_parquet_keeps_every_kept_type(kept_run: Path, tmp_path: Path) -> None:
    export_run(kept_run, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.equals(pq.read_schema(kept_run / "results/part-00000.parquet"))
    expected = [ok(row, **_kept(topic)) for row, topic in enumerate("abc")]
    assert table.to_pylist() == pa.Table.from_pylist(expected, schema=table.schema).to_pylist()


def test_jsonl_has_every_column_of_every_row(kept_run: Path, tmp_path: Path) -> None:
    export_run(kept_run, tmp_path / "out.jsonl")
    first = _lines(tmp_path / "out.jsonl")[0]
    assert list(first) == pq.read_schema(kept_run / "results/part-00000.parquet").names
    assert datetime.fromisoformat(first["finished_at"]) == FINISHED_AT
    assert (
        first
        | {
            "response": "answer 0",
            "tool_calls": None,
            "topic": "a",
            "vector": [0.5, 1.5],
            "nested": {"a": [1, None]},
            "price": "1.10",
            "blob": "AP8=",
            "at": "2026-01-02T03:04:05",
            "sure": True,
        }
        == first
    )


def test_text_that_is_no_text_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, note=b"\xff")]], extra=[pa.field("note", pa.binary())])
    part = run / "results/part-00000.parquet"
    table = pq.read_table(part)
    garbled = table["note"].combine_chunks().view(pa.string())
    pq.write_table(table.set_column(table.num_columns - 1, "note", garbled), part)
    with pytest.raises(UsageFault, match="not UTF-8"):
        export_run(run, tmp_path / "out.jsonl")
    assert export_run(run, tmp_path / "out.parquet") == 1


def test_csv_writes_kept_columns_as_text(kept_run: Path, tmp_path: Path) -> None:
    export_run(kept_run, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        first = next(csv.DictReader(stream))
    assert list(first) == pq.read_schema(kept_run / "results/part-00000.parquet").names
    kept = {name: first[name] for name in _kept("a")}
    assert kept == {
        "topic": "a",
        "vector": "[0.5,1.5]",
        "pairs": '[["x",1]]',
        "nested": '{"a":[1,null]}',
        "price": "1.10",
        "blob": "AP8=",
        "at": "2026-01-02T03:04:05",
        "big": "text",
        "sure": "true",
        "view": "seen",
    }
    assert datetime.fromisoformat(first["finished_at"]) == FINISHED_AT


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("1=1", "1=1"),
        ("a\n=1", "a\n=1"),
        ("'=1", "'=1"),
        ('say "=1"', 'say "=1"'),
        ("", ""),
    ],
)
def test_csv_defuses_formulas(tmp_path: Path, text: str, cell: str) -> None:
    extra = [pa.field("=head", pa.string()), pa.field("low", pa.int64())]
    run = write_run(tmp_path / "run", [[ok(0, response=text, low=-1, **{"=head": text})]], extra=extra)
    for exact, name, expected in ((False, "'=head", cell), (True, "=head", text)):
        export_run(run, tmp_path / "out.csv", exact=exact)
        with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
            row = next(csv.DictReader(stream))
        assert (row["response"], row[name], row["low"]) == (expected, expected, "-1")


@settings(max_examples=100)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_text_survives_jsonl_and_exact_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    table = pa.table({"text": pa.array(texts), "row": pa.array(range(len(texts)))})
    folder = tmp_path_factory.mktemp("texts")
    JsonLines().write([table], table.schema, folder / "out.jsonl")
    Csv(exact=True).write([table], table.schema, folder / "out.csv")
    assert [line["text"] for line in _lines(folder / "out.jsonl")] == texts
    options = pa_csv.ConvertOptions(column_types={"text": pa.string()}, strings_can_be_null=False)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    read = pa_csv.read_csv(folder / "out.csv", parse_options=parse, convert_options=options)
    assert read["text"].to_pylist() == texts


def test_batch_lines_carry_the_whole_body_or_the_error(tmp_path: Path) -> None:
    body = '{\n  "id": "chatcmpl-1",\r\n  "choices": [{"message": {"content": "a\\nb"}}]\n}'
    rows = [ok(0, id="first", raw=body), refused(1, id="second"), ok(2, id=None, raw=None)]
    run = write_run(tmp_path / "run", [rows], extra=[RAW])
    assert export_run(run, tmp_path / "out.jsonl", format="openai-batch") == 3
    first, second, third = _lines(tmp_path / "out.jsonl")
    assert set(first) == {"id", "custom_id", "response", "error"}
    assert (first["custom_id"], first["error"]) == ("first", None)
    assert first["response"]["status_code"] == 200
    assert first["response"]["body"] == json.loads(body)
    assert second["response"] is None
    assert second["error"] == {"code": "http_400", "message": "HTTP 400: no"}
    assert (third["custom_id"], third["response"], third["error"]["code"]) == (None, None, "no_raw_body")
    assert len({line["id"] for line in (first, second, third)}) == 3


def test_the_body_of_an_answer_by_another_api_is_a_chat_completion(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = '{"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}'
    response = '{"object": "response", "output": []}'
    rows = [
        ok(0, raw=message, response="Hi", reasoning="Hm.", finish_reason="length", served_model="claude-1"),
        ok(1, raw=response, response=None, tool_calls=json.dumps([call]), finish_reason="tool_calls"),
        ok(2, raw=response, response=None, refusal="No.", finish_reason="refusal"),
        ok(3, raw=response, response="A", finish_reason="pause_turn", prompt_tokens=None, completion_tokens=None),
    ]
    export_run(write_run(tmp_path / "run", [rows], extra=[RAW]), tmp_path / "out.jsonl", format="openai-batch")
    bodies = [line["response"]["body"] for line in _lines(tmp_path / "out.jsonl")]
    said = bodies[0]["choices"][0]["message"]
    assert said == {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm."}
    assert (bodies[0]["object"], bodies[0]["model"]) == ("chat.completion", "claude-1")
    assert bodies[0]["created"] == int(FINISHED_AT.timestamp())
    assert bodies[1]["choices"][0]["message"]["tool_calls"] == [call]
    assert bodies[2]["choices"][0]["message"]["refusal"] == "No."
    finishes = [body["choices"][0]["finish_reason"] for body in bodies]
    assert finishes == ["length", "tool_calls", "stop", "length"]
    assert bodies[0]["usage"]["total_tokens"] == sum(
        bodies[0]["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )
    assert bodies[3]["usage"] is None


def test_what_is_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(3)]], rows=5)
    with caplog.at_level(logging.WARNING):
        assert export_run(run, tmp_path / "out.jsonl") == 2
    assert "3 have none yet" in caplog.text


def test_answers_that_are_not_sealed_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=5)
    write_journal(run, 1, [ok(1), ok(2), failed(3)])
    with caplog.at_level(logging.WARNING):
        assert export_run(run, tmp_path / "out.jsonl") == 1
    assert "2 answers in its journal are not sealed yet: run the job again" in caplog.text
    (run / "results/part-00000.parquet").unlink()
    with pytest.raises(RunFault, match="no results yet; 2 answers in its journal are not sealed yet"):
        export_run(run, tmp_path / "out.jsonl")


def test_a_complete_run_exports_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1)]], rows=2)
    export_run(run, tmp_path / "out.jsonl")
    assert not caplog.records


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_run_without_rows_is_a_file_without_rows(tmp_path: Path, ending: str) -> None:
    run = write_run(tmp_path / "run", rows=0)
    out = tmp_path / f"out.{ending}"
    assert export_run(run, out) == 0
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": lambda path: pl.DataFrame(_lines(path))}
    assert read[ending](out).height == 0


def test_out_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results.jsonl").write_text("of yesterday")
    run = write_run(tmp_path / "run", [[ok(0)]])
    export_run(run, tmp_path / "out/results.jsonl")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.jsonl"]
    assert len(_lines(tmp_path / "out/results.jsonl")) == 1


class Folder:
    """A format of one Parquet file per table, in a directory."""

    suffix = ".folder"

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        out.mkdir()
        for number, table in enumerate(tables):
            pq.write_table(table.cast(schema), out / f"{number}.parquet")


def test_a_format_may_be_a_directory_and_appears_whole_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WRITERS, "folder", Folder())
    run = write_run(tmp_path / "run", [[ok(1), ok(0)]])
    for style in ("auto", "folder"):
        out = tmp_path / f"{style}.folder"
        assert export_run(run, out, format=style) == 2
        assert _places(out / "0.parquet") == [("prompts.jsonl", 0), ("prompts.jsonl", 1)]
    (tmp_path / "auto.folder/0.parquet").write_text("mine")
    with pytest.raises(Stopped, match=r"auto\.folder: cannot be written"):
        export_run(run, tmp_path / "auto.folder")
    assert (tmp_path / "auto.folder/0.parquet").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["auto.folder", "folder.folder", "run"]


def test_a_disk_that_takes_nothing_leaves_out_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").mkdir()
    run = write_run(tmp_path / "run", [[ok(0)]])
    with pytest.raises(Stopped, match="cannot be written"):
        export_run(run, tmp_path / "results.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.jsonl", "run"]


@pytest.mark.parametrize(
    ("name", "style", "message"),
    [
        ("out.xlsx", "auto", r"ends in '\.xlsx'"),
        ("out", "auto", "ends in ''"),
        ("nowhere/out.csv", "auto", "no directory"),
        ("run/results/out.csv", "auto", "results folder"),
        ("out.csv", "openai-batch", r"\.jsonl"),
        ("out.parquet", "csv", r"\.csv"),
        ("out.csv", "excel", "auto, parquet, jsonl, csv, openai-batch"),
        ("out.jsonl", "openai-batch", "output.raw"),
    ],
)
def test_what_cannot_be_written_is_bad_usage(tmp_path: Path, name: str, style: Any, message: str) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]])
    with pytest.raises(UsageFault, match=message):
        export_run(run, tmp_path / name, format=style)


def test_a_run_that_sealed_nothing_has_no_results_to_export(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "results/part-00000.parquet").unlink()
    with pytest.raises(RunFault, match="no results yet"):
        export_run(run, tmp_path / "out.csv")


def test_a_directory_that_is_no_run_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(RunFault, match="not a run directory"):
        export_run(tmp_path, tmp_path / "out.csv")


def test_times_are_utc_whatever_reads_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, finished_at=datetime(2026, 3, 1, tzinfo=UTC))]])
    export_run(run, tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["finished_at"].to_list() == [datetime(2026, 3, 1, tzinfo=UTC)]
