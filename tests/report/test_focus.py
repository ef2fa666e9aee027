"""`export --focus`. The names and rules are those of the FOCUS specification, version 1.2, Cost and Usage."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.report.build import build_report
from batchroute.report.export.focus_file import export_focus
from batchroute.report.figures import write_report
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotRecord, PilotStore
from runs import FINISHED_AT, WEAK_SIMULATED, failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from pathlib import Path

MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
NEVER_NULL = (MANDATORY - {"BillingAccountName", "ChargeClass"}) | {"SkuId", "SkuPriceId", "PricingCategory"}
NUMBER = re.compile(r"\d+\.\d+")
WEAK_TABLED = 'base_url = "https://api.openai.com/v1"'


def _export(run: Path, **options: Any) -> list[dict[str, Any]]:
    out = run.parent / f"{run.name}.parquet"
    written = export_focus(run, out, **options)
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    assert len(rows) == written
    return rows


def test_a_row_by_hand(tmp_path: Path) -> None:
    # 1,000 tokens in, 400 of them cached, and 100 out, at 2, 0.5 and 10 dollars a million.
    cost = (600 * 2 + 400 * 0.5 + 100 * 10) / 1e6
    run = write_run(tmp_path / "night", [[ok(0, cached_tokens=400, cost_usd=cost)]], rows=1)
    rows = _export(run)
    assert [row["SkuMeter"] for row in rows] == ["Input Tokens", "Cache Read Input Tokens", "Output Tokens"]
    assert [row["BilledCost"] for row in rows] == [Decimal("0.0012"), Decimal("0.0002"), Decimal("0.001")]
    assert rows[0] | {"BilledCost": None} == dict.fromkeys(rows[0]) | {
        "BillingAccountId": "strong.example",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 11, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 12, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeDescription": "Input Tokens of big-model, standard tier",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 11, 23, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 11, 24, tzinfo=UTC),
        "ConsumedQuantity": 600,
        "ConsumedUnit": "Tokens",
        "ContractedCost": Decimal("0.0012"),
        "EffectiveCost": Decimal("0.0012"),
        "InvoiceIssuerName": "strong.example",
        "ListCost": Decimal("0.0012"),
        "ListUnitPrice": 2,
        "PricingCategory": "Standard",
        "PricingQuantity": Decimal("0.0006"),
        "PricingUnit": "1000000 Tokens",
        "ProviderName": "strong.example",
        "PublisherName": "strong.example",
        "ResourceId": "big-model",
        "ResourceName": "big-model",
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "strong.example API",
        "ServiceSubcategory": "Generative AI",
        "SkuId": "big-model/standard/Input",
        "SkuMeter": "Input Tokens",
        "SkuPriceDetails": '{"x_Model":"big-model","x_ServiceTier":"standard","x_TokenType":"Input"}',
        "SkuPriceId": "big-model/standard/Input",
        "Tags": '{"batchroute:job":"nightly","batchroute:route":"strong","batchroute:run":"night"}',
    }


def test_what_was_billed_beyond_the_price_is_dealt_out_to_the_last_digit(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [[ok(0, attempts=2, cost_usd=0.01)]], failures=[failed(1, "weak", cost_usd=0.25)]
    )
    rows = _export(run)
    assert sum(row["BilledCost"] for row in rows) == Decimal("0.26")
    assert {row["SkuMeter"]: row["ConsumedUnit"] for row in rows} == {
        "Input Tokens": "Tokens",
        "Output Tokens": "Tokens",
        "Requests": "Requests",
    }
    assert sum(row["ListCost"] for row in rows) == Decimal("0.003") + Decimal("0.25")


def test_tiers_versions_and_other_models_are_skus_of_their_own(tmp_path: Path) -> None:
    part = [
        ok(0, "weak", served_model="small-model-2026-08-07"),
        ok(1, "weak", service_tier="default"),
        ok(2, "weak", service_tier="flex"),
        ok(3, "weak", served_model="another-model"),
    ]
    rows = _export(write_run(tmp_path / "run", [part]))
    assert {row["SkuId"]: int(row["ConsumedQuantity"]) for row in rows if row["SkuMeter"] == "Input Tokens"} == {
        "small-model/standard/Input": 2000,
        "small-model/flex/Input": 1000,
        "another-model/standard/Input": 1000,
    }


def test_the_table_s_price_and_who_sends_the_bill(tmp_path: Path) -> None:
    part = [ok(0, "weak", model="gpt-4.1-mini", cost_usd=0.00056)]
    rows = _export(write_run(tmp_path / "run", [part], weak=WEAK_TABLED.replace("weak", "gpt-4.1-mini")))
    assert {row["ProviderName"] for row in rows} == {"OpenAI"}
    assert {row["BillingAccountId"] for row in rows} == {"api.openai.com"}
    assert [row["ListUnitPrice"] for row in rows] == [Decimal("0.4"), Decimal("1.6")]


def test_days_and_months_are_those_of_utc(tmp_path: Path) -> None:
    part = [
        ok(0, finished_at=datetime(2026, 12, 31, 23, 59, tzinfo=UTC)),
        ok(1, finished_at=datetime(2027, 1, 1, tzinfo=UTC)),
    ]
    rows = _export(write_run(tmp_path / "run", [part], failures=[failed(2, "weak", cost_usd=0.5)]))
    months = {
        (f"{row['ChargePeriodStart']:%F}", f"{row['BillingPeriodStart']:%F}", f"{row['BillingPeriodEnd']:%F}")
        for row in rows
    }
    assert months == {("2026-12-31", "2026-12-01", "2027-01-01"), ("2027-01-01", "2027-01-01", "2027-02-01")}
    assert rows[-1]["SkuMeter"] == "Requests", "a line of failed.jsonl without a day counts on the run's last"


def test_a_kept_column_as_a_tag(tmp_path: Path) -> None:
    part = [ok(0, topic="law"), ok(1, topic="art"), ok(2, topic="law"), ok(3, topic=None)]
    rows = _export(
        write_run(tmp_path / "run", [part], extra=[pa.field("topic", pa.string())]), tag="topic", account="acme"
    )
    tagged = [(json.loads(row["Tags"]).get("topic"), row["ConsumedQuantity"]) for row in rows]
    assert tagged == [(None, 1000), (None, 100), ("art", 1000), ("art", 100), ("law", 2000), ("law", 200)]
    assert {row["BillingAccountId"] for row in rows} == {"acme"}


def test_what_is_unknown_or_made_up_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = [ok(0), ok(1, cost_usd=None), ok(2, "weak")]
    rows = _export(write_run(tmp_path / "run", [part], weak=WEAK_SIMULATED))
    assert sum(row["ConsumedQuantity"] for row in rows if row["ProviderName"] != "SIMULATED") == 1100
    assert "may not be null: 1" in caplog.text
    assert "the money of weak is made up" in caplog.text


def test_the_router_has_a_row(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, finished_at=FINISHED_AT.replace(day=25))]])
    job = (run / "job.toml").read_text()
    asks = 'use = "openai"\nmodel = "text-embedding-3-small"\nbase_url = "https://api.openai.com/v1"'
    (run / "job.toml").write_text(job.replace('use = "builtin"', asks))
    write_report(run, msgspec.structs.replace(build_report(run), router_cost_usd=0.75))
    rows = _export(run)
    assert sum(row["BilledCost"] for row in rows) == Decimal("0.756")
    assert (rows[-1]["ProviderName"], rows[-1]["SkuMeter"]) == ("OpenAI", "Embeddings")
    assert (f"{rows[-1]['ChargePeriodStart']:%F}", f"{rows[-1]['ChargePeriodEnd']:%F}") == (
        "2026-11-23",
        "2026-11-26",
    )


def test_a_pilot_has_rows_by_who_billed_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One strong answer was taken by its row; the other one, a weak one, a watched one and a verdict were not."""
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak")]], rows=2)
    job = run / "job.toml"
    judge = '[pilot.endpoint]\nmodel = "judge-model"\nbase_url = "https://judge.example/v1"\n\n[router.embedder]'
    job.write_text(job.read_text().replace("[router.embedder]", judge))
    store = PilotStore(RunLayout(run), mode=0o700)
    for kind, route, row, usd in (
        ("pilot", "strong", 0, 0.003),
        ("pilot", "weak", 0, 0.0005),
        ("pilot", "strong", 1, 0.02),
        ("watch", "strong", 2, 0.01),
        ("verdict", "points", 0, 0.04),
    ):
        store.put(PilotRecord(kind, route, "prompts.jsonl", row, cost_usd=usd))  # type: ignore[arg-type]
    store.take("strong", "prompts.jsonl", 0, attempts=0)
    store.close()
    rows = [row for row in _export(run) if row["SkuMeter"].startswith(("Pilot", "Verdict"))]
    assert {(row["ResourceName"], row["SkuMeter"]): row["BilledCost"] for row in rows} == {
        ("big-model", "Pilot Answers"): Decimal("0.03"),
        ("small-model", "Pilot Answers"): Decimal("0.0005"),
        ("judge-model", "Verdicts"): Decimal("0.04"),
    }
    assert float(sum(row["BilledCost"] for row in _export(run))) == pytest.approx(build_report(run).total_usd)
    assert not caplog.messages


