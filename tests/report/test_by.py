from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from math import fsum
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import RunFault, UsageFault
from batchroute.report import by
from batchroute.report.build import build_report
from batchroute.report.by import Breakdown, BreakdownLine, spending_by
from batchroute.report.figures import json_text, write_report
from batchroute.store.ledger import Ledger, write_ledger
from runs import FINISHED_AT, failed, ok, refused, write_journal, write_run

FORMAT_1 = Path(__file__).parents[1] / "store" / "data" / "format-1" / "run"
TOPIC = pa.field("topic", pa.string())
OWN = ["route", "model", "day", "finished_at", "status", "route_reason", "served_model", "finish_reason"]
OWN += ["error_type", "service_tier", "delivery", "file", "id"]


def _lines(found: Breakdown) -> list[tuple[str, str | None, int]]:
    return [(line.kind, line.value, line.rows) for line in found.lines]


def _keep(topic: str) -> bytes:
    return msgspec.msgpack.encode([topic.encode()])


def test_a_small_bill_by_hand(tmp_path: Path) -> None:
    part = [
        ok(0, topic="law", cached_tokens=400),
        ok(1, "weak", topic="law"),
        refused(2, topic="law"),
        ok(3, "weak", topic=None, cost_usd=0.0001),
        refused(4, None, topic="art"),
    ]
    run = write_run(tmp_path / "run", [part], failures=[failed(5, cost_usd=0.25)], rows=6, extra=[TOPIC])
    found = spending_by([run], "topic")
    assert _lines(found) == [
        ("value", "law", 3),
        ("value", "art", 1),
        ("value", None, 1),
        ("not_on_file", None, 1),
    ]
    assert found.lines[0] == BreakdownLine(
        kind="value",
        value="law",
        rows=3,
        row_share=0.5,
        ok=2,
        refused=1,
        failed=0,
        open=0,
        strong_share=2 / 3,
        prompt_tokens=2000,
        cached_tokens=400,
        completion_tokens=200,
        cost_usd=pytest.approx(0.0033),
        cost_share=pytest.approx(0.0033 / 0.2534),
        cost_unknown_rows=0,
    )
    assert found.lines[1].cost_usd == 0.0
    assert found.total_usd == pytest.approx(0.2534)
    assert (found.is_kept, found.other_values, found.not_kept_by, found.runs) == (True, 0, [], ["run"])


def test_only_so_many_values_have_a_line(tmp_path: Path) -> None:
    part = [ok(row, topic=f"t{row % 5}", cost_usd=(row % 5) / 100) for row in range(20)]
    found = spending_by([write_run(tmp_path / "run", [part], extra=[TOPIC])], "topic", top=2)
    assert _lines(found) == [("value", "t4", 4), ("value", "t3", 4), ("others", None, 12)]
    assert found.other_values == 3
    assert found.lines[2].cost_usd == pytest.approx(4 * (0.00 + 0.01 + 0.02))


def test_many_values_are_summed_a_bounded_number_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by, "_VALUES_AT_ONCE", 7)
    part = [ok(row, topic=f"t{row % 50:02}", cost_usd=(row % 50) / 100) for row in range(200)]
    run = write_run(tmp_path / "run", [part], extra=[TOPIC])
    found = spending_by([run], "topic", top=3)
    assert _lines(found) == [("value", name, 4) for name in ("t49", "t48", "t47")] + [("others", None, 188)]
    assert found.other_values == 47


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.string(), "", ""),
        (pa.string(), "null", "null"),
        (pa.int64(), 7, "7"),
        (pa.float64(), 0.5, "0.5"),
        (pa.bool_(), True, "true"),
        (pa.date32(), date(2026, 11, 23), "2026-11-23"),
        (pa.timestamp("us"), FINISHED_AT.replace(tzinfo=None), "2026-11-23T04:05:06.789000"),
        (pa.timestamp("ns", "UTC"), FINISHED_AT, "2026-11-23T04:05:06.789000000+00:00"),
        (pa.decimal128(9, 2), 1.5, "1.50"),
        (pa.binary(), b"\xff", "/w=="),
        (pa.list_(pa.string()), ["b", "a"], '["b","a"]'),
        (
            pa.struct([("z", pa.int64()), ("a", pa.date32())]),
            {"z": 1, "a": date(2026, 1, 2)},
            '{"a":"2026-01-02","z":1}',
        ),
        (pa.list_(pa.binary()), [b"x"], '["eA=="]'),
        (pa.map_(pa.string(), pa.int64()), [("k", 1)], '{"k":1}'),
    ],
)
def test_values_of_any_type(tmp_path: Path, kind: pa.DataType, value: Any, text: str) -> None:
    value = pa.scalar(value).cast(kind).as_py() if pa.types.is_decimal(kind) else value
    part = [ok(0, topic=value), ok(1, topic=None, cost_usd=0.5)]
    found = spending_by([write_run(tmp_path / "run", [part], extra=[pa.field("topic", kind)])], "topic")
    assert _lines(found) == [("value", text, 1), ("value", None, 1)]
    assert json.loads(json_text(found))["lines"][1]["value"] is None


