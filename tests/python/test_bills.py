"""The bill from Python: by a column, for finance tools, beside a provider's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import batchroute as br
from runs import ok, write_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "night", [[ok(0, topic="law")]], rows=1, extra=[pa.field("topic", pa.string())])


def test_a_bill_of_ours_is_read_back(run: Path, tmp_path: Path) -> None:
    assert br.report_by("topic", str(run)).total_usd == 0.003
    assert br.export_focus(str(run), tmp_path / "bill.csv", tag="topic") == 2
    found = br.reconcile(run, invoice=str(tmp_path / "bill.csv"), within_usd=0)
    assert found.agrees
    assert found.theirs_usd == pytest.approx(0.003)


def test_what_is_not_said_is_asked_for(run: Path, tmp_path: Path) -> None:
    with pytest.raises(br.UsageFault, match="name the runs"):
        br.reconcile(invoice=tmp_path / "bill.csv")
    with pytest.raises(br.UsageFault, match="within_usd = -1: must be an amount"):
        br.reconcile(run, invoice=tmp_path / "bill.csv", within_usd=-1)
