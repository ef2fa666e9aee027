"""The threshold for a share of some data, from each kind of input, against sorting."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.python.commands import calibrate
from batchroute.run.calibrate import calibrate_scores, calibrated
from command import assert_one_message
from jobs import on_both, simulated, write_job
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

ROWS = 200
JOB = {
    "input.path": "prompts.parquet",
    "input.prompt": "question",
    "router.use": "random",
    "routing": {"strong_fraction": 0.5},
    **simulated(latency_s=0.0),
}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.parquet"
    pq.write_table(pa.table({"question": [f"what is {n}?" for n in range(ROWS)]}), path)
    write_job(tmp_path, JOB)
    return path


def scores_file(path: Path, column: Any, name: str = "score") -> Path:
    pq.write_table(pa.table({name: column}), path, row_group_size=7)
    return path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.333, 0.5, 1.0])
def test_every_kind_of_input_gives_the_same_threshold(prompts: Path, share: float, batchroute: Command) -> None:
    flags = ("--strong-fraction", share, "--json")
    scored = prompts.with_name("scores.parquet")
    batchroute("score", prompts, "--prompt", "question", "--set", 'router.use="random"', "-o", scored)
    of_scores = json.loads(batchroute("calibrate", scored, *flags).out)
    of_data = batchroute("calibrate", prompts, "--prompt", "question", "--set", 'router.use="random"', *flags)
    of_job = batchroute("calibrate", prompts.with_name("job.toml"), *flags)
    assert json.loads(of_data.out) == json.loads(of_job.out) == of_scores
    assert list(of_scores) == ["threshold", "strong_fraction", "strong_rows", "rows"]
    assert (of_scores["strong_rows"], of_scores["rows"]) == (math.floor(share * ROWS + 0.5), ROWS)


def test_the_printed_line_can_stand_in_a_job_file(prompts: Path, batchroute: Command) -> None:
    job = prompts.with_name("job.toml")
    line = batchroute("calibrate", job, "--strong-fraction", 0.1).out
    assert line.startswith("threshold = 0.")
    job.write_text(job.read_text().replace("strong_fraction = 0.5", line.strip()))
    assert json.loads(batchroute("run", job, "--json").out)["strong_rows"] == 20


def test_a_budget_gives_what_the_plan_costs(prompts: Path, batchroute: Command) -> None:
    job = prompts.with_name("job.toml")
    point = json.loads(batchroute("plan", job, "--json").out)["frontier"][3]
    found = json.loads(batchroute("calibrate", job, "--budget", repr(point["cost_usd"]), "--json").out)
    assert found["threshold"] == point["threshold"]
    assert found["strong_rows"] == 40


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=30), st.floats(0, 1))
def test_counts_are_those_of_the_rows_that_reach_it(scores: list[float], threshold: float) -> None:
    found = calibrated([np.array(scores[:9], np.float64), np.array(scores[9:], np.float64)], threshold)
    known = [score for score in scores if not math.isnan(score)]
    strong = sum(score >= threshold for score in known)
    assert (found.rows, found.strong_rows) == (len(known), strong)
    assert found.strong_fraction == (strong / len(known) if known else None)


def test_rows_without_a_score_do_not_count(tmp_path: Path) -> None:
    path = scores_file(tmp_path / "scores.parquet", pa.array([0.1, None, 0.9, None, 0.5, 0.7] * 5))
    found = calibrate_scores(path, 0.5)
    assert (found.threshold, found.strong_rows, found.rows) == (0.7, 10, 20)
    assert calibrate_scores(path, 1.0, limit=8).rows == 5
    half = scores_file(tmp_path / "half.parquet", pa.array([0.25, 0.75], pa.float32()))
    assert calibrate_scores(half, 0.5).threshold == 0.75


def test_no_scores_at_all_have_no_threshold(tmp_path: Path, batchroute: Command) -> None:
    path = scores_file(tmp_path / "scores.parquet", pa.array([None, None], pa.float64()))
    found = json.loads(batchroute("calibrate", path, "--strong-fraction", 0.5, "--json").out)
    assert found == {"threshold": None, "strong_fraction": None, "strong_rows": 0, "rows": 0}


@pytest.mark.parametrize(
    ("column", "name", "word"),
    [
        (["a"], "text", "--prompt"),
        (["a"], "score", "floating-point"),
        ([0.5, 1.5], "score", "not in [0, 1]"),
        ([-0.5], "score", "not in [0, 1]"),
    ],
)
def test_a_file_without_usable_scores_is_refused(
    tmp_path: Path, batchroute: Command, column: list[Any], name: str, word: str
) -> None:
    path = scores_file(tmp_path / "scores.parquet", column, name)
    assert_one_message(batchroute("calibrate", path, "--strong-fraction", 0.5), 2, "scores.parquet", word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--strong-fraction"),
        (("--strong-fraction", 0.5, "--budget", 1), "either"),
        (("--budget", 1), "job file"),
        (("--strong-fraction", 0.5), "cannot be read as Parquet"),
    ],
)
def test_bad_usage_is_one_message(
    tmp_path: Path, batchroute: Command, arguments: tuple[object, ...], word: str
) -> None:
    assert_one_message(batchroute("calibrate", tmp_path / "none.parquet", *arguments), 2, word)


@pytest.mark.parametrize("amount", ["ten", "nan", "inf", "-1"])
def test_a_budget_is_an_amount(prompts: Path, batchroute: Command, amount: str) -> None:
    said = batchroute("calibrate", prompts.with_name("job.toml"), f"--budget={amount}")
    assert_one_message(said, 2, "US dollars")


def test_a_job_whose_pilot_decides_names_what_works(tmp_path: Path, batchroute: Command) -> None:
    write_sums(tmp_path / "prompts.jsonl", 30)
    quality = {"routing": {"quality": 0.9}, "pilot": {"judge": "reference", "reference": "answer"}}
    path = write_job(tmp_path, quality, on_both("price", {"input": 1.0, "output": 10.0}))
    said = batchroute("calibrate", path)
    assert said.code == 2
    for words in ("the pilot decides", "batchroute plan JOB", "batchroute pilot JOB", "batchroute run JOB"):
        assert words in " ".join(said.err.split())
    assert "--strong-fraction F or --budget USD" in said.err
    for aim in (("--strong-fraction", "0.5"), ("--budget", "10")):
        found = batchroute("calibrate", path, *aim)
        assert found.code == 0, found.err
        assert found.out.startswith("threshold = ")


def test_python_names_its_own_arguments(tmp_path: Path) -> None:
    write_sums(tmp_path / "prompts.jsonl", 3)
    quality = {"routing": {"quality": 0.9}, "pilot": {"judge": "reference", "reference": "answer"}}
    with pytest.raises(UsageFault, match=r"the pilot decides .* strong_fraction or budget_usd"):
        calibrate(write_job(tmp_path, quality))
    with pytest.raises(UsageFault, match="either strong_fraction or budget_usd"):
        calibrate(tmp_path / "prompts.jsonl")