def test_csv_has_plain_numbers_and_times(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0, model="=evil()", cost_usd=1e-7)]])
    export_focus(run, tmp_path / "bill.csv")
    rows = list(csv.DictReader((tmp_path / "bill.csv").read_text().splitlines()))
    for row in rows:
        assert re.fullmatch(r"2026-11-2[34]T00:00:00Z", row["ChargePeriodStart"])
        assert all(NUMBER.fullmatch(row[name]) for name in ("BilledCost", "ListCost", "ConsumedQuantity"))
        assert row["SkuId"].startswith("'=evil()/")
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("1e-7")


@pytest.mark.parametrize(
    ("out", "tag", "words"),
    [
        ("bill.jsonl", None, "name .parquet or .csv"),
        ("bill.csv", "topci", "did you mean 'topic'"),
        ("nowhere/bill.csv", None, "create it first"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, out: str, tag: str | None, words: str) -> None:
    run = write_run(tmp_path / "run", [[ok(0, topic="law")]], extra=[pa.field("topic", pa.string())])
    with pytest.raises(UsageFault, match=words):
        export_focus(run, tmp_path / out, tag=tag)


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(["strong", "weak"]),
            "end": st.sampled_from(["ok", "refused", "failed", "open", "reused"]),
            "prompt_tokens": st.none() | st.integers(0, 10**6),
            "cached_tokens": st.none() | st.integers(0, 10**6),
            "cache_write_tokens": st.none() | st.integers(0, 10**6),
            "completion_tokens": st.none() | st.integers(0, 10**5),
            "cost_usd": st.none() | st.floats(1e-9, 1000) | st.just(0.0),
            "service_tier": st.sampled_from(["flex", "default", "priority", None]),
            "served_model": st.sampled_from(["small-model-2026-08-07", "gpt-4.1-mini", None]),
        }
    ),
    max_size=8,
)


