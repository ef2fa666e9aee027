"""Everything that reads a run directory, over one that is cut into shards: as over one that is not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from batchroute.errors import Stopped
from batchroute.python.rows import rows_of
from batchroute.report.build import build_report
from batchroute.report.by import spending_by
from batchroute.report.daily import daily_sums
from batchroute.report.details import read_details
from batchroute.report.export.files import export_run
from batchroute.report.export.focus_file import export_focus
from batchroute.report.invoice.sides import read_runs
from batchroute.report.read import scan_rows
from batchroute.report.standing import standing_of
from batchroute.run.calibrate import calibrate_job
from batchroute.run.engine import run_job
from batchroute.run.kept import kept_scores
from batchroute.run.open import open_input
from batchroute.run.options import RunOptions
from batchroute.run.plan import plan_job
from batchroute.run.whatif import share_of_run, what_if
from batchroute.send.reuse import answered_parts
from batchroute.store.layout import RunLayout
from batchroute.store.ledger import Ledger, write_ledger
from batchroute.store.sharded import Share
from batchroute.store.unconfirmed import read_unconfirmed, spent_in
from batchroute.store.unsealed import has_answers
from inputs import lines
from jobs import job_of, on_both, simulated

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.job.spec import Job

FILES = 5
ROWS = 60
SHARES = 3
NAMES = ("whole", "shares")
# What hangs on the clock, on the name of the run, or on how many processes worked on it.
_OWN = {"run", "wall_s", "latency_s", "rows_per_s", "lanes", "engine"}


def prompt(row: int) -> str | None:
    """Of every seventh row none: it is refused."""
    return f"question {row} " + "x" * (row * 37 % 900) if row % 7 else None


def job_at(folder: Path, name: str) -> Job:
    changes = {
        "input.path": [str(folder / f"prompts-{number}.jsonl") for number in range(FILES)],
        "input.keep": ["topic"],
        "limits.max_cost_usd": 5.0,
        "routing": {"strong_fraction": 0.3},
        **simulated(latency_s=0.0),
        **on_both("params", {"max_tokens": 400}),
    }
    return job_of(folder / "prompts-0.jsonl", folder / name, changes)


def share_of(folder: Path, index: int) -> None:
    run_job(job_at(folder, "shares"), RunOptions(environ={}, share=Share(index, SHARES)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows, run in one go as `whole`, and by three processes, each after the other, as `shares`.

    The first two score their shards, and can ask nothing until the third one has scored the others.
    """
    folder = tmp_path_factory.mktemp("runs")
    for number in range(FILES):
        rows = range(number * ROWS, (number + 1) * ROWS)
        lines(
            folder / f"prompts-{number}.jsonl", *({"prompt": prompt(row), "topic": f"t{row % 3}"} for row in rows)
        )
    run_job(job_at(folder, "whole"), RunOptions(environ={}))
    for index in (0, 1):
        with pytest.raises(Stopped, match=r"scores of shards? .* are missing"):
            share_of(folder, index)
    for index in (2, 1, 0):
        share_of(folder, index)
    return folder


def without(values: Any, names: set[str]) -> Any:
    """JSON values without these keys, and with numbers that the order of a sum does not change."""
    match values:
        case dict():
            return {key: without(value, names) for key, value in values.items() if key not in names}
        case list() | tuple():
            return [without(value, names) for value in values]
        case Decimal() | float():
            return pytest.approx(float(values))
        case _:
            return values


def plain(value: Any, *names: str) -> Any:
    return without(msgspec.to_builtins(value, builtin_types=[Decimal], enc_hook=str), {*_OWN, *names})


