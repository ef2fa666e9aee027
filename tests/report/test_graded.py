"""`report --by` where rows were graded: what each value keeps, and that the pilot's bill is in the total."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchroute.quality.watch import watch
from batchroute.report.build import build_report
from batchroute.report.by import spending_by
from batchroute.report.figures import json_text
from batchroute.report.graded import KeptOnRows
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotRecord, PilotStore
from qualities import quality_of
from runs import failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from command import Said

TOPIC = pa.field("topic", pa.string())
Grade = tuple[int, float | None, float | None]  # row, strong, weak


def graded(run: Path, pilot: Sequence[Grade], watched: Sequence[Grade] = (), **changes: Any) -> Path:
    """The run with the files of a pilot that graded these rows, and paid a dollar beside them."""
    layout = RunLayout(run)
    store = PilotStore(layout, mode=0o700)
    store.put(PilotRecord("pilot", "strong", "prompts.jsonl", 0, cost_usd=1.0))
    store.close()
    layout.pilot_quality.write_bytes(json_text(quality_of(**changes)))
    for path, rows in ((layout.pilot_rows, pilot), (layout.watched_rows, watched)):
        if rows:
            number, strong, weak = map(list, zip(*rows, strict=True))
            places = {"file": pa.array(["prompts.jsonl"] * len(rows)), "row": pa.array(number, pa.int64())}
            grades = {"strong_grade": pa.array(strong, pa.float64()), "weak_grade": pa.array(weak, pa.float64())}
            pq.write_table(pa.table({**places, **grades}), path)
    return run


def by_value(run: Path, column: str) -> dict[str | None, KeptOnRows | None]:
    return {line.value: line.quality for line in spending_by([run], column).lines}


def test_a_row_counts_with_the_grade_of_the_side_it_went_to(tmp_path: Path) -> None:
    part = [
        ok(0, "strong", topic="law"),
        ok(1, "weak", topic="law"),
        ok(2, "weak", topic="law"),
        ok(3, "weak", topic="art"),
        ok(4, "weak", topic="maths"),
        refused(5, None, topic="art"),
    ]
    run = write_run(tmp_path / "run", [part], rows=6, extra=[TOPIC])
    graded(run, [(0, 1.0, 0.0), (1, 1.0, 0.5), (5, 1.0, 0.5), (9, 1.0, 1.0)], [(3, 0.0, 0.0), (4, None, None)])
    assert by_value(run, "topic") == {
        "law": KeptOnRows(rows=2, kept=0.75, low=None, high=None),  # (1 + 0.5) / (1 + 1)
        "art": KeptOnRows(rows=1, kept=None, low=None, high=None),  # of nothing; the refused row went nowhere
        "maths": None,
    }
    assert spending_by([run], "topic").all_rows.quality == KeptOnRows(rows=3, kept=0.75, low=None, high=None)
    assert by_value(run, "route")["weak"] == KeptOnRows(rows=2, kept=0.5, low=None, high=None)


def test_from_thirty_rows_on_there_are_bounds_at_the_jobs_confidence(tmp_path: Path) -> None:
    part = [ok(row, "weak", topic="law") for row in range(40)]
    grades: list[Grade] = [(row, 1.0, float(row % 4 > 0)) for row in range(40)]
    run = graded(write_run(tmp_path / "run", [part], rows=40, extra=[TOPIC]), grades, confidence=0.8)
    found = by_value(run, "topic")["law"]
    expected = watch(
        routed=np.array([float(row % 4 > 0) for row in range(40)]), strong=np.array([1.0] * 40), confidence=0.8
    )
    assert found == KeptOnRows(rows=40, kept=0.75, low=expected.low, high=expected.high)


def test_a_row_that_the_pilot_and_the_watch_have_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, "weak", topic="law")]], rows=1, extra=[TOPIC])
    assert by_value(graded(run, [(0, 1.0, 1.0)], [(0, 1.0, 1.0)]), "topic")["law"] == KeptOnRows(
        rows=1, kept=1.0, low=None, high=None
    )


def test_rows_of_the_same_place_in_other_runs_are_others(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [[ok(0, "weak", topic=name)]], rows=1, extra=[TOPIC]) for name in ("a", "b")
    ]
    graded(runs[0], [(0, 1.0, 0.5)])
    found = {line.value: line.quality for line in spending_by(runs, "topic").lines}
    assert found == {"a": KeptOnRows(rows=1, kept=0.5, low=None, high=None), "b": None}


def test_failed_rows_and_rows_of_a_journal_keep_what_they_went_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", failures=[failed(0, "weak")], rows=2)
    write_journal(run, 1, [ok(1, "strong")])
    found = by_value(graded(run, [(0, 1.0, 0.0), (1, 0.5, 1.0)]), "route")
    assert found["weak"] == KeptOnRows(rows=1, kept=0.0, low=None, high=None)
    assert found["strong"] == KeptOnRows(rows=1, kept=1.0, low=None, high=None)


def test_the_pilot_is_a_part_of_the_total(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    part = [ok(0, topic="law"), ok(1, "weak", topic="art")]
    run = graded(write_run(tmp_path / "run", [part], rows=2, extra=[TOPIC]), [(0, 1.0, 0.0), (1, 1.0, 0.5)])
    bill = spending_by([run], "topic")
    assert (bill.pilot_cost_usd, bill.total_usd) == (1.0, build_report(run).total_usd)
    table = tmp_path / "bill.csv"
    said = batchroute("report", str(run), "--by", "topic", "--csv", str(table))
    assert said.code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(bill.total_usd)
    assert [(row["kind"], row["value"], row["graded_rows"], row["kept"]) for row in rows] == [
        ("value", "law", "1", "1"),
        ("value", "art", "1", "0.5"),
        ("pilot", "", "", ""),
    ]
    shown = batchroute("report", str(run), "--by", "topic").out
    assert max(map(len, shown.splitlines())) <= 80
    lines = [line.split() for line in shown.splitlines()]
    assert ["law", "1", "100.0", "%", "-"] in lines
    assert ["art", "1", "50.0", "%", "-"] in lines
    assert ["total", "2", "75.0", "%", "-"] in lines
    assert ["pilot", "(beside", "the", "rows)", "1.0000"] in lines
    assert json.loads(batchroute("report", str(run), "--by", "topic", "--json").out)["lines"][0]["quality"] == {
        "rows": 1,
        "kept": 1.0,
        "low": None,
        "high": None,
    }
    assert batchroute("report", str(run), "--by", "topic", "--html").code == 0
    assert "Quality by topic" in (run / "report.html").read_text(encoding="utf-8")


def test_without_a_pilot_there_is_nothing_of_it(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    run = write_run(tmp_path / "run", [[ok(0, topic="law")]], rows=1, extra=[TOPIC])
    assert by_value(run, "topic") == {"law": None}
    shown = batchroute("report", str(run), "--by", "topic").out
    assert "graded" not in shown
    assert "pilot" not in shown
