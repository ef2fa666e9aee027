from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO
from math import fsum, inf, log, nextafter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console

from batchroute.errors import RunFault
from batchroute.job.prices import find_pricing
from batchroute.report.build import build_report
from batchroute.report.comparison import compare, drift
from batchroute.report.figures import FinishCounts, Report, json_text, read_report, write_report
from batchroute.report.sums import quantiles
from batchroute.show.comparison import render_comparison
from batchroute.show.report import render_report
from batchroute.store.ledger import add_unconfirmed
from batchroute.types import Usage
from runs import RESULT_SCHEMA, WEAK_SIMULATED, failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

SPEC_KEYS = {
    "state",
    "rows",
    "ok",
    "refused",
    "failed",
    "remaining",
    "strong_rows",
    "weak_rows",
    "strong_fraction",
    "threshold",
    "cost_usd",
    "strong_cost_usd",
    "weak_cost_usd",
    "failed_cost_usd",
    "router_cost_usd",
    "total_usd",
    "unconfirmed_usd",
    "cost_unknown_rows",
    "all_strong_usd",
    "all_weak_usd",
    "savings_usd",
    "savings_fraction",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "attempts",
    "retries",
    "errors",
    "latency_s",
    "wall_s",
    "rows_per_s",
    "score_histogram",
    "score_quantiles",
    "win_mass_kept",
}


