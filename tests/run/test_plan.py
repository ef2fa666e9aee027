"""What a plan says, against the run that follows."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from batchroute.job.load import load_job
from batchroute.route.forecast.evidence import earlier_answers
from batchroute.run.plan import plan_job
from batchroute.store.lock import locked
from command import assert_one_message
from jobs import simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

ROWS = 120
NIGHT = {
    "name": "nightly",
    "input.route": "side",
    "output.path": "runs/one",
    "routing": {"strong_fraction": 0.25},
    "endpoints.strong.model": "big",
    "endpoints.strong.price": {"input": 2.0, "output": 10.0},
    "endpoints.weak.model": "small",
    "endpoints.weak.price": {"input": 0.2, "output": 1.0},
    **simulated(latency_s=0.0, response_tokens=40),
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job over rows of many lengths, two of them with a side of their own and one that cannot be asked."""
    rows: list[dict[str, Any]] = [{"prompt": f"{row}: " + "why? " * (1 + row * 7 % 50)} for row in range(ROWS)]
    rows[3]["side"], rows[5]["side"], rows[8] = "strong", "weak", {"question": "none"}
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_job(tmp_path, NIGHT)


def test_a_plan_is_what_the_run_then_does(job: Path, batchroute: Command) -> None:
    planned = json.loads(batchroute("plan", job, "--json").out)
    scores = {path.name: path.stat().st_mtime_ns for path in (job.parent / "runs/one/scores").iterdir()}
    assert list((job.parent / "runs/one/results").iterdir()) == []
    ran = batchroute("run", job, "--json")
    report = json.loads(ran.out)
    assert ran.code == 3, "one row is unusable"
    assert (report["threshold"], report["strong_rows"]) == (planned["threshold"], planned["strong_rows"])
    assert planned["rows"] == report["rows"] == ROWS
    assert planned["cost_usd"]["low"] <= report["cost_usd"] <= planned["cost_usd"]["high"]
    assert planned["all_strong_usd"] == pytest.approx(report["all_strong_usd"], rel=0.15)
    assert {path.name: path.stat().st_mtime_ns for path in (job.parent / "runs/one/scores").iterdir()} == scores


def test_the_json_has_the_keys_of_the_contract(job: Path, batchroute: Command) -> None:
    planned = json.loads(batchroute("plan", job, "--json").out)
    assert list(planned) == [
        *("threshold", "rows", "strong_rows", "cost_usd", "all_strong_usd", "all_weak_usd", "time_s", "frontier")
    ]
    assert list(planned["cost_usd"]) == ["low", "mid", "high"]
    shares = [point["strong_fraction"] for point in planned["frontier"]]
    assert shares == [0, 0.05, 0.1, 0.2, 0.3, 0.5, 1]
    for point in planned["frontier"]:
        assert list(point) == ["strong_fraction", "threshold", "cost_usd", "time_s", "win_mass_kept"]


def test_the_frontier_rises_from_one_side_to_the_other(job: Path) -> None:
    plan = plan_job(load_job(job, environ={}))
    thresholds = [point.threshold for point in plan.frontier]
    costs = [point.cost_usd for point in plan.frontier]
    kept = [point.win_mass_kept for point in plan.frontier]
    assert thresholds == sorted(thresholds, reverse=True)
    assert costs == sorted(costs, key=lambda cost: cost or 0.0)
    assert kept == sorted(kept, key=lambda share: share or 0.0)
    assert plan.all_weak_usd is not None
    assert plan.all_strong_usd is not None
    assert plan.all_weak_usd < costs[0] < costs[-1] < plan.all_strong_usd  # type: ignore[operator]  # overrides
    assert plan.refused == 1


def test_plan_report_and_whatif_say_the_same_of_a_finished_run(job: Path, batchroute: Command) -> None:
    """With answers of other lengths on either side, to the cent and beyond."""
    talkative = ("--set", "endpoints.strong.simulate.response_tokens=90")
    report = json.loads(batchroute("run", job, *talkative, "--json").out)
    run = job.parent / "runs/one"
    planned = json.loads(batchroute("plan", job, *talkative, "--json").out)
    exact = pytest.approx(report["cost_usd"], abs=1e-12)  # as exact as sums of floats in any order are
    assert planned["cost_usd"] == {"low": exact, "mid": exact, "high": exact}
    for side in ("strong", "weak"):
        assert planned[f"all_{side}_usd"] == report[f"all_{side}_usd"]
    for point in planned["frontier"]:
        found = json.loads(batchroute("whatif", run, "--threshold", repr(point["threshold"]), "--json").out)
        assert found["cost_usd"] == pytest.approx(point["cost_usd"], abs=1e-12)
    all_strong = json.loads(batchroute("whatif", run, "--strong-fraction", 1, "--json").out)
    forced_weak = 1  # which stays there, in the report's sum it goes strong
    gap = report["mean_output_tokens"]["strong"] * 10 / 1e6
    assert 0 < report["all_strong_usd"] - all_strong["cost_usd"] < forced_weak * 2 * gap
    shown = batchroute("plan", job, *talkative).out
    assert "a plan of a run that is over" in shown
    assert "between" not in shown