def test_days_stand_in_their_order_and_are_those_of_utc(tmp_path: Path) -> None:
    part = [
        ok(row, finished_at=FINISHED_AT.replace(day=day), cost_usd=cost)
        for row, day, cost in ((0, 25, 0.1), (1, 23, 0.2), (2, 24, 0.3), (3, 23, 0.4))
    ]
    run = write_run(tmp_path / "run", [part], failures=[failed(4, cost_usd=9.0)])
    for column in ("day", "finished_at"):
        found = spending_by([run], column)
        days = [("value", "2026-11-23", 2), ("value", "2026-11-24", 1), ("value", "2026-11-25", 1)]
        assert _lines(found) == [*days, ("value", None, 1)]
        assert found.total_usd == pytest.approx(10.0)


def test_a_year_of_days_has_a_line_each(tmp_path: Path) -> None:
    part = [ok(row, topic=f"t{row}", finished_at=FINISHED_AT + timedelta(days=row)) for row in range(366)]
    run = write_run(tmp_path / "run", [part], extra=[TOPIC])
    assert (len(spending_by([run], "day").lines), spending_by([run], "day").other_values) == (366, 0)
    assert (len(spending_by([run], "topic").lines), spending_by([run], "topic").other_values) == (41, 326)


def test_a_kept_column_comes_before_ours(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, day="monday")]], extra=[pa.field("day", pa.string())])
    assert _lines(spending_by([run], "day")) == [("value", "monday", 1)]
    assert _lines(spending_by([run], "finished_at")) == [("value", "2026-11-23", 1)]


def test_runs_that_differ_in_what_they_keep(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", [[ok(0)]])
    text = write_run(tmp_path / "text", [[ok(0, topic="7")]], extra=[TOPIC])
    number = write_run(tmp_path / "number", [[ok(0, topic=7)]], extra=[pa.field("topic", pa.int64())])
    found = spending_by([old, text, number, text], "topic")
    assert _lines(found) == [("value", "7", 2), ("not_on_file", None, 1)]
    assert (found.not_kept_by, found.runs) == (["old"], ["old", "text", "number"])


def test_a_column_that_no_run_has(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, topic="a")]], extra=[TOPIC])
    with pytest.raises(UsageFault, match=r"no column 'topik' .*did you mean 'topic'\? it has topic, route"):
        spending_by([run], "topik")
    with pytest.raises(UsageFault, match="2 runs: no column 'score'"):
        spending_by([run, write_run(tmp_path / "other")], "score")
    with pytest.raises(RunFault, match="not a run directory"):
        spending_by([tmp_path], "day")


def test_what_a_run_keeps_is_not_known_before_a_seal(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for part in (run / "results").iterdir():
        part.unlink()
    with pytest.raises(UsageFault, match="run keeps is known once results are sealed"):
        spending_by([run], "topic")


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [[ok(0, topic=b"\xff"), ok(1, topic=b"law")]], extra=[pa.field("topic", pa.binary())]
    )
    part = run / "results" / "part-00000.parquet"
    table = pq.read_table(part)
    text = table["topic"].combine_chunks().view(pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("topic"), "topic", text), part)
    with pytest.raises(UsageFault, match="the kept column 'topic' cannot be read as text"):
        spending_by([run], "topic")
    assert spending_by([run], "route").total_usd == 0.006


def test_rows_that_are_not_sealed_are_among_theirs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, topic="law")]], rows=4, extra=[TOPIC])
    waiting = [ok(1, topic=None, keep=_keep("law")), failed(2, keep=_keep("art"), cost_usd=0.5)]
    begun = {**failed(3, keep=_keep("law"), cost_usd=0.25), "status": "open"}
    write_journal(run, 7, [{k: v for k, v in row.items() if k != "topic"} for row in (*waiting, begun)])
    found = spending_by([run], "topic")
    assert _lines(found) == [("value", "art", 1), ("value", "law", 3)]
    assert [line.cost_usd for line in found.lines] == [0.5, pytest.approx(0.256)]
    assert (found.lines[1].ok, found.lines[1].open) == (2, 1)
    assert found.total_usd == build_report(run).total_usd