def _shown(renderable: RenderableType) -> str:
    console = Console(file=StringIO(), width=80, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_small_run_by_hand(tmp_path: Path) -> None:
    parts = [
        [ok(0, latency_s=2.0), ok(2, "weak", prompt_tokens=2000, cached_tokens=500, cost_usd=0.0005)],
        [ok(1, attempts=3), refused(3, "weak"), refused(4, None)],
    ]
    failures = [failed(5, cost_usd=0.25, prompt_tokens=7, completion_tokens=1)]
    run = write_run(tmp_path / "night", parts, failures=failures, rows=7)
    report = build_report(run, wall_s=3.0)
    assert (report.run, report.name, report.state) == ("night", "nightly", "incomplete")
    assert (report.rows, report.ok, report.refused, report.failed, report.remaining) == (7, 3, 2, 1, 1)
    assert (report.strong_rows, report.weak_rows, report.strong_fraction) == (3, 2, 0.6)
    assert report.strong_cost_usd == pytest.approx(0.256)
    assert report.weak_cost_usd == pytest.approx(0.0005)
    assert report.failed_cost_usd == 0.25
    assert (report.router_cost_usd, report.unconfirmed_usd, report.cost_unknown_rows) == (0.0, 0.0, 0)
    assert (report.prompt_tokens, report.cached_tokens, report.completion_tokens) == (4007, 500, 301)
    # 4000 prompt tokens, none of them from a cache, and 300 output tokens, at 2 and 10 dollars a million; the weak
    # side at 0.2 and 1.
    assert report.all_strong_usd == pytest.approx((4000 * 2 + 300 * 10) / 1e6)
    assert report.all_weak_usd == pytest.approx((4000 * 0.2 + 300 * 1) / 1e6)
    assert report.savings_usd == pytest.approx(0.011 - 0.2565)
    assert (report.attempts, report.retries) == (1 + 1 + 3 + 1 + 6, 2 + 5)
    assert report.errors == {"http_400": 2, "http_500": 1}
    assert (report.wall_s, report.rows_per_s) == (3.0, 2.0)
    assert report.latency_s["strong"] is not None
    assert (report.latency_s["strong"].p50, report.latency_s["strong"].p99) == (1.0, 2.0)
    assert report.win_mass_kept == pytest.approx(2.7 / 2.9)


def test_every_key_of_the_contract_is_in_the_file(tmp_path: Path) -> None:
    report = build_report(write_run(tmp_path / "run", [[ok(0)]], rows=1))
    assert set(json.loads(json_text(report))) >= SPEC_KEYS


@pytest.mark.parametrize("rows", [None, 0])
def test_nothing_known_is_null_not_zero(tmp_path: Path, rows: int | None) -> None:
    report = build_report(write_run(tmp_path / "run", rows=rows))
    assert report.state == ("complete" if rows == 0 else "incomplete")
    assert (report.rows, report.remaining, report.ok) == (rows, rows, 0)
    unknown = (report.strong_fraction, report.wall_s, report.rows_per_s, report.win_mass_kept)
    assert unknown == (None, None, None, None)
    assert report.latency_s == {"strong": None, "weak": None}
    assert report.score_quantiles == {}
    assert "unknown" in _shown(render_report(report))


tokens = st.one_of(st.none(), st.integers(0, 10**6))
usd = st.one_of(st.none(), st.floats(0, 100, allow_subnormal=False))
settled = st.builds(
    dict,
    status=st.sampled_from(["ok", "refused", "failed"]),
    side=st.sampled_from(["strong", "weak"]),
    prompt_tokens=tokens,
    cached_tokens=tokens,
    completion_tokens=tokens,
    cache_write_tokens=tokens,
    service_tier=st.sampled_from([None, "default", "flex"]),
    cost_usd=usd,
    attempts=st.integers(0, 9),
)
MAKERS = {"ok": ok, "refused": refused, "failed": failed}


@settings(max_examples=40)
@given(rows=st.lists(settled, max_size=12))
def test_the_sums_reconcile(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    made = [(row.pop("status"), row.pop("side"), row) for row in rows]
    made_rows = [(status, MAKERS[status](n, side, **rest)) for n, (status, side, rest) in enumerate(made)]
    results = [row for status, row in made_rows if status != "failed"]
    failures = [row for status, row in made_rows if status == "failed"]
    folder = tmp_path_factory.mktemp("sums")
    run = write_run(folder / "run", [results[::2], results[1::2]], failures=failures, rows=len(rows))
    report = build_report(run, router_cost_usd=0.5)
    assert report.ok + report.refused + report.failed == len(rows)
    assert report.remaining == 0
    known = fsum(row["cost_usd"] or 0.0 for _, row in made_rows)
    sides = (report.strong_cost_usd, report.weak_cost_usd)
    assert fsum(side or 0.0 for side in sides) == pytest.approx(known)
    if report.cost_usd is not None:
        assert report.cost_usd == fsum(side or 0.0 for side in sides)
        assert report.total_usd == pytest.approx(known + 0.5)
        assert report.failed_cost_usd is None or report.failed_cost_usd <= report.cost_usd * (1 + 1e-9)
    else:
        assert report.cost_unknown_rows > 0
        assert known == 0
    assert report.prompt_tokens in {None, sum(row.get("prompt_tokens") or 0 for _, row in made_rows)}
    assert report.retries == sum(max(0, row["attempts"] - 1) for _, row in made_rows)
    assert sum(bill.ok + bill.refused + bill.failed for bill in report.models) == len(rows)
    answers = [row for status, row in made_rows if status == "ok"]
    is_counted = all(row[kind] is not None for row in answers for kind in ("prompt_tokens", "completion_tokens"))
    is_known = report.cost_unknown_rows == 0 and report.total_usd is not None and is_counted
    assert (report.savings_usd is not None) == is_known
    causes = (
        report.saved_routing_usd,
        report.saved_reuse_usd,
        report.saved_delivery_usd,
        report.saved_caching_usd,
    )
    if report.savings_usd is None:
        assert causes == (None,) * 4
    else:
        assert fsum(cause or 0.0 for cause in causes) == pytest.approx(report.savings_usd, abs=1e-12)


def test_an_unknown_cost_stays_unknown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak", cost_usd=None)]], rows=2)
    report = build_report(run)
    assert (report.cost_unknown_rows, report.weak_cost_usd, report.savings_usd) == (1, None, None)
    assert report.cost_usd == report.strong_cost_usd == pytest.approx(0.003)
    shown = _shown(render_report(report))
    assert "The cost of 1 row is unknown" in shown
    assert "total, at least" in shown


def test_where_nothing_is_known_of_the_bill_it_is_not_0(tmp_path: Path) -> None:
    """No row went strong, which costs nothing, and that is all that is known."""
    report = build_report(write_run(tmp_path / "run", [[ok(0, "weak", cost_usd=None)]], rows=1))
    assert (report.strong_cost_usd, report.weak_cost_usd) == (0.0, None)
    assert (report.cost_usd, report.total_usd, report.savings_usd) == (None, None, None)
    lines = [" ".join(line.split()) for line in _shown(render_report(report)).splitlines()]
    assert "total 1 1,000 unknown 100 unknown" in lines


def test_a_bill_in_the_providers_own_words_says_nothing_of_what_it_would_have_been_elsewhere(
    tmp_path: Path,
) -> None:
    rows = [ok(0), ok(1, "weak", prompt_tokens=None, completion_tokens=None, cost_usd=0.5)]
    report = build_report(write_run(tmp_path / "run", [rows], rows=2))
    assert (report.total_usd, report.cost_unknown_rows) == (pytest.approx(0.503), 0)
    assert (report.savings_usd, report.saved_routing_usd, report.saved_reuse_usd) == (None, None, None)


def test_a_model_without_a_price_has_no_alternative_cost(tmp_path: Path) -> None:
    weak = 'base_url = "https://weak.example/v1"'
    report = build_report(write_run(tmp_path / "run", [[ok(0)]], weak=weak, rows=1))
    assert (report.all_weak_usd, report.savings_fraction) == (None, pytest.approx(0.0))


def test_a_reused_answer_is_no_unknown_cost(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, attempts=0, cost_usd=None)]], rows=1)
    report = build_report(run)
    assert (report.cost_unknown_rows, report.cost_usd, report.attempts) == (0, 0.0, 0)


