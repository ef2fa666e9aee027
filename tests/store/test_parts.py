from __future__ import annotations

import random
import stat
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import FINISHED_AT_US, NO_COLUMNS, files_of_at_most, kept_row, result
from batchroute.input.keep import pack
from batchroute.store.columns import ResultColumns, reserved_names
from batchroute.store.journal import Journal, read_journal
from batchroute.store.parts import ROWS_AT_ONCE, seal, table_of, write_part
from batchroute.types import Result
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


SPEC_COLUMNS = [  # SPEC 7 (format 2), word for word: name, type, whether null is possible
    ("file", pa.string(), False),
    ("row", pa.int64(), False),
    ("id", pa.string(), True),
    ("score", pa.float64(), True),
    ("route", pa.string(), True),
    ("route_reason", pa.string(), True),
    ("model", pa.string(), True),
    ("served_model", pa.string(), True),
    ("status", pa.string(), False),
    ("response", pa.string(), True),
    ("reasoning", pa.string(), True),
    ("refusal", pa.string(), True),
    ("tool_calls", pa.string(), True),
    ("finish_reason", pa.string(), True),
    ("prompt_tokens", pa.int64(), True),
    ("cached_tokens", pa.int64(), True),
    ("cache_write_tokens", pa.int64(), True),
    ("completion_tokens", pa.int64(), True),
    ("reasoning_tokens", pa.int64(), True),
    ("cost_usd", pa.float64(), True),
    ("attempts", pa.int32(), False),
    ("latency_s", pa.float64(), True),
    ("error_type", pa.string(), True),
    ("error", pa.string(), True),
    ("finished_at", pa.timestamp("us", tz="UTC"), False),
    ("request_id", pa.string(), True),
    ("service_tier", pa.string(), True),
    ("delivery", pa.string(), True),
]
FORMAT_2 = {"refusal", "cache_write_tokens", "request_id", "service_tier", "delivery"}
RAW_COLUMN = ("raw", pa.string(), True)
KEEP = pa.schema([("topic", pa.string()), ("weight", pa.int32())])
FULL = result(
    3,
    route_reason="override",
    served_model="small-model-2026",
    response="Zahl: ½ \U0001f600\x00",
    reasoning="because",
    refusal="I would rather not",
    tool_calls='[{"id": "1"}]',
    finish_reason="tool_calls",
    cached_tokens=4,
    cache_write_tokens=3,
    reasoning_tokens=2,
    latency_s=0.125,
    request_id="req_1",
    service_tier="default",
    delivery="live",
    raw='{"id": "cmpl"}',
    keep=kept_row(KEEP, topic="maths", weight=7),
)
BARE = result(
    4,
    "refused",
    side=None,
    id=None,
    score=None,
    attempts=0,
    error_type="bad_row",
    error="line 5: not JSON",
    keep=kept_row(KEEP),
)


def sealed(folder: Path, results: Sequence[Result], keep: pa.Schema = NO_COLUMNS, *, raw: bool = False) -> Path:
    """The part of a journal of these."""
    journal = Journal(folder / "journal-00000")
    for entry in results:
        journal.append(entry)
    journal.close()
    for name in ("results", "requests"):
        (folder / name).mkdir(exist_ok=True)
    part = folder / "results" / "part-00000.parquet"
    seal(journal.path, part, ResultColumns(keep, raw=raw))
    return part


def columns_of(schema: pa.Schema) -> list[tuple[str, pa.DataType, bool]]:
    return [(field.name, field.type, field.nullable) for field in schema]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("keep", [NO_COLUMNS, KEEP])
def test_a_part_has_exactly_the_columns_of_the_contract(tmp_path: Path, keep: pa.Schema, raw: bool) -> None:
    expected = [*SPEC_COLUMNS, *([RAW_COLUMN] if raw else []), *columns_of(keep)]
    assert columns_of(ResultColumns(keep, raw=raw).schema) == expected
    part = sealed(tmp_path, [FULL, BARE], keep, raw=raw)
    assert columns_of(pq.read_schema(part)) == expected


def test_a_directory_of_format_1_goes_on_with_its_columns() -> None:
    expected = [column for column in [*SPEC_COLUMNS, RAW_COLUMN] if column[0] not in FORMAT_2]
    assert columns_of(ResultColumns(NO_COLUMNS, raw=True, format=1).schema) == expected
    assert list(reserved_names(1)) == [name for name, _, _ in expected]


def test_no_kept_column_may_take_a_name_of_ours() -> None:
    assert list(reserved_names()) == [name for name, _, _ in [*SPEC_COLUMNS, RAW_COLUMN]]


def test_a_result_has_a_field_for_each_column_and_three_more() -> None:
    """Those of a row's end first, since readers of a journal stop there; then in the order of the columns."""
    first = ("file", "row", "status")
    columns = [name for name, _, _ in [*SPEC_COLUMNS, RAW_COLUMN] if name not in first]
    assert Result.__struct_fields__ == (*first, *columns, "keep", "fingerprint")