def _row(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    columns = {name: value for name, value in drawn.items() if name not in {"side", "end"}}
    if drawn["end"] == "refused":
        return refused(number, drawn["side"])
    if drawn["end"] == "reused":
        return ok(number, drawn["side"], **columns | {"cost_usd": 0.0, "attempts": 0})
    return ok(number, drawn["side"], **columns, status=drawn["end"])


@settings(max_examples=40)
@given(_ROWS)
def test_the_rows_are_the_bill(tmp_path_factory: pytest.TempPathFactory, drawn: list[dict[str, Any]]) -> None:
    rows = [_row(number, each) for number, each in enumerate(drawn)]
    run = write_run(
        tmp_path_factory.mktemp("runs") / "run", [[row for row in rows if row["status"] in {"ok", "refused"}]]
    )
    write_journal(run, 7, [row for row in rows if row["status"] not in {"ok", "refused"}])
    found, report = _export(run), build_report(run)
    assert float(sum(row["BilledCost"] for row in found)) == pytest.approx(report.total_usd or 0.0, abs=1e-9)
    for row in found:
        assert all(row[name] is not None for name in NEVER_NULL)
        assert row["BilledCost"] >= 0
        assert row["ConsumedQuantity"] > 0
        if row["ListUnitPrice"] is not None:
            assert row["ListUnitPrice"] * row["PricingQuantity"] == row["ListCost"]
        assert row.keys() >= MANDATORY