def test_unknown_costs_are_counted_and_no_zero(tmp_path: Path) -> None:
    part = [ok(0, topic="a", cost_usd=None), ok(1, topic="b"), ok(2, topic="b", cost_usd=None)]
    found = spending_by([write_run(tmp_path / "run", [part], extra=[TOPIC])], "topic")
    assert [(line.value, line.cost_usd, line.cost_unknown_rows) for line in found.lines] == [
        ("b", 0.003, 1),
        ("a", None, 1),
    ]
    assert (found.total_usd, found.all_rows.cost_unknown_rows) == (0.003, 2)


def test_what_stands_beside_the_rows(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [[ok(0)]], rows=1) for name in ("one", "two")]
    for run in runs:
        write_ledger(run / "ledger.json", Ledger(unconfirmed=Decimal("0.05")))
        write_report(run, msgspec.structs.replace(build_report(run), router_cost_usd=0.5))
    found = spending_by(runs, "route")
    assert (found.router_cost_usd, found.unconfirmed_usd) == (1.0, pytest.approx(0.1))
    assert found.total_usd == pytest.approx(2 * 0.503)


def test_a_directory_of_format_1_beside_one_of_today(tmp_path: Path) -> None:
    new = write_run(tmp_path / "new", [[ok(0, topic="t2", cost_usd=0.5)]], extra=[TOPIC])
    found = spending_by([FORMAT_1, new], "topic")
    assert _lines(found)[0] == ("value", "t2", 6)
    assert found.total_usd == pytest.approx(0.5 + (build_report(FORMAT_1).total_usd or 0))
    # There `delivery` is a kept column, here it is one of ours: the kept one comes first.
    assert _lines(spending_by([FORMAT_1, new], "delivery"))[-1] == ("not_on_file", None, 5)


def test_a_run_without_rows(tmp_path: Path) -> None:
    found = spending_by([write_run(tmp_path / "run", rows=0)], "model")
    assert (found.lines, found.total_usd, found.all_rows.rows) == ([], 0.0, 0)


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(["strong", "weak", None]),
            "end": st.sampled_from(["ok", "refused", "failed", "open", "unsealed"]),
            "topic": st.sampled_from(["law", "art", "", None]),
            "cost_usd": st.none() | st.floats(0, 1000),
            "day": st.integers(1, 28),
            "tier": st.sampled_from(["flex", None]),
        }
    ),
    max_size=12,
)


def _row(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    side = drawn["side"]
    if drawn["end"] == "refused":
        return refused(number, side, topic=drawn["topic"])
    columns = {"cost_usd": drawn["cost_usd"], "finished_at": FINISHED_AT.replace(day=drawn["day"])}
    made = ok(number, side or "weak", **columns, topic=drawn["topic"], service_tier=drawn["tier"])
    return made if drawn["end"] == "ok" else {**made, "status": {"unsealed": "ok"}.get(drawn["end"], drawn["end"])}


@settings(max_examples=40, deadline=None)
@given(_ROWS, _ROWS, st.integers(1, 3), st.sampled_from([*OWN, "topic"]))
def test_the_lines_are_the_bill(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[dict[str, Any]],
    other: list[dict[str, Any]],
    top: int,
    column: str,
) -> None:
    runs = []
    for drawn in (one, other):
        rows = [_row(number, each) for number, each in enumerate(drawn)]
        loose = [row for row, each in zip(rows, drawn, strict=True) if each["end"] not in {"ok", "refused"}]
        sealed = [row for row in rows if row not in loose]
        run = write_run(tmp_path_factory.mktemp("runs") / "run", [sealed], rows=len(rows), extra=[TOPIC])
        write_journal(run, 7, [{k: v for k, v in row.items() if k != "topic"} for row in loose])
        runs.append(run)
    found = spending_by(runs, column, top=top)
    reports = [build_report(run) for run in runs]
    known = [line.cost_usd for line in found.lines if line.cost_usd is not None]
    assert fsum(known) == pytest.approx(fsum(report.total_usd or 0 for report in reports), abs=1e-9)
    assert (found.total_usd or 0) == pytest.approx(fsum(known))
    for figure in ("rows", "ok", "refused", "failed", "open", "cost_unknown_rows"):
        assert sum(getattr(line, figure) for line in found.lines) == getattr(found.all_rows, figure)
    for figure in ("ok", "refused", "failed", "cost_unknown_rows"):
        assert getattr(found.all_rows, figure) == sum(getattr(report, figure) for report in reports)
    for tokens in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        counted = sum(getattr(line, tokens) or 0 for line in found.lines)
        assert counted == sum(getattr(report, tokens) or 0 for report in reports)
    assert found.all_rows.rows == len(one) + len(other)
    assert fsum(line.row_share or 0 for line in found.lines) == pytest.approx(1 if one or other else 0)
    assert sum(line.kind == "value" and line.value is not None for line in found.lines) <= top
