"""Reconciliation: tables as providers export them, the names of models, days, and what each difference may be."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.report.build import build_report
from batchroute.report.export.focus_file import export_focus
from batchroute.report.figures import write_report
from batchroute.report.invoice.cells import Slashed, read_amount, read_count, read_day
from batchroute.report.invoice.compare import reconcile
from batchroute.report.invoice.names import fold_model
from batchroute.report.invoice.table import read_invoice
from batchroute.store.ledger import Ledger, write_ledger
from runs import FINISHED_AT, failed, ok, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.invoice.figures import Line, Reconciliation

OPENAI = 'base_url = "https://api.openai.com/v1"'
DAY = "2026-11-23"
MINI = {"model": "gpt-4.1-mini", "cost_usd": 0.00056}  # 1,000 tokens at 0.4 and 100 at 1.6 dollars a million


def _table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "invoice.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _mini(tmp_path: Path, *rows: dict[str, Any], name: str = "run") -> Path:
    """A run whose weak rows OpenAI's gpt-4.1-mini answered."""
    run = write_run(tmp_path / name, [list(rows)], weak=OPENAI)
    job = run / "job.toml"
    job.write_text(job.read_text().replace("small-model", "gpt-4.1-mini"))
    return run


def _causes(line: Line) -> dict[str, float | None]:
    return {cause.kind: cause.usd if cause.usd is None else round(cause.usd, 6) for cause in line.causes}


# How exports of providers begin, as seen in November 2026; each has one line of 0.003 for `big-model`.
EXPORTS = {
    "openai costs": (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id",
        '1795392000,1795478400,2026-11-23T00:00:00+00:00,x,0.0020000,usd,"big-model-2026-08-07, input",p',
        '1795392000,1795478400,2026-11-23T00:00:00+00:00,x,0.0010000,usd,"big-model-2026-08-07, output",p',
        "1795478400,1795564800,2026-11-24T00:00:00+00:00,x,,,,",
    ),
    "anthropic cost": (
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type",
        "2026-11-23,Big Model,Default,k,message,≤ 200k,input_no_cache,0.002,0.002,token",
        "2026-11-23,Big Model,Default,k,message,≤ 200k,output,0.001,0.001,token",
    ),
    "azure": (
        "Date,MeterCategory,MeterName,Quantity,CostInBillingCurrency,BillingCurrency",
        "11/23/2026,Azure OpenAI,big-model-0807-Inp-glbl Tokens,1,0.002,USD",
        "11/23/2026,Azure OpenAI,big model 0807 Outp glbl Tokens,0.1,0.001,USD",
    ),
    "openrouter": (
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug,provider_name",
        "gen-1,2026-11-23 04:05:06.789,0.003,1000,100,vendor/big-model-2026-08-07,V",
    ),
    "plain": ("date,model,usd", "2026-11-23,big-model,$0.003"),
    "semicolons": ("Datum;Model;Cost (USD)", "23.11.2026;big-model;0,003"),
    "cents": ("day\tmodel\tcost_cents", "20261123\tbig-model\t0.3"),
    "unix": ("start_time,model,cost", "1795392000,big-model,0.003", "Total,,0.003"),
    "with a byte order mark": ("\ufeffdate,model,usd", '"Nov 23, 2026",big-model,0.003'),
}


@pytest.mark.parametrize("lines", EXPORTS.values(), ids=EXPORTS.keys())
def test_exports_are_read_as_they_come(tmp_path: Path, lines: tuple[str, ...]) -> None:
    said = {"date": "Datum"} if lines[0].startswith("Datum") else {}
    said |= {"usd": "Cost (USD)"} if said else {}
    found = reconcile([write_run(tmp_path / "run", [[ok(0)]])], _table(tmp_path, *lines), columns=said)
    assert [(line.day, line.model, line.agrees) for line in found.lines] == [(DAY, "big-model", True)]
    assert (found.theirs_usd, found.ours_usd) == (pytest.approx(0.003), 0.003)
    assert found.lines[0].causes == []