def test_a_plan_of_a_finished_run_leaves_it_finished(job: Path, batchroute: Command) -> None:
    flags = ("--set", "limits.ok_if_refused=1.0")
    first = json.loads(batchroute("run", job, *flags, "--json").out)
    again = json.loads(batchroute("plan", job, *flags, "--json").out)
    assert again["threshold"] == first["threshold"]
    assert (job.parent / "runs/one/_SUCCESS").exists()
    assert json.loads(batchroute("run", job, *flags, "--json").out)["attempts"] == first["attempts"]


def test_what_a_plan_foretold_stands_beside_what_came(job: Path, batchroute: Command) -> None:
    planned = json.loads(batchroute("plan", job, "--json").out)
    report = json.loads(batchroute("run", job, "--json").out)
    foretold = report["predicted"]
    assert (foretold["cost_usd"], foretold["time_s"]) == (planned["cost_usd"], planned["time_s"])
    assert (foretold["rows"], foretold["threshold"]) == (ROWS, planned["threshold"])
    assert foretold["strong_fraction"] == pytest.approx(report["strong_fraction"], abs=1 / ROWS)
    batchroute("plan", job)  # of what is known by now: no prediction
    run = job.parent / "runs/one"
    assert json.loads(batchroute("report", run, "--json").out)["predicted"] == foretold
    shown = [line.split() for line in batchroute("report", run).out.splitlines()]
    assert ["planned", "between", "actual"] in shown
    assert any(line[:3] == ["cost,", "USD", f"{planned['cost_usd']['mid']:.4f}"] for line in shown)


def test_a_limit_plans_the_first_rows_only(job: Path, batchroute: Command) -> None:
    assert json.loads(batchroute("plan", job, "--limit", 10, "--json").out)["rows"] == 10
    assert json.loads(batchroute("plan", job, "--json").out)["rows"] == ROWS


def test_an_unknown_price_is_said_and_stays_unknown(job: Path, batchroute: Command) -> None:
    write_job(job.parent, NIGHT, {"endpoints.strong.price": None})
    said = batchroute("plan", job, "--json")
    planned = json.loads(said.out)
    assert planned["cost_usd"] == {"low": None, "mid": None, "high": None}
    assert planned["all_strong_usd"] is None
    assert planned["all_weak_usd"] > 0
    assert {point["cost_usd"] for point in planned["frontier"]} == {None}
    assert "No price is known for big" in said.err
    assert "No price is known for big" in batchroute("plan", job).out


def test_what_will_make_the_bill_another_is_said(job: Path, batchroute: Command) -> None:
    bounded = (
        "--set",
        "endpoints.strong.params={ max_tokens = 40 }",
        "--set",
        "endpoints.weak.params={ max_tokens = 40 }",
    )
    assert "max_cost_usd" not in batchroute("plan", job, *bounded, "--set", "limits.max_cost_usd=5").err
    tight = batchroute("plan", job, *bounded, "--set", "limits.max_cost_usd=0.001")
    assert "the cost is above limits.max_cost_usd = 0.001: the job then stops there" in tight.err
    down = ("--set", "limits.max_cost_usd=0.001", "--set", 'limits.on_budget="downgrade"')
    assert "moves the last rows to the weak side" in batchroute("plan", job, *bounded, *down).err
    assert "does not take them off" in batchroute("plan", job, "--set", "input.reuse=['runs/zero']").err


def test_a_plan_is_shown_with_what_was_assumed(job: Path, batchroute: Command) -> None:
    shown = batchroute("plan", job).out
    for words in (
        "nothing was sent",
        "all strong would cost",
        "wins kept",
        "40 tokens as simulated",
        "1 unusable",
    ):
        assert words in shown


