"""Runs over CSV and arrays: taken up again they ask each row once; what the input lacked is said at the end."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batchroute.errors import InputFault
from batchroute.run.check import check_job
from batchroute.run.engine import run_job
from batchroute.run.hints import NO_ROWS, columns_without_values
from batchroute.run.options import RunOptions
from inputs import lines
from jobs import job_of, simulated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchroute.run.end import RunEnd

ROWS = [
    {"prompt": f"question\n{row}", "id": str(row), "topic": "", "side": None, "params": None} for row in range(300)
]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path
    if path.suffix == ".jsonl":
        return lines(path, *rows)
    path.write_text(json.dumps(rows, indent=1))
    return path


def run(path: Path, changes: dict[str, Any] | None = None, limit: int | None = None) -> tuple[RunEnd, list[str]]:
    said: list[str] = []
    job = job_of(path, path.parent / "run", {**simulated(latency_s=0.0), **(changes or {})})
    return run_job(job, RunOptions(environ={}, limit=limit, notify=said.append)), said


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_a_run_that_is_taken_up_again_asks_each_row_once(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, ROWS)
    broken = b'"x\ny",1\n' if name == "a.csv" else b', 7, {"prompt": '
    path.write_bytes(path.read_bytes().rstrip(b"]\n") + (b"\n" if name == "a.csv" else b"") + broken)
    run(path, {"input.id": "id"}, limit=117)
    run(path, {"input.id": "id"}, limit=118)
    end, _ = run(path, {"input.id": "id"})
    table = ds.dataset(tmp_path / "run/results").to_table()
    rows = sorted(zip(*(table[name].to_pylist() for name in ("row", "id", "attempts", "error")), strict=True))
    assert rows[:300] == [(row, str(row), 1, None) for row in range(300)]
    place = ["line 602: has 2 cells"] if name == "a.csv" else ["element 300: not a JSON", "element 301: the array"]
    assert [error.startswith(words) for (*_, error), words in zip(rows[300:], place, strict=True)] == [True] * len(
        place
    )
    assert (end.ok, end.refused) == (300, len(place))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl"])
def test_a_named_column_without_a_value_is_said(tmp_path: Path, name: str) -> None:
    named = {"input.keep": ["id", "topic", "side"], "input.route": "side", "input.id": "params"}
    path = written(tmp_path / name, ROWS)
    _, said = run(path, named, limit=20)
    empty = [words.partition(" is null in every row")[0] for words in said]
    kept = [] if name != "a.csv" else ["input.keep: the column 'topic'"]
    assert empty == [
        "input.id: the column 'params'",
        *kept,
        "input.keep: the column 'side'",
        "input.route: the column 'side'",
    ]


def test_a_value_in_any_row_of_any_run_is_enough(tmp_path: Path) -> None:
    rows = [{**row, "topic": None, "id": None} for row in ROWS]
    rows[2] |= {"topic": "x", "id": "y", "side": "weak"}
    path = written(tmp_path / "a.jsonl", rows)
    named = {"input.keep": ["topic"], "input.route": "side", "input.id": "id"}
    assert [len(run(path, named, limit)[1]) for limit in (2, 10, None)] == [3, 0, 0]


@pytest.mark.parametrize(
    ("column", "is_empty"),
    [
        (pa.array([None, None], pa.string()), True),
        (pa.array([None, ""]), False),
        (pa.array([None, {"a": None, "b": 1}]), False),
        (pa.array([None, None], pa.struct([("a", pa.int64()), ("b", pa.int64())])), True),
        (pa.array([[1], None]), False),
        (pa.array([None, None], pa.list_(pa.int64())), True),
    ],
)
def test_a_column_of_any_type_and_name(tmp_path: Path, column: pa.Array, is_empty: bool) -> None:
    table = pa.table({"a.b": column, "a": pa.nulls(2)})
    pq.write_table(table, tmp_path / "part-00000.parquet")
    found = columns_without_values([tmp_path / "part-00000.parquet"], ["a.b", "a"])
    assert ("a.b" in found) == is_empty
    assert columns_without_values([], ["a"]) == set()


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl"])
def test_an_input_without_a_row_is_said_and_min_rows_makes_it_a_fault(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, [])
    end, said = run(path)
    assert (end.rows, end.exit_code(0.0), said) == (0, 0, [NO_ROWS])
    job = job_of(path, tmp_path / "run", simulated())
    assert NO_ROWS in check_job(lambda: job).notes
    with pytest.raises(InputFault, match=r"the input has only 0 rows, input\.min_rows asks for 1; nothing"):
        run(path, {"input.min_rows": 1})


@pytest.mark.parametrize("routing", [{}, {"routing.threshold": None, "routing.strong_fraction": 0.5}])
def test_min_rows_counts_over_files_and_is_free_once_a_row_is_answered(
    tmp_path: Path, routing: dict[str, Any]
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "b.json", "c.jsonl"):
        written(tmp_path / "data" / name, ROWS[:10])
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "data/d.parquet")
    said: list[str] = []
    options = RunOptions(environ={}, notify=said.append)
    changes = {**simulated(latency_s=0.0), **routing}
    data, run_path = tmp_path / "data", tmp_path / "run"
    job = {least: job_of(data, run_path, {**changes, "input.min_rows": least}) for least in (31, 32)}
    with pytest.raises(InputFault, match=r"only 31 rows, input\.min_rows asks for 32"):
        run_job(job[32], options)
    assert not (tmp_path / "run/results").exists()
    assert run_job(job[31], options).ok == 31
    assert run_job(job[32], options).complete