def test_rows_taken_over_and_rows_moved_for_the_budget_stand_in_the_bill(tmp_path: Path) -> None:
    moved = [ok(row, "weak", score=0.9, route_reason="budget") for row in range(2)]
    moved += [ok(5, score=0.1, route_reason="finish")]
    free = [ok(row, attempts=0, cost_usd=0.0) for row in range(2, 5)]
    report = build_report(write_run(tmp_path / "run", [[*moved, *free]], rows=6))
    assert (report.budget_rows, report.finish_rows, report.reused) == (2, 1, 3)
    assert report.cost_usd == pytest.approx(0.0036)
    shown = _shown(render_report(report))
    words = "of them 3 taken over at no cost, 2 weak to keep the budget, 1 asked of the other side"
    assert words in " ".join(shown.split())
    plain = _shown(render_report(build_report(write_run(tmp_path / "plain", [[ok(0)]], rows=1))))
    assert "taken over" not in plain
    assert "budget" not in plain


def test_a_row_settled_since_it_failed_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1)]], failures=[failed(1), failed(2)], rows=3)
    report = build_report(run)
    assert (report.ok, report.failed, report.remaining) == (2, 1, 0)


def test_long_prompts_are_priced_in_their_tier(tmp_path: Path) -> None:
    pricing = find_pricing("gemini-2.5-pro", None, None)
    assert pricing is not None
    assert pricing.varies
    usages = [
        (100, 0, 5),
        (199_999, 100, 5),
        (200_001, 0, 5),
        (250_000, 1000, 900),
        (250_000, 1000, 900),
        (1, 1, 1),
    ]
    rows = [
        ok(n, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
        for n, (prompt, cached, completion) in enumerate(usages)
    ]
    run = write_run(tmp_path / "run", [rows], rows=len(rows))
    job = (run / "job.toml").read_text()
    priced = job.replace('"small-model"', '"gemini-2.5-pro"').replace("price = { input = 0.2, output = 1.0 }", "")
    (run / "job.toml").write_text(priced)
    costs = [pricing.cost(Usage(prompt, 0, completion)) for prompt, _, completion in usages]
    assert build_report(run).all_weak_usd == pytest.approx(float(sum(cost or Decimal(0) for cost in costs)))


def test_time_adds_up_over_runs_and_amounts_are_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=2)
    write_report(run, build_report(run, wall_s=5.0, router_cost_usd=0.25))
    report = build_report(run, wall_s=2.5)
    assert (report.wall_s, report.router_cost_usd) == (7.5, 0.25)
    assert report.total_usd == pytest.approx(0.253)


