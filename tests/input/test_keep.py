"""Kept columns: whatever type a Parquet file has, the results have its values; names never clash."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.keep import make_keep, pack, plain_type, unpack
from inputs import lines, parquet, prompts, source

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(max_size=5)
BYTES = st.binary(max_size=5)
SCALARS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.binary(): BYTES,
    pa.large_binary(): BYTES,
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(dt.datetime(1970, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    pa.decimal128(10, 2): st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["x", "y", ""]),
}
KINDS = st.recursive(
    st.sampled_from(list(SCALARS)),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.struct([("a", kind), ("b", pa.int8())])),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
    ),
    max_leaves=3,
)


def values_of_map(kind: pa.DataType) -> st.SearchStrategy[Any]:
    return st.dictionaries(TEXT, values(kind.item_type), max_size=3).map(lambda entries: list(entries.items()))


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of this type, null among them."""
    if pa.types.is_struct(kind):
        fields = st.fixed_dictionaries({field.name: values(field.type) for field in kind})
        return st.none() | fields
    if pa.types.is_map(kind):
        return st.none() | st.dictionaries(TEXT, values(kind.item_type), max_size=3).map(
            lambda map_: [*map_.items()]
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.none() | st.lists(values(kind.value_type), max_size=3)
    return st.none() | (SCALARS[kind] if kind in SCALARS else st.integers(0, 9))


COLUMNS = KINDS.flatmap(
    lambda kind: st.lists(values(kind), min_size=1, max_size=9).map(lambda c: pa.array(c, kind))
)


@settings(max_examples=200)
@given(COLUMNS, st.integers(1, 4))
def test_a_kept_column_of_any_type_has_the_values_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, column: pa.Array, row_group_size: int
) -> None:
    path = tmp_path_factory.mktemp("kept") / "a.parquet"
    parquet(path, {"prompt": ["p"] * len(column), "kept": column}, row_group_size)
    of = source(path, keep=["kept"])
    table = unpack([prompt.keep for prompt in prompts(of)], of.keep_schema)
    assert table.schema == of.keep_schema
    assert table["kept"].to_pylist() == pq.read_table(path)["kept"].to_pylist() == column.to_pylist()


@given(st.lists(st.tuples(values(pa.int64()), values(pa.large_string()), values(pa.float64())), max_size=9))
def test_rows_are_unpacked_in_whatever_order_they_come(rows: list[tuple[Any, ...]]) -> None:
    schema = pa.schema([("n", pa.int64()), ("t", pa.large_string()), ("x", pa.float64())])
    columns = [pa.array([row[at] for row in rows], field.type) for at, field in enumerate(schema)]
    messages = pack(pa.RecordBatch.from_arrays(columns, schema=schema))
    backwards = unpack(messages[::-1], schema).to_pylist()
    assert [tuple(row.values()) for row in backwards] == rows[::-1]


@given(KINDS)
def test_a_plain_type_holds_no_dictionary_and_no_view(kind: pa.DataType) -> None:
    plain = plain_type(kind)
    assert plain_type(plain) == plain
    assert not any(word in str(plain) for word in ("dictionary", "view"))


NAMES = st.sampled_from(["id", "row", "input_id", "input_row", "input_input_id", "topic", "score"])


@given(st.lists(NAMES, unique=True), st.sets(NAMES))
def test_no_kept_column_takes_the_name_of_another_or_of_a_result(columns: list[str], reserved: set[str]) -> None:
    schema = pa.schema([(name, pa.string()) for name in columns])
    keep = make_keep(columns, [("a.parquet", schema)], lines=False, reserved=reserved)
    shown = keep.schema.names
    assert keep.columns == tuple(columns)
    assert len(set(shown)) == len(columns)
    assert not reserved & set(shown)
    for column, name in zip(columns, shown, strict=True):
        assert name == column if column not in reserved else name.startswith("input_")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.null(), pa.int64(), pa.int64()),
        (pa.list_(pa.int8()), pa.list_(pa.int16()), pa.list_(pa.int16())),
        (pa.string(), pa.int64(), None),
        (pa.list_(pa.string()), pa.string(), None),
    ],
)
def test_files_agree_on_the_wider_type_or_on_none(
    tmp_path: Path, one: pa.DataType, other: pa.DataType, both: pa.DataType | None
) -> None:
    paths = [
        parquet(tmp_path / f"{name}.parquet", {"prompt": ["p"], "kept": pa.nulls(1, kind).cast(kind)})
        for name, kind in (("a", one), ("b", other))
    ]
    if both is None:
        with pytest.raises(InputFault, match=r"b\.parquet: column 'kept' is .* input\.keep needs one type"):
            source(*paths, keep=["kept"])
        return
    of = source(*paths, keep=["kept"])
    assert of.keep_schema.field("kept").type == both
    assert unpack([prompt.keep for prompt in prompts(of)], of.keep_schema)["kept"].to_pylist() == [None, None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from(["kept", "prompt", "other"]), JSON), min_size=1, max_size=6))
def test_kept_fields_of_lines_are_their_text_or_their_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    of = source(lines(tmp_path_factory.mktemp("kept") / "a.jsonl", *rows), keep=["kept"])
    found = unpack([prompt.keep for prompt in prompts(of)], of.keep_schema)["kept"].to_pylist()
    for text, row in zip(found, rows, strict=True):
        value = row.get("kept")
        if value is None or isinstance(value, str):
            assert text == value
        else:
            assert json.loads(text) == value