def test_the_report_is_the_same(runs: Path) -> None:
    whole, shares = (json.loads((runs / name / "report.json").read_bytes()) for name in NAMES)
    assert len(RunLayout(runs / "shares").parts()) == FILES
    assert without(shares, _OWN) == without(whole, _OWN)
    assert plain(build_report(runs / "shares")) == plain(build_report(runs / "whole"))
    assert (whole["state"], whole["rows"], whole["threshold"]) == ("refusals", FILES * ROWS, shares["threshold"])


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_an_export_is_the_same(runs: Path, ending: str) -> None:
    for name in NAMES:
        assert export_run(runs / name, runs / f"{name}.{ending}") == FILES * ROWS
    whole, shares = (_read(runs / f"{name}.{ending}") for name in NAMES)
    assert_frame_equal(shares, whole, check_exact=True)


def _read(path: Path) -> pl.DataFrame:
    read = {"jsonl": pl.read_ndjson, "csv": pl.read_csv, "parquet": pl.read_parquet}[path.suffix[1:]]
    return read(path).drop("finished_at", "latency_s", "request_id", strict=False)


def test_so_is_what_is_told_of_its_rows(runs: Path) -> None:
    whole, shares = (runs / name for name in NAMES)
    timed = ("finished_at", "latency_s", "request_id")
    assert_frame_equal(rows_of(shares).drop(timed, strict=False), rows_of(whole).drop(timed, strict=False))
    assert plain(spending_by([shares], "topic"), "runs") == plain(spending_by([whole], "topic"), "runs")
    assert plain(daily_sums(shares)) == plain(daily_sums(whole))
    details = [read_details(run, samples=5) for run in (shares, whole)]
    ties = ("timeline", "most_expensive")  # whichever part comes first has the first of equal rows
    assert plain(details[0], *ties) == plain(details[1], *ties)
    dear = [[row.cost_usd for row in each.most_expensive] for each in details]
    assert dear[0] == dear[1]
    assert plain(read_runs([shares]), "names") == plain(read_runs([whole]), "names")
    for name in NAMES:
        export_focus(runs / name, runs / f"{name}-focus.csv")
    assert plain(standing_of(shares), "name", "as_of") == plain(standing_of(whole), "name", "as_of")


def test_so_is_what_follows_from_its_scores(runs: Path) -> None:
    whole, shares = (runs / name for name in NAMES)
    assert share_of_run(shares, 0.4) == share_of_run(whole, 0.4)
    assert plain(what_if(shares, 0.4)) == plain(what_if(whole, 0.4))
    shares_above = [calibrate_job(job_at(runs, name), 0.4, None, lambda rows: None) for name in NAMES]
    assert shares_above[1] == shares_above[0]
    plans = [plan_job(job_at(runs, name)) for name in NAMES]
    assert plain(plans[1], "time_s") == plain(plans[0], "time_s")
    kept = [kept_scores(job, open_input(job.input, job.router, None)) for job in (job_at(runs, n) for n in NAMES)]
    assert [sum(part.rows for part in parts) for parts in kept] == [FILES * ROWS] * 2
    assert has_answers(RunLayout(shares))
    answers = [answered_parts([str(run)], runs / "other", raw=False).answers for run in (whole, shares)]
    assert answers[0] == answers[1] > 0


def test_a_ledger_that_a_dead_process_left_open_is_reconciled_with_its_own_shard(runs: Path) -> None:
    shards = [RunLayout(runs / "shares", number) for number in range(FILES)]
    spent = [spent_in(shard) for shard in shards]
    total = scan_rows(runs / "shares").settled.collect()["cost_usd"].sum()
    assert float(sum(spent)) == pytest.approx(total)
    kept = [shard.ledger.read_bytes() for shard in shards]
    try:
        write_ledger(shards[1].ledger, Ledger(Decimal("0.25")))
        write_ledger(shards[3].ledger, Ledger(Decimal("0.01"), ceiling=spent[3] + Decimal("0.5"), unpriced=2))
        found = read_unconfirmed(runs / "shares", Decimal(repr(total)))
        assert found is not None
        assert (found.usd, found.unpriced) == (Decimal("0.75"), 2)
    finally:
        for shard, content in zip(shards, kept, strict=True):
            shard.ledger.write_bytes(content)