def test_a_focus_file_of_ours_agrees_with_ourselves(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [[ok(0), ok(1, "weak", cached_tokens=300, finished_at=FINISHED_AT.replace(day=24))]]
    )
    export_focus(run, tmp_path / "focus.csv")
    found = reconcile([run], tmp_path / "focus.csv", within_usd=Decimal(0))
    assert [(line.day, line.model) for line in found.lines] == [(DAY, "big-model"), ("2026-11-24", "small-model")]
    assert all(line.theirs_tokens == line.ours_tokens == 1100 for line in found.lines)
    assert found.difference_usd == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("theirs", "ours", "folded"),
    [
        ("gpt-x-2026-08-07", ["gpt-x"], "gpt-x"),
        ("gpt-x-2026-08-07, cached input", ["gpt-x", "gpt-x-mini"], "gpt-x"),
        ("gpt-x-mini-2026-08-07, output", ["gpt-x", "gpt-x-mini"], "gpt-x-mini"),
        ("gpt-x-mini", ["gpt-x"], "gpt-x-mini"),
        ("openai/gpt-x", ["gpt-x"], "gpt-x"),
        ("gpt 4.1 mini 0414 Inp glbl Tokens", ["gpt-4.1", "gpt-4.1-mini"], "gpt-4.1-mini"),
        ("gpt-4.1 Inp Data Zone Tokens", ["gpt-4"], "gpt-4.1 Inp Data Zone Tokens"),
        ("Claude Haiku 4.5", ["claude-haiku-4-5-20251001"], "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5-20251001", ["claude-haiku-4-5"], "claude-haiku-4-5"),
        ("gpt-x-2026-08-07", ["gpt-x-2026-01-01"], "gpt-x-2026-08-07"),
        ("text-embedding-3-small", ["text-embedding-3-large"], "text-embedding-3-small"),
    ],
)
def test_names_of_models(theirs: str, ours: list[str], folded: str) -> None:
    assert fold_model(theirs, ours) == folded


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-23", date(2026, 11, 23)),
        ("2026/11/23", date(2026, 11, 23)),
        ("20261123", date(2026, 11, 23)),
        ("2026-11-23T23:59:59Z", date(2026, 11, 23)),
        ("2026-11-23T23:59:59-05:00", date(2026, 11, 24)),
        ("2026-11-23 04:05:06.789 UTC", date(2026, 11, 23)),
        ("1795392000", date(2026, 11, 23)),
        ("1795392000000", date(2026, 11, 23)),
        ("23.11.2026", date(2026, 11, 23)),
        ("23-Nov-2026", date(2026, 11, 23)),
        ("November 23, 2026", date(2026, 11, 23)),
        ("11/23/2026", Slashed(11, 23, 2026)),
    ],
)
def test_days(text: str, day: date | Slashed) -> None:
    assert read_day(text) == day