def test_two_amounts_for_all_rows_on_one_side_are_explained(job: Path, batchroute: Command) -> None:
    words = "all strong, all weak: every usable row by the price list, in the standard tier and without a cache"
    plain = write_job(job.parent, {key: value for key, value in NIGHT.items() if key != "input.route"})
    assert words not in " ".join(batchroute("plan", plain).out.split())
    price = "endpoints.weak.price={ input = 0.2, output = 1.0, tiers = { flex = { input = 0.1, output = 0.5 } } }"
    flex = ("--set", price, "--set", 'endpoints.weak.params={ service_tier = "flex" }')
    assert words in " ".join(batchroute("plan", plain, *flex).out.split())


def test_an_input_without_rows_costs_nothing(job: Path, batchroute: Command) -> None:
    (job.parent / "prompts.jsonl").write_text("\n")
    planned = json.loads(batchroute("plan", job, "--json").out)
    assert (planned["rows"], planned["threshold"], planned["cost_usd"]["mid"], planned["time_s"]) == (
        0,
        None,
        0,
        0,
    )


def test_a_budget_is_met_to_the_row_by_plan_and_run(job: Path, batchroute: Command) -> None:
    budget = json.loads(batchroute("plan", job, "--json").out)["cost_usd"]["mid"]
    flags = ("--set", f"routing.budget_usd={budget!r}")
    planned = json.loads(batchroute("plan", job, *flags, "--json").out)
    assert planned["cost_usd"]["mid"] == budget, "what the estimator itself named fits, to the last digit"
    scores = pq.read_table(job.parent / "runs/one/scores")["score"].drop_null().to_numpy()
    lower = float(scores[scores < planned["threshold"]].max())
    more = json.loads(batchroute("plan", job, "--set", f"routing.threshold={lower!r}", "--json").out)
    assert more["cost_usd"]["mid"] > budget, "not one row more would fit"
    assert json.loads(batchroute("run", job, *flags, "--json").out)["threshold"] == planned["threshold"]


def test_a_budget_below_all_weak_names_the_least_cost(job: Path, batchroute: Command) -> None:
    said = batchroute("run", job, "--set", "routing.budget_usd=0.000001")
    assert_one_message(said, 2, "predicted to cost $")
    least = said.err.partition("predicted to cost $")[2].partition(";")[0]
    planned = batchroute("plan", job, "--set", f"routing.budget_usd={least}", "--json")
    assert planned.code == 0
    assert json.loads(planned.out)["cost_usd"]["mid"] <= float(least)


def test_a_budget_without_a_price_asks_for_it(job: Path, batchroute: Command) -> None:
    write_job(job.parent, NIGHT, {"endpoints.strong.price": None})
    for command in ("run", "plan"):
        said = batchroute(command, job, "--set", "routing.budget_usd=1.0")
        assert_one_message(said, 2, "endpoints.strong.price")


def test_an_earlier_run_of_the_name_beside_tells_the_length_of_answers(job: Path, batchroute: Command) -> None:
    batchroute("run", job, "--set", "limits.ok_if_refused=1.0", "--json")
    report = json.loads((job.parent / "runs/one/report.json").read_text())
    bill = next(bill for bill in report["models"] if bill["route"] == "strong")
    tonight = load_job(job, environ={}, output=job.parent / "runs/two")
    found = earlier_answers(tonight, job.parent / "runs/two")
    assert found["strong"].completion_tokens == bill["completion_tokens"] / bill["ok"]
    assert "as in the run one" in batchroute("plan", job, "--output", job.parent / "runs/two").out
    assert earlier_answers(tonight, job.parent / "runs/one") == {}, "a run tells nothing of itself"
    other = load_job(job, environ={}, sets=['name="other"'])
    assert earlier_answers(other, job.parent / "runs/two") == {}
    real = load_job(job, environ={}, sets=['endpoints.strong.base_url="http://127.0.0.1:9/v1"'])
    assert earlier_answers(real, job.parent / "runs/two").keys() == {"weak"}, (
        "a simulated run tells nothing of a model"
    )
    (job.parent / "runs/one/report.json").write_text("{not ours")
    assert earlier_answers(tonight, job.parent / "runs/two") == {}


def test_a_directory_at_work_is_left_alone(job: Path, batchroute: Command) -> None:
    with locked(job.parent / "runs/one", 0o700):
        assert_one_message(batchroute("plan", job), 4, f"a run is at work here: pid {os.getpid()} on ")
