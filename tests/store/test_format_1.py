"""A directory of format 1, written by the version that had it, and killed at work: data/format-1.

Its 24 prompts: 12 rows are done, two of them in the journal only; 4, 7, 10 and 13 have failed, the last two in the
journal only; the rest was never asked. It keeps a column `delivery`, which is a name of ours since format 2.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from answers import result
from batchroute.job.load import load_job
from batchroute.report.build import build_report
from batchroute.report.export.files import export_run
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.run.whatif import what_if
from batchroute.store.columns import ResultColumns
from batchroute.store.journal import read_ends, read_journal
from batchroute.store.layout import RunLayout
from batchroute.store.rows import RunStore

if TYPE_CHECKING:
    from batchroute.job.spec import Job

DATA = Path(__file__).parent / "data" / "format-1"
ROWS = 24
DONE = {0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15}
FAILED = {4: 3, 7: 3, 10: 2, 13: 1}  # and how often each was asked
KEEP = pa.schema([("topic", pa.string()), ("delivery", pa.string())])
OPTIONS = RunOptions(environ={})
AGAIN = ["endpoints.strong.max_attempts=9", "endpoints.weak.max_attempts=9", "limits.drain_s=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(DATA, tmp_path / "old")
    return tmp_path / "old"


def job_in(folder: Path, *settings: str) -> Job:
    return load_job(folder / "job.toml", sets=[*AGAIN, *settings], environ=os.environ)


def rows_of(run: Path) -> dict[int, dict[str, Any]]:
    rows = [row for part in RunLayout(run).parts() for row in pq.read_table(part).to_pylist()]
    assert len({row["row"] for row in rows}) == len(rows)
    return {row["row"]: row for row in rows}


def test_its_rows_are_known(folder: Path) -> None:
    store = RunStore(RunLayout(folder / "run"), ResultColumns(KEEP, raw=True, format=1), mode=0o700)
    assert store.tally.done == len(DONE)
    assert len(store.unsettled) == len(FAILED)
    assert {entry.row: entry.attempts for entry in store.failed()} == FAILED


def test_a_run_goes_on_with_it_in_its_format(folder: Path) -> None:
    before = rows_of(folder / "run")
    assert run_job(job_in(folder), OPTIONS).complete
    rows = rows_of(folder / "run")
    assert rows.keys() == set(range(ROWS))
    assert {row: rows[row] for row in before} == before
    assert (rows[12]["attempts"], rows[12]["cost_usd"]) == (2, 5e-05), "of the old journal"
    assert all(rows[row]["attempts"] > asked for row, asked in FAILED.items())
    assert [rows[row]["delivery"] for row in (12, 13, 23)] == ["d12", "d13", "d23"]
    schemas = [pq.read_schema(part) for part in RunLayout(folder / "run").parts()]
    assert len(schemas) > 2
    assert all(schema.equals(ResultColumns(KEEP, raw=True, format=1).schema) for schema in schemas)
    assert tomllib.loads(RunLayout(folder / "run").job.read_text())["batchroute"]["format"] == 1
    unconfirmed_usd = build_report(folder / "run").unconfirmed_usd
    assert unconfirmed_usd is not None
    assert unconfirmed_usd >= 0.001818, "what the killed run had open is unconfirmed"


def test_its_journal_goes_on_in_its_format(folder: Path) -> None:
    """So the version that began it can still take it back."""
    columns = ResultColumns(KEEP, raw=True, format=1)
    store = RunStore(RunLayout(folder / "run"), columns, mode=0o700)
    entry = result(20, cost_usd=0.5, raw="{}", fingerprint=b"f" * 16)
    store.record(entry)
    store.close()
    journal = folder / "run" / "journal-00002"
    last = journal.read_bytes()[-store._journal.bytes :].rindex(b"prompts.jsonl")
    values = msgspec.msgpack.decode(journal.read_bytes()[last - 4 :])
    assert (len(values), values[0], values[1], values[-1]) == (26, "prompts.jsonl", 20, b"f" * 16)
    assert list(read_journal(journal))[-1] == entry
    assert [end.row for end, _ in read_ends(journal)][-1] == 20


def test_it_is_reported(folder: Path) -> None:
    report = build_report(folder / "run")
    assert (report.ok, report.refused, report.failed, report.unsealed) == (11, 1, 4, 2)
    assert report.attempts > len(DONE)


def test_it_is_exported(folder: Path) -> None:
    assert export_run(folder / "run", folder / "out.jsonl") == 10
    first = msgspec.json.decode((folder / "out.jsonl").read_bytes().splitlines()[0])
    assert (first["row"], first["delivery"]) == (0, "d0")
    assert "request_id" not in first


def test_what_another_threshold_would_change_is_reckoned(folder: Path) -> None:
    found = what_if(folder / "run", 0.0)
    assert (found.strong_rows, found.changed_rows) == (15, 3)


def test_a_new_run_takes_its_answers(folder: Path) -> None:
    sealed = rows_of(folder / "run")
    settings = [f'output.path="{folder}/new"', f'input.reuse=["{folder}/run"]']
    assert run_job(job_in(folder, *settings), OPTIONS).complete
    rows = rows_of(folder / "new")
    taken = {row for row, entry in rows.items() if entry["attempts"] == 0 and entry["status"] == "ok"}
    assert taken == {row for row, entry in sealed.items() if entry["status"] == "ok"}
    assert all(rows[row]["response"] == sealed[row]["response"] for row in taken)
    assert {rows[row]["delivery"] for row in taken} == {None}
    assert {rows[row]["delivery"] for row in rows.keys() - taken - {3}} == {"live"}
    assert rows[5]["input_delivery"] == "d5"