@given(st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001  # hypothesis wants them naive
def test_a_moment_is_the_same_day_in_every_form(at: datetime) -> None:
    at = at.replace(tzinfo=UTC, microsecond=0)
    forms = (at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", f"{int(at.timestamp())}", f"{at:%Y%m%d}")
    assert {read_day(form) for form in forms} == {at.date()}


@pytest.mark.parametrize(
    ("text", "comma", "amount"),
    [
        ("$1,234.50", False, "1234.5"),
        ("1.234,50", True, "1234.5"),
        ("-0.5", False, "-0.5"),
        ("1e-05", False, "0.00001"),
        ("0,003", False, "0.003"),
        ("0.003", True, "0.003"),
        ("1,234", False, "1234"),
        ("1,234", True, "1.234"),
        ("1,234,567.8", False, "1234567.8"),
        ("usd 5", False, "5"),
    ],
)
def test_amounts(text: str, comma: bool, amount: str) -> None:
    assert read_amount(text, decimal_comma=comma) == Decimal(amount)


@pytest.mark.parametrize(
    ("text", "count"), [("1,234,567", 1234567), ("1.234", 1234), ("12", 12), ("7.0", 7), ("", None)]
)
def test_counts(text: str, count: int | None) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["", " ", "-", "null"])
def test_an_empty_cell_is_no_amount(text: str) -> None:
    assert read_amount(text) is None


def test_days_with_slashes_are_decided_by_the_file_or_not_at_all(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, finished_at=FINISHED_AT.replace(day=4, month=5))]])
    unclear = _table(tmp_path, "date,model,usd", "04/05/2026,big-model,0.003")
    with pytest.raises(UsageFault, match=r"the date 4/5/2026 may begin with its month or its day: say --dates"):
        reconcile([run], unclear)
    assert reconcile([run], unclear, dates="dmy").agrees
    with pytest.raises(UsageFault, match="it is of 2026-04-05 to 2026-04-05, the runs of 2026-05-04"):
        reconcile([run], unclear, dates="mdy")
    decided = _table(tmp_path, "date,model,usd", "04/05/2026,big-model,0.003", "13/05/2026,big-model,1")
    found = reconcile([run], decided)
    assert found.agrees
    assert found.other_days_usd == 1.0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("when,model,usd", "2026-11-23,big-model,1"), "say which with --columns date=NAME"),
        (("date,model,bill", "2026-11-23,big-model,1"), "no column is an amount"),
        (("date,model,usd", "soon,big-model,1"), "line 2: date is 'soon', which is no date"),
        (("date,model,usd", "2026-11-23,big-model,one"), "line 2: usd is 'one', which is no number"),
        (("date,model,amount,currency", "2026-11-23,big-model,1,EUR"), "the amount is in EUR"),
        (("date,model,usd",), "no line has a date and an amount"),
        (("date,model,usd", "2026-11-23,other,1"), "none of its models .other. is one of the runs. .big-model."),
        (
            ("date,model,usd", "2026-10-23,big-model,1"),
            "it is of 2026-10-23 to 2026-10-23, the runs of 2026-11-23",
        ),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]])
    with pytest.raises(UsageFault, match=words):
        reconcile([run], _table(tmp_path, *lines))


def test_the_model_is_whatever_column_names_one(tmp_path: Path) -> None:
    lines = ("date,model,line_item,usd", f'{DAY},,"big-model-2026-08-07, input",0.002', f"{DAY},big-model,,0.001")
    found = reconcile([write_run(tmp_path / "run", [[ok(0)]])], _table(tmp_path, *lines))
    assert [(line.model, line.agrees) for line in found.lines] == [("big-model", True)]


def test_columns_that_are_said(tmp_path: Path) -> None:
    run, table = write_run(tmp_path / "run", [[ok(0)]]), _table(tmp_path, "a,b,c", "2026-11-23,big-model,0.003")
    assert reconcile([run], table, columns={"date": "a", "model": "b", "usd": "c"}).agrees
    with pytest.raises(UsageFault, match="the file has no such column; did you mean"):
        reconcile([run], table, columns={"date": "A"})
    with pytest.raises(UsageFault, match="must be one of date, model"):
        reconcile([run], table, columns={"dat": "a"})


def test_missing_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]])
    with pytest.raises(UsageFault, match="cannot be read as CSV"):
        reconcile([run], tmp_path / "nowhere.csv")
    (tmp_path / "bad.csv").write_bytes(b"date,model,usd\n\xff\xfe")
    with pytest.raises(UsageFault, match="cannot be read as CSV"):
        read_invoice(tmp_path / "bad.csv", columns={})


def _weak_line(found: Reconciliation) -> Line:
    return next(line for line in found.lines if line.model == "gpt-4.1-mini")


def test_others_on_the_same_key(tmp_path: Path) -> None:
    run = _mini(tmp_path, ok(0, "weak", **MINI))
    table = _table(
        tmp_path, "date,model,usd,input_tokens,output_tokens", f"{DAY},gpt-4.1-mini,1.00056,2501000,100"
    )
    line = _weak_line(reconcile([run], table))
    assert (line.difference_usd, line.theirs_tokens, line.ours_tokens) == (pytest.approx(1.0), 2501100, 1100)
    assert _causes(line) == {"more_usage": 1.0}


