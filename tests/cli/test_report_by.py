"""`report --by`: what stands on a terminal, in the JSON and in the CSV; the figures are report/test_by's."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchroute.store.ledger import Ledger, write_ledger
from command import Said, assert_one_message
from runs import failed, ok, refused, write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMULA = '=HYPERLINK("http://evil.example")'


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    part = [ok(0, topic="law"), ok(1, "weak", topic=FORMULA), refused(2, topic="\x1b[31mred"), ok(3, topic=None)]
    night = write_run(
        tmp_path / "mon", [part], failures=[failed(4, cost_usd=0.25)], extra=[pa.field("topic", pa.string())]
    )
    write_ledger(night / "ledger.json", Ledger(unconfirmed=Decimal("0.05")))
    return [night, write_run(tmp_path / "tue", [[ok(0, cost_usd=None)]])]


def test_a_terminal_has_every_line_and_why(runs: list[Path], batchroute: Callable[..., Said]) -> None:
    said = batchroute("report", *map(str, runs), "--by", "topic", "--top", "1")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    assert max(map(len, said.out.splitlines())) <= 80
    assert ["law", "1", "16.7", "%", "100.0", "%", "0.0030", "1.2", "%"] in lines
    assert ["(2", "other", "values)", "2", "33.3", "%", "50.0", "%", "0.0003", "0.1", "%"] in lines
    assert ["total,", "at", "least", "6", "83.3", "%", "0.2563"] in lines
    assert ["not", "in", "the", "total:", "unconfirmed", "0.0500"] in lines
    assert "\x1b" not in said.out
    for note in (
        "The cost of 1 row is unknown",
        "the shares on the right are of the USD that are known",
        "not on file: failed rows have no kept columns until they are answered, and tue did",
        "unconfirmed: requests that were sent and brought no usage",
        "values that cost most have a line of their own (--top 1)",
    ):
        assert note in said.out.replace("\n", " ")


def test_a_value_that_nobody_would_see_stands_in_quotes(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    part = [ok(0, topic=""), ok(1, topic=" "), ok(2, topic=None)]
    run = write_run(tmp_path / "mon", [part], extra=[pa.field("topic", pa.string())])
    first_words = [
        line.split("  ")[0] for line in batchroute("report", str(run), "--by", "topic").out.splitlines()
    ]
    assert {'""', '" "', "(none)"} <= set(first_words)


def test_the_json_adds_up(runs: list[Path], batchroute: Callable[..., Said]) -> None:
    said = batchroute("report", str(runs[0]), "--by", "topic", "--json")
    bill = json.loads(said.out)
    assert sum(line["cost_usd"] for line in bill["lines"]) == pytest.approx(bill["total_usd"])
    total = json.loads(batchroute("report", str(runs[0]), "--json").out)["total_usd"]
    assert bill["total_usd"] == pytest.approx(total)
    assert [line["value"] for line in bill["lines"] if line["kind"] == "value"][-1] is None


def test_the_csv_adds_up_and_runs_no_formula(
    runs: list[Path], tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    said = batchroute("report", str(runs[0]), "--by", "topic", "--csv", str(tmp_path / "bill.csv"))
    assert (said.code, said.out) == (0, "")
    rows = list(csv.DictReader((tmp_path / "bill.csv").read_text().splitlines()))
    assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(0.2563)
    assert f"'{FORMULA}" in [row["value"] for row in rows]
    assert [row["kind"] for row in rows].count("not_on_file") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--by", "topci"], ("no column 'topci'", "did you mean 'topic'")),
        (["--by", "topic", "--csv", "nowhere/bill.csv"], ("there is no directory nowhere",)),
        (["--top", "3"], ("name the column with --by",)),
        (["--csv", "bill.csv"], ("name the column with --by",)),
    ],
)
def test_what_cannot_be_done_is_one_message(
    runs: list[Path], batchroute: Callable[..., Said], flags: list[str], words: tuple[str, ...]
) -> None:
    assert_one_message(batchroute("report", str(runs[0]), *flags), 2, *words)