def test_every_reader_sees_the_same_rows(tmp_path: Path) -> None:
    part = sealed(tmp_path, [FULL, BARE], KEEP, raw=True)
    expected: list[dict[str, Any]] = [
        {
            "file": "prompts.jsonl",
            "row": 3,
            "id": "id-3",
            "score": 0.25,
            "route": "weak",
            "route_reason": "override",
            "model": "small-model",
            "served_model": "small-model-2026",
            "status": "ok",
            "response": "Zahl: ½ \U0001f600\x00",
            "reasoning": "because",
            "refusal": "I would rather not",
            "tool_calls": '[{"id": "1"}]',
            "finish_reason": "tool_calls",
            "prompt_tokens": 10,
            "cached_tokens": 4,
            "cache_write_tokens": 3,
            "completion_tokens": 5,
            "reasoning_tokens": 2,
            "cost_usd": 1e-5,
            "attempts": 1,
            "latency_s": 0.125,
            "error_type": None,
            "error": None,
            "finished_at": datetime.fromtimestamp(FINISHED_AT_US // 10**6, UTC) + timedelta(microseconds=123_459),
            "request_id": "req_1",
            "service_tier": "default",
            "delivery": "live",
            "raw": '{"id": "cmpl"}',
            "topic": "maths",
            "weight": 7,
        },
        dict.fromkeys([*reserved_names(), *KEEP.names])
        | {
            "file": "prompts.jsonl",
            "row": 4,
            "status": "refused",
            "attempts": 0,
            "error_type": "bad_row",
            "error": "line 5: not JSON",
            "finished_at": datetime.fromtimestamp(FINISHED_AT_US // 10**6, UTC) + timedelta(microseconds=123_460),
        },
    ]
    assert pq.read_table(part).to_pylist() == expected
    assert pl.read_parquet(part).to_dicts() == expected
    with duckdb.connect() as connection:
        # Its instants reach Python only with a package of time zones, so they are compared as counts.
        query = "select * replace (epoch_us(finished_at) as finished_at) from read_parquet(?) order by row"
        cursor = connection.execute(query, [str(part)])
        names = [column[0] for column in cursor.description or []]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert found == [{**row, "finished_at": FINISHED_AT_US + row["row"]} for row in expected]


VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.bool_(), [True, None]),
    (pa.int8(), [-128, None]),
    (pa.uint64(), [2**64 - 1, None]),
    (pa.float32(), [0.1, float("inf")]),
    (pa.float16(), [0.5, None]),
    (pa.decimal128(20, 4), [Decimal("1234567.8901"), None]),
    (pa.decimal256(60, 10), [Decimal("1.0000000001"), None]),
    (pa.string(), ["", "\U0001f600\x00"]),
    (pa.large_string(), ["long", None]),
    (pa.binary(), [b"\x00\xff", None]),
    (pa.binary(3), [b"abc", None]),
    (pa.date32(), [date(2026, 11, 23), None]),
    (pa.time64("us"), [time(6, 30, 0, 5), None]),
    (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 999_999), None]),  # noqa: DTZ001 - naive it is
    (pa.timestamp("ms", tz="Europe/Berlin"), [datetime(2026, 3, 29, tzinfo=UTC), None]),
    (pa.duration("us"), [timedelta(seconds=5, microseconds=1), None]),
    (pa.list_(pa.int64()), [[1, None, 3], []]),
    (pa.list_(pa.float32(), 2), [[0.5, 1.5], None]),
    (pa.struct([("a", pa.string()), ("b", pa.list_(pa.int8()))]), [{"a": "x", "b": [1]}, {"a": None, "b": None}]),
    (pa.map_(pa.string(), pa.int64()), [[("k", 1)], []]),
    (pa.null(), [None, None]),
]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_a_kept_column_keeps_its_type_and_values(tmp_path: Path, kind: pa.DataType, values: list[Any]) -> None:
    keep = pa.schema([("mine", kind), ("beside", pa.int64())])
    rows = [result(row, keep=kept_row(keep, mine=value, beside=row)) for row, value in enumerate(values)]
    table = pq.read_table(sealed(tmp_path, rows, keep))
    assert table.schema.field("mine").type == kind
    expected = pa.array(values, kind)
    assert table["mine"].combine_chunks().equals(expected)
    assert table["beside"].to_pylist() == [0, 1]


def test_nanoseconds_are_kept_to_the_last(tmp_path: Path) -> None:
    keep = pa.schema([("at", pa.timestamp("ns"))])
    instants = pa.array([1_795_000_000_123_456_789, 1], pa.timestamp("ns"))
    messages = pack(pa.RecordBatch.from_arrays([instants], schema=keep))
    part = sealed(tmp_path, [result(row, keep=message) for row, message in enumerate(messages)], keep)
    assert pq.read_table(part)["at"].combine_chunks().equals(instants)