def test_tokens_alone_are_compared_where_there_are_no_amounts(tmp_path: Path) -> None:
    run, head = _mini(tmp_path, ok(0, "weak", **MINI)), "start_time_iso,model,input_tokens,output_tokens"
    found = reconcile([run], _table(tmp_path, head, f"{DAY}T00:00:00Z,gpt-4.1-mini-2025-04-14,1000,100"))
    assert (found.agrees, found.theirs_usd, found.difference_usd) == (True, None, None)
    found = reconcile([run], _table(tmp_path, head, f"{DAY}T00:00:00Z,gpt-4.1-mini-2025-04-14,500,100"))
    assert not found.agrees
    assert _causes(_weak_line(found)) == {"less_usage": -0.0002}


def test_anthropic_counts_what_a_cache_had_beside_the_rest(tmp_path: Path) -> None:
    head = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
    head += "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens"
    table = read_invoice(_table(tmp_path, head, f"{DAY},claude-x,100,20,3,877,100"), columns={})
    (billed,) = table.billed.values()
    assert (billed.prompt, billed.output, billed.usd) == (1000, 100, None)


def test_an_older_price(tmp_path: Path) -> None:
    run = _mini(tmp_path, *(ok(row, "weak", **MINI | {"cost_usd": 0.001}) for row in range(100)))
    line = _weak_line(reconcile([run], _table(tmp_path, "date,model,usd", f"{DAY},gpt-4.1-mini,0.056")))
    assert _causes(line) == {"older_price": pytest.approx(-0.044), "less_usage": None}


def test_cache_writes_a_tier_and_another_model(tmp_path: Path) -> None:
    tiers = "tiers = { flex = { input = 1.0, output = 5.0 } }"
    price = f"price = {{ input = 2.0, output = 10.0, cache_write = 2.5, {tiers} }}"
    weak = f'base_url = "https://weak.example/v1"\n{price}'
    rows = [
        ok(0, "weak", prompt_tokens=10**6, cache_write_tokens=10**6, cost_usd=2.501),
        ok(1, "weak", prompt_tokens=10**6, service_tier="flex", cost_usd=1.0005),
    ]
    run = write_run(tmp_path / "run", [rows], weak=weak)
    head = "date,model,usd"
    (lower,) = reconcile([run], _table(tmp_path, head, f"{DAY},small-model,3.0015")).lines
    assert _causes(lower) == {"cache_writes": -0.5, "less_usage": None}
    (higher,) = reconcile([run], _table(tmp_path, head, f"{DAY},small-model,4.502")).lines
    assert _causes(higher) == {"tier": 1.0005, "more_usage": None}


def test_another_model_that_answered(tmp_path: Path) -> None:
    run = _mini(
        tmp_path, ok(0, "weak", **MINI | {"served_model": "gpt-4.1", "prompt_tokens": 10**6, "cost_usd": 2.0008})
    )
    table = _table(tmp_path, "date,model,usd", f"{DAY},gpt-4.1,0.40016", f"{DAY},gpt-4.1-mini,0")
    line = next(line for line in reconcile([run], table).lines if line.model == "gpt-4.1")
    assert _causes(line)["other_model"] == pytest.approx(0.40016 - 2.0008, abs=1e-6)


def test_days_that_are_not_those_of_utc(tmp_path: Path) -> None:
    rows = [ok(0, cost_usd=1.0), ok(1, cost_usd=1.0, finished_at=FINISHED_AT.replace(day=24))]
    run = write_run(tmp_path / "run", [rows])
    lines = (f"{DAY},big-model,1.4", "2026-11-24,big-model,0.6")
    first, second = reconcile([run], _table(tmp_path, "date,model,usd", *lines)).lines
    assert (_causes(first)["day_edge"], _causes(second)["day_edge"]) == (pytest.approx(0.4), pytest.approx(-0.4))


def _nights(tmp_path: Path, usd: dict[int, float]) -> Path:
    """A run with one row of strong's a day of November."""
    rows = [ok(day, cost_usd=cost, finished_at=FINISHED_AT.replace(day=day, hour=2)) for day, cost in usd.items()]
    return write_run(tmp_path / "nights", [rows])