def test_what_is_unconfirmed_is_what_the_ledger_says_and_is_explained(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    assert build_report(run).unconfirmed_usd == 0.0
    assert "unconfirmed" not in _shown(render_report(build_report(run)))
    add_unconfirmed(run / "ledger.json", Decimal("0.125"), 0)
    report = build_report(run)
    assert (report.unconfirmed_usd, report.total_usd) == (0.125, 0.003)
    shown = " ".join(_shown(render_report(report)).split())
    assert "not in the total: unconfirmed 0.1250 at most" in shown
    assert "brought no usage" in shown
    add_unconfirmed(run / "ledger.json", Decimal(0), 1)  # where no price is known
    assert build_report(run).unconfirmed_usd is None
    assert "unconfirmed unknown" in " ".join(_shown(render_report(build_report(run))).split())


def test_an_older_directory_did_not_keep_what_is_unconfirmed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    write_report(run, structs.replace(build_report(run), unconfirmed_usd=None))
    assert build_report(run).unconfirmed_usd is None


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("200.0", "0.00 of 200.00 (limits.max_cost_usd)"),
        ("0.004", "0.0030 of 0.0040 (limits.max_cost_usd)"),
        (None, None),
    ],
)
def test_the_limit_stands_beside_what_was_spent(tmp_path: Path, limit: str | None, words: str | None) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    if limit is not None:
        job = (run / "job.toml").read_text()
        (run / "job.toml").write_text(f"{job}\n[limits]\nmax_cost_usd = {limit}\n")
    report = build_report(run)
    assert report.max_cost_usd == (None if limit is None else float(limit))
    assert words is None or words in _shown(render_report(report))
    assert ("limits.max_cost_usd" in _shown(render_report(report))) == (limit is not None)


def test_how_answers_ended_is_counted_by_side(tmp_path: Path) -> None:
    rows = [
        ok(0, finish_reason="stop"),
        ok(1, finish_reason="length"),
        ok(2, finish_reason="length", response=""),
        ok(3, finish_reason="content_filter", response=None),
        ok(4, refusal="I cannot", response=None),
        ok(5, "weak", finish_reason="refusal"),
        ok(6, "weak", finish_reason="tool_calls", response=None, tool_calls="[{}]"),
        ok(7, "weak", finish_reason=None),
        refused(8, "weak", finish_reason="length"),
    ]
    report = build_report(write_run(tmp_path / "run", [rows[:4]], rows=9))
    assert report.finish["weak"] == FinishCounts()
    run = write_run(tmp_path / "more", [rows[::2], rows[1::2]], failures=[failed(9)], rows=10)
    write_journal(run, 2, [ok(9, "weak", finish_reason="length")])
    report = build_report(run)
    assert report.finish == {
        "strong": FinishCounts(answered=5, length=2, content_filter=1, refusal=1, empty=3),
        "weak": FinishCounts(answered=4, length=1, content_filter=0, refusal=1, empty=0),
    }
    lines = [" ".join(line.split()) for line in _shown(render_report(report)).splitlines()]
    assert "strong 5 2 1 1 3" in lines
    plain = build_report(write_run(tmp_path / "plain", [[ok(0, finish_reason="stop")]], rows=1))
    assert "how answers ended" not in _shown(render_report(plain))


def test_tiers_of_service_are_counted_and_named_where_one_is_not_the_usual(tmp_path: Path) -> None:
    flex = [ok(row, service_tier="flex") for row in range(3)]
    report = build_report(
        write_run(tmp_path / "a", [[*flex, ok(3, service_tier="default"), ok(4, "weak")]], rows=5)
    )
    assert report.service_tiers == {"strong": {"flex": 3, "default": 1}}
    assert "tiers of service, strong: flex 3, default 1" in _shown(render_report(report))
    usual = build_report(write_run(tmp_path / "b", [[ok(0, service_tier="default")]], rows=1))
    assert usual.service_tiers == {"strong": {"default": 1}}
    assert "tiers of service" not in _shown(render_report(usual))


def test_models_other_than_those_asked_for_are_counted(tmp_path: Path) -> None:
    rows = [
        ok(0, served_model="big-model-2026-03-01"),
        ok(1, served_model="elsewhere/big-model"),
        ok(2, served_model="small-model"),
        *(ok(row, served_model="smaller-model") for row in (3, 4)),
        ok(5, "weak", served_model="small-model"),
        ok(6, "weak", served_model=None),
    ]
    report = build_report(write_run(tmp_path / "run", [rows], rows=7))
    assert report.other_models == {"strong": {"smaller-model": 2, "small-model": 1}}
    shown = " ".join(_shown(render_report(report)).split())
    assert "another model than the one asked for, strong: smaller-model 2, small-model 1" in shown