def test_text_that_is_not_utf8_is_kept_as_it_is(tmp_path: Path) -> None:
    keep = pa.schema([("mine", pa.string())])
    broken = pa.array([b"\xff\xfe", None, b"fine"], pa.binary()).view(pa.string())
    messages = pack(pa.RecordBatch.from_arrays([broken], schema=keep))
    part = sealed(tmp_path, [result(row, keep=message) for row, message in enumerate(messages)], keep)
    assert pq.read_table(part)["mine"].combine_chunks().view(pa.binary()).equals(broken.view(pa.binary()))


def test_rows_stand_in_the_order_of_the_input_in_one_row_group(tmp_path: Path) -> None:
    results = [result(row, file=file) for row, file in [(9, "b"), (2, "a"), (10, "a"), (1, "b")]]
    part = sealed(tmp_path, results)
    table = pq.read_table(part)
    assert list(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True)) == [
        ("a", 2),
        ("a", 10),
        ("b", 1),
        ("b", 9),
    ]
    assert pq.read_metadata(part).num_row_groups == 1
    assert pq.read_metadata(part).row_group(0).column(0).compression == "ZSTD"
    assert stat.S_IMODE(part.stat().st_mode) == 0o600


def test_a_part_of_thousands_of_rows_is_one_row_group_in_order(tmp_path: Path) -> None:
    rows = 2 * ROWS_AT_ONCE + 1
    kept = [kept_row(KEEP, topic=f"t{row}", weight=row) for row in range(rows)]
    results = [result(row, response=f"answer {row}", keep=kept[row]) for row in range(rows)]
    random.Random(7).shuffle(results)  # noqa: S311
    part = sealed(tmp_path, results, KEEP)
    assert pq.read_metadata(part).num_row_groups == 1
    table = pq.read_table(part)
    assert table["row"].to_pylist() == list(range(rows))
    assert table["response"].to_pylist() == [f"answer {row}" for row in range(rows)]
    assert table["topic"].to_pylist() == [f"t{row}" for row in range(rows)]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "refused", "failed", "open"])), max_size=20))
def test_of_a_row_the_last_record_counts_and_only_settled_rows_are_in_the_part(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("last")
    part = sealed(folder, [result(row, status, attempts=n) for n, (row, status) in enumerate(records)])
    last = {row: (status, n) for n, (row, status) in enumerate(records)}
    expected = {row: (status, n) for row, (status, n) in last.items() if status in {"ok", "refused"}}
    assert part.exists() == bool(expected)
    if expected:
        table = pq.read_table(part, columns=["row", "status", "attempts"]).to_pylist()
        assert {entry["row"]: (entry["status"], entry["attempts"]) for entry in table} == expected
        assert len(table) == len(expected)


def test_a_part_without_rows_has_the_full_schema(tmp_path: Path) -> None:
    schema = ResultColumns(KEEP, raw=True).schema
    (tmp_path / "results").mkdir()
    part = tmp_path / "results" / "part-00000.parquet"
    write_part(part, schema.empty_table())
    assert pq.read_table(part).schema.equals(schema)
    assert table_of([], ResultColumns(KEEP, raw=True)).equals(schema.empty_table())
    assert pl.read_parquet(part).columns == schema.names
    with duckdb.connect() as connection:
        assert connection.execute("select count(*) from read_parquet(?)", [str(part)]).fetchall() == [(0,)]


def seal_thirty_rows(directory: Path) -> Iterator[None]:
    journal = Journal(directory / "journal-00000")
    for row in range(30):
        journal.append(result(row, keep=kept_row(KEEP, topic=f"t{row}", weight=row)))
    journal.close()
    for name in ("results", "requests"):
        (directory / name).mkdir()
    yield
    seal(journal.path, directory / "results" / "part-00000.parquet", ResultColumns(KEEP))


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_seal_dies_at_its_part_is_whole_or_not_there(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_parts:seal_thirty_rows", mishap, tmp_path)
    assert len(hits) >= 3
    for hit in hits:
        journal, part = hit.directory / "journal-00000", hit.directory / "results" / "part-00000.parquet"
        expected = table_of(list(read_journal(journal)), ResultColumns(KEEP))
        assert expected.num_rows == 30
        assert [entry.name for entry in part.parent.iterdir()] in ([], [part.name]), hit.step
        if part.exists():
            assert pq.read_table(part).equals(expected)
        seal(journal, part, ResultColumns(KEEP))
        assert pq.read_table(part).equals(expected)


def test_a_disk_that_fills_up_while_sealing_leaves_no_part(tmp_path: Path) -> None:
    results = [result(row, response=f"{row * 7919 % 65537:x}" * 50) for row in range(200)]
    part = tmp_path / "results" / "part-00000.parquet"
    part.parent.mkdir()
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_part(part, table_of(results, ResultColumns(NO_COLUMNS)))
    assert list(part.parent.iterdir()) == []
