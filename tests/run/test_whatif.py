"""A run at another threshold, against going through its rows one by one, and against really running it there."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.report.build import build_report
from batchroute.run.whatif import what_if
from command import assert_one_message
from jobs import on_both, simulated, write_job
from runs import failed, ok, refused, write_journal, write_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

PRICES = {"strong": (2.0, 0.5, 10.0), "weak": (0.2, 0.2, 1.0)}  # those of runs.py
JOB = {
    "input.route": "side",
    "routing": {"strong_fraction": 0.3},
    "endpoints.strong.model": "big",
    "endpoints.strong.price": {"input": 2.0, "output": 10.0},
    "endpoints.weak.model": "small",
    "endpoints.weak.price": {"input": 0.2, "output": 1.0},
    **on_both("params", {"max_tokens": 7}),
    **simulated(latency_s=0.0),
}

answered = st.builds(
    lambda score, side, reason, prompt, cached, completion: {
        "score": score,
        "route": side,
        "route_reason": reason,
        "prompt_tokens": prompt,
        "cached_tokens": min(prompt, cached),
        "completion_tokens": completion,
        "cost_usd": usd(side, prompt, min(prompt, cached), completion),
    },
    st.floats(0, 1),
    st.sampled_from(["strong", "weak"]),
    st.sampled_from(["score", "score", "budget", "override", "too_long"]),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 1000),
)


def usd(side: str, prompt: int, cached: int, completion: float) -> float:
    full, cheap, output = PRICES[side]
    return ((prompt - cached) * full + cached * cheap + completion * output) / 1e6


@settings(max_examples=25)
@given(st.lists(answered, max_size=12), st.floats(0, 1))
def test_it_is_what_going_through_the_rows_gives(rows: list[dict[str, Any]], threshold: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = [ok(number, row["route"], **row) for number, row in enumerate(rows)]
        found = what_if(write_run(Path(folder) / "run", [results], rows=len(rows)), threshold)
    strong, changed, cost, new = 0, 0, 0.0, 0.0
    answers = {side: [row["completion_tokens"] for row in rows if row["route"] == side] for side in PRICES}
    for row in rows:
        side = row["route"]
        if row["route_reason"] in {"score", "budget"}:
            side = "strong" if row["score"] >= threshold else "weak"
        strong, changed = strong + (side == "strong"), changed + (side != row["route"])
        # There a row gets an answer of that side's mean length, or as long as here where none was answered there.
        length = fmean(answers[side]) if answers[side] else row["completion_tokens"]
        new += usd(side, row["prompt_tokens"], 0, length) if side != row["route"] else 0.0
        cost += row["cost_usd"] if side == row["route"] else 0.0
    assert (found.rows, found.strong_rows, found.changed_rows) == (len(rows), strong, changed)
    # A sum of answers has a whole number of tokens: half a one more or less a side.
    assert found.new_usd == pytest.approx(new, abs=1.1e-5)
    assert found.new_usd is not None
    cost += found.new_usd
    assert found.cost_usd == pytest.approx(cost, abs=1e-12)
    assert found.delta_usd == pytest.approx(cost - math.fsum(row["cost_usd"] for row in rows), abs=1e-12)


@pytest.fixture
def finished(tmp_path: Path, batchroute: Command) -> Path:
    """A job that ran, with rows of either side forced."""
    rows: list[dict[str, Any]] = [{"prompt": f"{row}: " + "why? " * (1 + row * 7 % 50)} for row in range(80)]
    rows[3]["side"], rows[5]["side"] = "strong", "weak"
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_job(tmp_path, JOB)
    assert batchroute("run", tmp_path / "job.toml", "--quiet").code == 0
    return tmp_path / "run"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_it_foretells_the_run_at_that_share(finished: Path, batchroute: Command, share: float) -> None:
    """Every answer has 7 tokens and every prompt its own, so that the forecast is exact."""
    foretold = json.loads(batchroute("whatif", finished, "--strong-fraction", share, "--json").out)
    there = finished.parent / "there"
    flags = ("--set", f"routing.strong_fraction={share}", "--output", there, "--json")
    report = json.loads(batchroute("run", finished.parent / "job.toml", *flags).out)
    here = json.loads((finished / "report.json").read_text())
    assert list(foretold) == ["threshold", "strong_rows", "changed_rows", "cost_usd", "delta_usd", "new_usd"]
    assert foretold["threshold"] == report["threshold"]
    assert foretold["strong_rows"] == report["strong_rows"]
    assert foretold["changed_rows"] == abs(report["strong_rows"] - here["strong_rows"])
    assert foretold["cost_usd"] == pytest.approx(report["cost_usd"], abs=1e-12)
    assert foretold["delta_usd"] == pytest.approx(report["cost_usd"] - here["cost_usd"], abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_the_job_it_writes_asks_the_rows_that_change_and_costs_what_was_foretold(
    finished: Path, batchroute: Command, share: float
) -> None:
    job = finished.parent / "job2.toml"
    said = batchroute("whatif", finished, "--strong-fraction", share, "--json", "--output", job)
    foretold = json.loads(said.out)
    assert f"batchroute run {job}" in said.err
    assert batchroute("check", job).code == 0
    report = json.loads(batchroute("run", job, "--json").out)
    here = json.loads((finished / "report.json").read_text())
    assert (report["state"], report["threshold"]) == ("complete", foretold["threshold"])
    assert (report["attempts"], report["reused"]) == (foretold["changed_rows"], 80 - foretold["changed_rows"])
    assert report["strong_rows"] == foretold["strong_rows"]
    # What is paid now and what was paid then for the rows that stayed is what such a run costs.
    rows = pl.read_parquet(finished / "results" / "*.parquet").join(
        pl.read_parquet(Path(f"{finished}-at-{foretold['threshold']:.5f}") / "results" / "*.parquet"), on="row"
    )
    stayed = rows.filter(pl.col("attempts_right") == 0)["cost_usd"].sum()
    assert foretold["new_usd"] == pytest.approx(report["cost_usd"], abs=1e-12)
    assert report["cost_usd"] + stayed == pytest.approx(foretold["cost_usd"], abs=1e-12)
    assert here["cost_usd"] - stayed + foretold["delta_usd"] == pytest.approx(report["cost_usd"], abs=1e-12)


def test_a_job_file_that_is_there_is_not_written_over(finished: Path, batchroute: Command) -> None:
    job = finished.parent / "job.toml"
    before = job.read_text()
    said = batchroute("whatif", finished, "--threshold", 0.5, "--output", job)
    assert (said.code, job.read_text()) == (2, before)
    assert "exists" in said.err


def test_what_a_run_does_not_write_down_is_asked_for(tmp_path: Path, batchroute: Command) -> None:
    weak = 'base_url = "https://w.example/v1?api-version=***"\nheaders = { x-team = "***" }'
    run = write_run(tmp_path / "run", [[ok(0)]], rows=1, weak=weak)
    text = (run / "job.toml").read_text()
    (run / "job.toml").write_text('[input]\npath = ["/p"]\n[output]\npath = "/o"\n'.join(["", text.strip()]))
    said = batchroute("whatif", run, "--threshold", 0.5, "--output", tmp_path / "job2.toml")
    assert said.code == 0, said.err
    assert "endpoints.weak.headers.x-team" in said.err
    assert "endpoints.weak.base_url" in said.err


def test_its_own_threshold_changes_nothing(finished: Path, batchroute: Command) -> None:
    here = json.loads((finished / "report.json").read_text())
    found = what_if(finished, here["threshold"])
    assert (found.changed_rows, found.delta_usd, found.unsettled_rows) == (0, 0.0, 0)
    assert found.cost_usd == pytest.approx(here["cost_usd"], abs=1e-12)
    shown = batchroute("whatif", finished, "--threshold", repr(here["threshold"])).out
    assert "0 rows change side" in shown


def test_all_strong_is_what_the_report_says(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak"), ok(2, "weak", cached_tokens=300)]], rows=3)
    assert what_if(run, 0.0).cost_usd == pytest.approx(build_report(run).all_strong_usd, abs=1e-12)


def test_rows_without_usage_are_named_and_not_reckoned(tmp_path: Path, batchroute: Command) -> None:
    parts = [[ok(0), refused(1), refused(2, None)]]
    run = write_run(tmp_path / "run", parts, failures=[failed(3)], rows=5)
    found = what_if(run, 0.95)
    assert (found.strong_rows, found.changed_rows, found.uncounted_rows, found.unsettled_rows) == (0, 3, 2, 1)
    assert found.cost_usd == pytest.approx(0.0003)
    said = batchroute("whatif", run, "--threshold", 0.95, "--json")
    assert "2 rows change side but have no usage" in said.err
    assert "1 rows are not answered" in said.err


def test_answers_in_the_journal_of_a_killed_run_count(tmp_path: Path) -> None:
    rows = [ok(0), ok(1, "weak"), ok(2, "weak", score=0.4)]
    sealed = write_run(tmp_path / "sealed", [rows], rows=3)
    killed = write_run(tmp_path / "killed", [rows[:1]], rows=3)
    write_journal(killed, 1, rows[1:])
    assert what_if(killed, 0.3) == what_if(sealed, 0.3)
    assert what_if(killed, 0.3).changed_rows == 1


def test_no_price_over_there_is_unknown_not_free(tmp_path: Path, batchroute: Command) -> None:
    weak = 'base_url = "https://weak.example/v1"'
    run = write_run(tmp_path / "run", [[ok(0), ok(1, "weak", cost_usd=None)]], rows=2, weak=weak)
    to_weak, to_strong = what_if(run, 0.95), what_if(run, 0.0)
    assert (to_weak.cost_usd, to_weak.delta_usd) == (None, None)
    assert to_strong.cost_usd == pytest.approx(0.006), "both prices are known there"
    assert to_strong.delta_usd is None, "but not what the row cost here"
    assert "unknown" in batchroute("whatif", run, "--threshold", 0.95).out


def test_a_row_too_long_for_the_other_side_stays(tmp_path: Path) -> None:
    weak = 'price = { input = 0.2, output = 1.0 }\nbase_url = "https://w.example/v1"\nmax_input_tokens = 2'
    scores = [("prompts.jsonl", row, 0.9) for row in range(2)]  # of 10 characters each
    run = write_run(tmp_path / "refuses", [[ok(0), ok(1)]], rows=2, weak=weak, scores=scores)
    assert what_if(run, 0.95).changed_rows == 0
    roomy = weak.replace("max_input_tokens = 2", "max_input_tokens = 3")
    run = write_run(tmp_path / "takes", [[ok(0), ok(1)]], rows=2, weak=roomy, scores=scores)
    assert what_if(run, 0.95).changed_rows == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "either"),
        (("--threshold", 0.5, "--strong-fraction", 0.5), "either"),
        (("--threshold", 0.5), "not a run"),
    ],
)
def test_bad_usage_is_one_message(
    tmp_path: Path, batchroute: Command, arguments: tuple[object, ...], word: str
) -> None:
    assert_one_message(batchroute("whatif", tmp_path, *arguments), 2, word)