def test_a_directory_of_an_older_format_has_none_of_the_later_columns(tmp_path: Path) -> None:
    """A kept column may have the name of one."""
    later = ("refusal", "cache_write_tokens", "request_id", "service_tier", "delivery")
    kept = pa.field("service_tier", pa.int64())
    run = write_run(tmp_path / "run", rows=1)
    fields = [field for field in RESULT_SCHEMA if field.name not in later]
    schema = pa.schema([*fields, kept])
    row = {name: value for name, value in ok(0).items() if name in schema.names}
    pq.write_table(pa.Table.from_pylist([{**row, "service_tier": 7}], schema), run / "results/part-00000.parquet")
    job = run / "job.toml"
    job.write_text(job.read_text().replace("format = 2", "format = 1"))
    report = build_report(run)
    assert (report.ok, report.service_tiers, report.cost_usd) == (1, {}, 0.003)


def test_a_billed_embedder_without_a_bill_leaves_the_total_unknown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    job = (run / "job.toml").read_text()
    (run / "job.toml").write_text(job.replace('use = "builtin"', 'use = "openai"'))
    report = build_report(run)
    assert (report.router_cost_usd, report.total_usd, report.savings_usd) == (None, None, None)


def test_success_stands_beside_a_complete_report_only(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1)]], rows=2)
    complete = build_report(run)
    write_report(run, complete)
    assert complete.state == "complete"
    assert (run / "_SUCCESS").exists()
    assert read_report(run) == complete
    write_report(run, build_report(run, state="running"))
    assert not (run / "_SUCCESS").exists()
    assert {path.name for path in run.iterdir()} == {"job.toml", "results", "report.json"}


@pytest.mark.parametrize(
    ("rows", "ok_if_refused", "state"),
    [
        (100, 0.0, "refusals"),
        (100, 0.28, "refusals"),
        (100, 0.29, "complete"),  # 0.29 * 100 is a little less than 29
        (100, 1.0, "complete"),
        (101, 0.29, "incomplete"),
    ],
)
def test_the_share_of_refusals_decides_the_state(
    tmp_path: Path, rows: int, ok_if_refused: float, state: str
) -> None:
    parts = [[refused(row) if row < 29 else ok(row) for row in range(100)]]
    run = write_run(tmp_path / "run", parts, rows=rows)
    job = (run / "job.toml").read_text()
    (run / "job.toml").write_text(f"{job}\n[limits]\nok_if_refused = {ok_if_refused}\n")
    (run / "_SUCCESS").touch()  # as an earlier version left it
    write_report(run, build_report(run))
    assert build_report(run).state == json.loads((run / "report.json").read_text())["state"] == state
    assert (run / "_SUCCESS").exists() == (state == "complete")


def test_a_foreign_report_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1)
    (run / "report.json").write_text('{"state": 1}')
    with pytest.raises(RunFault, match=r"report\.json: not a report"):
        build_report(run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no job.toml"),
        ("name = ", "not as a run wrote it"),
        ("name = 'x'", "not as a run wrote it"),
        ("batchroute = 3", "not as a run wrote it"),
    ],
)
def test_a_directory_of_something_else_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "job.toml").write_text(content)
    with pytest.raises(RunFault, match=message):
        build_report(tmp_path)