@pytest.mark.parametrize("days", [-1, 1])
def test_an_invoice_whose_days_are_another_time_zones_fits_a_day_later(tmp_path: Path, days: int) -> None:
    usd = {day: 0.5 + day % 3 for day in range(20, 27)}
    lines = [f"2026-11-{day + days},big-model,{cost}" for day, cost in usd.items()]
    found = reconcile([_nights(tmp_path, usd)], _table(tmp_path, "date,model,usd", *lines))
    (cause,) = found.causes
    lost = usd[20] if days < 0 else usd[26]
    assert (cause.kind, cause.usd) == ("day_edge", pytest.approx(-lost))
    assert ("next" if days < 0 else "previous") in cause.words


def test_a_day_that_the_invoice_lacks_is_all_that_is_said_of_it(tmp_path: Path) -> None:
    run = _nights(tmp_path, {20: 1.0, 21: 1.5, 22: 1.0})
    lines = ("2026-11-20,big-model,1", "2026-11-22,big-model,1")
    found = reconcile([run], _table(tmp_path, "date,model,usd", *lines))
    assert [_causes(line) for line in found.lines] == [{}, {"less_usage": -1.5}, {}]
    assert "nothing of this day" in found.lines[1].causes[0].words
    assert found.causes == []


def test_amounts_in_cents_are_told_by_the_whole_invoice(tmp_path: Path) -> None:
    run = _nights(tmp_path, {20: 1.0, 21: 1.5, 22: 1.0})
    lines = ("2026-11-20,big-model,101", "2026-11-21,big-model,150", "2026-11-22,big-model,100")
    found = reconcile([run], _table(tmp_path, "date,model,usd", *lines))
    assert [(cause.kind, cause.usd) for cause in found.causes] == [("cents", pytest.approx(351 * 0.99))]
    assert reconcile([run], tmp_path / "invoice.csv", columns={"cents": "usd"}).difference_usd == pytest.approx(
        0.01
    )


def test_lines_that_the_file_has_twice(tmp_path: Path) -> None:
    run = _nights(tmp_path, {20: 1.0, 21: 1.0})
    lines = ("2026-11-20,big-model,1", "2026-11-20,big-model,1", "2026-11-21,big-model,2")
    first, second = reconcile([run], _table(tmp_path, "date,model,usd", *lines)).lines
    assert (_causes(first)["twice"], "twice" in _causes(second)) == (1.0, False)


def test_without_amounts_no_price_is_a_cause(tmp_path: Path) -> None:
    rows = [ok(0, "weak", service_tier="flex", **MINI)]
    head = "start_time_iso,model,input_tokens,output_tokens"
    (line,) = reconcile([_mini(tmp_path, *rows)], _table(tmp_path, head, f"{DAY},gpt-4.1-mini,2000,100")).lines
    assert set(_causes(line)) == {"more_usage"}


def test_amounts_that_are_rounded(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(row, cost_usd=0.0149) for row in range(4)]])
    lines = [f"{DAY},big-model,0.01"] * 4
    (line,) = reconcile([run], _table(tmp_path, "date,model,usd", *lines)).lines
    assert _causes(line)["rounding"] == -0.02


def test_a_whole_amount_among_finer_ones_is_not_taken_for_rounded(tmp_path: Path) -> None:
    rows = [ok(0, cost_usd=0.7), ok(1, "weak", cost_usd=0.1234)]
    lines = (f"{DAY},big-model,1", f"{DAY},small-model,0.1234")
    line, _ = reconcile([write_run(tmp_path / "run", [rows])], _table(tmp_path, "date,model,usd", *lines)).lines
    assert "rounding" not in _causes(line)


def test_rows_of_unknown_cost_and_unconfirmed_requests(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, cost_usd=None)], [ok(2, "weak", cost_usd=None)]])
    write_ledger(run / "ledger.json", Ledger(unconfirmed=Decimal("0.05")))
    lines = (f"{DAY},big-model,1", f"{DAY},small-model,1")
    found = reconcile([run], _table(tmp_path, "date,model,usd", *lines))
    big, small = found.lines
    assert (_causes(big)["unknown_cost"], big.ours_usd) == (None, 0.003)
    assert (small.ours_usd, small.difference_usd, small.agrees) == (None, None, False)
    assert [(cause.kind, cause.usd) for cause in found.causes] == [("unconfirmed", 0.05)]


