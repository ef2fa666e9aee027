"""One sum by every road: what providers billed, the journal, the sealed results with failed.jsonl, the report."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import NO_COLUMNS
from batchroute.job.endpoint import Price
from batchroute.job.prices import Target, find_pricing
from batchroute.report.build import build_report
from batchroute.run.settle import settled
from batchroute.send.budget import open_budget
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome, Request
from batchroute.store.columns import ResultColumns
from batchroute.store.journal import read_journal
from batchroute.store.layout import RunLayout
from batchroute.store.rows import RunStore
from batchroute.types import Completion, Prompt, Usage
from runs import MODELS, write_run

if TYPE_CHECKING:
    from batchroute.types import Result, Side

# Those of runs.py.
PRICES = {
    "strong": Price(input=Decimal(2), cached_input=Decimal("0.5"), output=Decimal(10)),
    "weak": Price(input=Decimal("0.2"), output=Decimal(1)),
}
TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class Row:
    """How a row went: its side, and for each run what its attempts were billed, and how it ended."""

    side: Side
    runs: list[tuple[str, list[Usage]]]


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, completion = draw(st.integers(0, 200_000)), draw(st.integers(0, 50_000))
    cached = draw(st.none() | st.integers(0, prompt))
    return Usage(prompt, cached, completion, draw(st.none() | st.integers(0, completion)))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Up to three runs; in all but the last the row failed."""
    billed = st.lists(usages(), max_size=3)
    before = draw(st.lists(billed, max_size=2))
    last = draw(st.sampled_from(["ok", "ok", "refused", "failed"])), draw(billed)
    return Row(draw(st.sampled_from(["strong", "weak"])), [*(("failed", each) for each in before), last])


def pricing_of(side: Side) -> Any:
    return find_pricing(MODELS[side], PRICES[side], None)


def result_of(number: int, row: Row, run: int, earlier: Result | None) -> Result:
    """What the engine would record."""
    status, billed = row.runs[run]
    answer = Answer(
        verdict="ok" if status == "ok" else "transient",
        completion=Completion(response="yes") if status == "ok" else None,
        error_type=None if status == "ok" else "http_500",
        latency_s=1.0,
    )
    attempts = (earlier.attempts if earlier else 0) + max(1, len(billed))
    request = Request(Prompt("prompts.jsonl", number, None, b"[]"), b"{}", 1, 0.5, "score")
    outcome = Outcome(status, answer, attempts, tuple(billed))  # type: ignore[arg-type]  # a status
    asked = Target(row.side, MODELS[row.side], pricing_of(row.side))
    return settled(request, outcome, asked, earlier, 1_795_000_000_000_000 + number, raw=False)


def figures(entries: list[dict[str, Any]]) -> dict[str, float]:
    names = ("cost_usd", "attempts", *TOKENS)
    return {name: sum(entry[name] or 0 for entry in entries) for name in names}


def on_journals(run: Path) -> list[dict[str, Any]]:
    last = {
        entry.row: {name: getattr(entry, name) for name in entry.__struct_fields__}
        for path in sorted(run.glob("journal-*"))
        for entry in read_journal(path)
    }
    return list(last.values())


def in_results(run: Path) -> list[dict[str, Any]]:
    sealed: list[dict[str, Any]] = ds.dataset(run / "results").to_table().to_pylist()
    return [*sealed, *(json.loads(line) for line in (run / "failed.jsonl").read_text().splitlines())]


def billed(all_rows: list[Row], runs: int) -> dict[str, float]:
    """What the providers say so far, each usage priced by itself."""
    told = [(row.side, usage) for row in all_rows for _, usages in row.runs[:runs] for usage in usages]
    sums = {name: sum(getattr(usage, name) or 0 for _, usage in told) for name in TOKENS}
    cost = sum((pricing_of(side).cost(usage) for side, usage in told), Decimal(0))
    attempts = sum(max(1, len(usages)) for row in all_rows for _, usages in row.runs[:runs])
    return {"cost_usd": float(cost), "attempts": attempts, **sums}


@settings(max_examples=40)
@given(st.lists(rows(), max_size=10))
def test_every_road_leads_to_the_same_sum(all_rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", rows=len(all_rows))
        (run / "results" / "part-00000.parquet").unlink()
        for number in range(max((len(row.runs) for row in all_rows), default=1)):
            store = RunStore(RunLayout(run), ResultColumns(NO_COLUMNS), mode=0o700)
            for place, row in enumerate(all_rows):
                if number < len(row.runs):
                    earlier = store.unsettled.get(("prompts.jsonl", place))
                    store.record(result_of(place, row, number, earlier))
            expected = pytest.approx(billed(all_rows, number + 1), rel=1e-9, abs=1e-12)
            if number == 0:
                assert figures(on_journals(run)) == expected
            limit = open_budget(run / "ledger.json", Decimal(10**6), store.spent_usd)
            assert float(limit.spent) == pytest.approx(billed(all_rows, number + 1)["cost_usd"], rel=1e-9)
            killed = build_report(run)  # as it would stand there after kill -9
            store.finish()
            assert figures(in_results(run)) == expected
            report = build_report(run)
            for each in (killed, report):
                assert {name: getattr(each, name) or 0 for name in ("cost_usd", "attempts", *TOKENS)} == expected
            counts = (
                "ok",
                "refused",
                "failed",
                "strong_rows",
                "weak_rows",
                "cost_unknown_rows",
            )
            assert [getattr(killed, name) for name in counts] == [getattr(report, name) for name in counts]
            assert report.unsealed == 0
            assert killed.failed_cost_usd == pytest.approx(report.failed_cost_usd)
            assert report.ok + report.refused + report.failed == len(all_rows)
            assert (report.failed_cost_usd or 0) == pytest.approx(
                sum(entry["cost_usd"] or 0 for entry in in_results(run) if "status" not in entry)
            )