def test_the_histogram_is_of_all_scored_rows(tmp_path: Path) -> None:
    values = [0.0, 0.009, 0.01, 0.5, 0.999, 1.0, None]
    scores = [("prompts.jsonl", row, value) for row, value in enumerate(values)]
    report = build_report(write_run(tmp_path / "run", [[ok(3)]], scores=scores, rows=7))
    assert report.score_histogram == [2, 1] + [0] * 48 + [1] + [0] * 48 + [2]
    assert (report.score_quantiles["p0"], report.score_quantiles["p100"]) == (0.0, 1.0)
    assert list(report.score_quantiles) == [f"p{percent}" for percent in range(0, 101, 10)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.sampled_from([0.0, 0.1, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_of_counts_are_those_of_the_values(values: list[int], share: float) -> None:
    counts = {float(value): values.count(value) for value in set(values)}
    assert quantiles(counts, [share]) == [float(np.quantile(values, share, method="inverted_cdf"))]


def test_the_terminal_says_what_is_simulated(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], weak=WEAK_SIMULATED, rows=1)
    shown = _shown(render_report(build_report(run)))
    assert "SIMULATED: the weak side is a built-in fake provider" in shown


def test_the_terminal_report_reads_like_an_invoice(tmp_path: Path) -> None:
    rows = [ok(n, "strong" if n < 100 else "weak", cached_tokens=10) for n in range(1000)]
    scores = [("prompts.jsonl", n, n / 1000) for n in range(1000)]
    shown = _shown(
        render_report(build_report(write_run(tmp_path / "run", [rows], scores=scores, rows=1000), wall_s=90))
    )
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "nightly complete" in lines
    assert "strong big-model 100 10.0 % 100,000 1,000 10,000 0.3000" in lines
    assert "weak small-model 900 90.0 % 900,000 9,000 90,000 0.2700" in lines
    assert "total 1,000 1,000,000 10,000 100,000 0.5700" in lines
    assert "saved against all strong 2.4300 81.0 %" in lines
    assert "saved by routing 2.4285" in lines
    assert "saved by caching 0.0015" in lines
    assert any("^ threshold 0.50000" in line for line in lines)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_terminal_shows_the_scores_that_there_are(tmp_path: Path) -> None:
    scores = [("prompts.jsonl", row, 0.52 + row / 1000) for row in range(100)]
    report = build_report(write_run(tmp_path / "run", [[ok(3)]], scores=scores, rows=100))
    axis = next(line for line in _shown(render_report(report)).splitlines() if " score " in line)
    assert axis.split() == ["0.52", "score", "0.62"]


def test_hostile_names_reach_the_terminal_without_control_characters(tmp_path: Path) -> None:
    evil = "\x1b[2J[bold]x[/bold]\x07[/nope]"
    run = write_run(tmp_path / "run", [[ok(0), refused(1, error_type=evil, model=evil)]], rows=2, name=evil)
    report = build_report(run)
    for shown in (_shown(render_report(report)), _shown(render_comparison(compare([report, report])))):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[/nope]" in shown


def test_a_threshold_above_every_score_is_drawn_at_the_edge(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, "weak", score=1.0)]], rows=1)
    job = (run / "job.toml").read_text().replace("threshold = 0.5", f"threshold = {nextafter(1.0, inf)!r}")
    (run / "job.toml").write_text(job)
    assert "^ threshold 1.00000" in _shown(render_report(build_report(run)))


def _report_with_scores(tmp_path: Path, name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> Report:
    scores = [("prompts.jsonl", row, float(value)) for row, value in enumerate(values)]
    return build_report(write_run(tmp_path / name, [[ok(0)]], scores=scores, rows=len(values)))


def test_runs_are_compared_with_the_first(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    first = _report_with_scores(tmp_path, "mon", random.beta(2, 5, 5000))
    same = _report_with_scores(tmp_path, "tue", random.beta(2, 5, 5000))
    other = _report_with_scores(tmp_path, "wed", random.beta(5, 2, 5000))
    comparison = compare([first, same, other])
    shown = " ".join(_shown(render_comparison(comparison)).split())
    assert "tue against mon: the same kind of prompts" in shown
    assert "wed against mon: other prompts than before" in shown
    assert "mon tue wed" in shown
    written = json.loads(json_text(comparison))
    assert [run["run"] for run in written["runs"]] == ["mon", "tue", "wed"]
    assert written["drifts"][1]["psi"] > 0.25


def test_the_stability_index_by_hand() -> None:
    found = drift([5000, 5000], [4000, 6000])
    assert found is not None
    assert found.psi == pytest.approx(-0.1 * log(0.4 / 0.5) + 0.1 * log(0.6 / 0.5), rel=1e-3)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([500] * 20, [500] * 20, "the same kind of prompts"),
        ([2] * 10 + [0] * 10, [0] * 10 + [2] * 10, "too few rows to tell a change from chance"),
        ([600] * 10 + [400] * 10, [400] * 10 + [600] * 10, "the prompts have shifted somewhat"),
        ([900] * 10 + [100] * 10, [100] * 10 + [900] * 10, "other prompts than before: choose the threshold anew"),
    ],
)
def test_drift_in_words(before: list[int], after: list[int], verdict: str) -> None:
    found = drift(before, after)
    assert found is not None
    assert found.verdict == verdict


def test_bins_that_hardly_any_row_is_in_do_not_count_by_themselves() -> None:
    thin = drift([10_000] + [1] * 50, [10_000] + [0] * 50)
    assert thin is not None
    assert thin.psi == 0


def test_no_scores_no_drift() -> None:
    assert drift([0] * 20, [1] * 20) is None