def test_what_is_not_compared_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak")]])
    lines = (f"{DAY},big-model,0.003", f"{DAY},someone-else,5", "2026-11-20,big-model,7")
    found = reconcile([run], _table(tmp_path, "date,model,usd", *lines))
    assert [line.model for line in found.lines] == ["big-model"]
    assert (found.agrees, found.other_models_usd, found.other_days_usd) == (True, 5.0, 7.0)
    assert found.not_invoiced_usd == {"small-model": 0.0003}


def test_an_invoice_without_models_is_compared_by_day(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak")]])
    found = reconcile([run], _table(tmp_path, "date,usd", f"{DAY},0.0033"), within_usd=Decimal("1e-9"))
    assert [(line.model, line.agrees) for line in found.lines] == [("all models", True)]


def test_several_runs_are_summed_and_what_an_invoice_lacks_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [[ok(0, cost_usd=1.0)]]) for name in ("one", "two")]
    late = write_run(tmp_path / "late", [[ok(0, cost_usd=1.0, finished_at=FINISHED_AT.replace(day=24))]])
    found = reconcile([*runs, late, runs[0]], _table(tmp_path, "date,model,usd", f"{DAY},big-model,2"))
    assert [(line.theirs_usd, line.ours_usd, line.agrees) for line in found.lines] == [(2, 2, True), (0, 1, False)]
    assert found.runs == ["one", "two", "late"]


def test_embeddings_have_a_line_over_all_days(tmp_path: Path) -> None:
    run = _mini(tmp_path, ok(0, "weak", **MINI))
    asks = 'use = "openai"\nmodel = "text-embedding-3-small"\nbase_url = "https://api.openai.com/v1"'
    (run / "job.toml").write_text((run / "job.toml").read_text().replace('use = "builtin"', asks))
    write_report(run, msgspec.structs.replace(build_report(run), router_cost_usd=0.5))
    lines = (f"{DAY},gpt-4.1-mini,0.00056", f"{DAY},text-embedding-3-small,0.5")
    found = reconcile([run], _table(tmp_path, "date,model,usd", *lines))
    assert [(line.day, line.ours_usd, line.agrees) for line in found.lines] == [
        (DAY, 0.00056, True),
        (None, 0.5, True),
    ]


def test_a_run_that_was_billed_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[]], failures=[failed(0)])
    with pytest.raises(UsageFault, match="nothing has been billed"):
        reconcile([run], _table(tmp_path, "date,model,usd", f"{DAY},big-model,1"))


_COST = st.tuples(st.sampled_from(["strong", "weak"]), st.integers(20, 24), st.integers(0, 10**6))


@settings(max_examples=30)
@given(st.lists(_COST, min_size=1, max_size=8), st.integers(-(10**6), 10**6))
def test_the_lines_add_up_to_both_bills(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int, int]], more: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    rows = [
        ok(number, side, cost_usd=micros / 1e6, finished_at=FINISHED_AT.replace(day=day))
        for number, (side, day, micros) in enumerate(drawn)
    ]
    run = write_run(folder / "run", [rows])
    lines = [f"2026-11-{row['finished_at'].day},{row['model']}-2026-08-07,{row['cost_usd']:.6f}" for row in rows]
    lines[0] = lines[0].rpartition(",")[0] + f",{rows[0]['cost_usd'] + more / 1e6:.6f}"
    found = reconcile([run], _table(folder, "date,model,usd", *lines), within_usd=Decimal("1e-6"))
    invoiced = {row["model"] for row in rows}
    assert {line.model for line in found.lines} == invoiced
    assert found.ours_usd == pytest.approx(build_report(run).total_usd)
    assert found.difference_usd == pytest.approx(more / 1e6, abs=1e-6)
    assert sum(not line.agrees for line in found.lines) == (abs(more) > 1)
