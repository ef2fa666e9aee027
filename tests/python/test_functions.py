"""The functions beside run: each gives the figures of its command, as values."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import polars as pl
import pytest

import batchroute as br
import inputs
import jobs
import labelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

ROWS = 60
PROMPTS = [f"{'Why? ' * (row % 13 + 1)}{row}" for row in range(ROWS)]


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    rows = ({"prompt": text, "topic": "ab"[row % 2]} for row, text in enumerate(PROMPTS))
    inputs.lines(tmp_path / "prompts.jsonl", *rows)
    shares = {"routing.threshold": None, "routing.strong_fraction": 0.25, "input.keep": ["topic"]}
    return jobs.write_job(tmp_path, shares, jobs.simulated(latency_s=0.0))


def in_loop(work: Callable[[], Any]) -> Any:
    """As from the cell of a notebook."""

    async def cell() -> Any:
        return work()

    return asyncio.run(cell())


@pytest.mark.parametrize("call", [lambda work: work(), in_loop])
def test_plan_and_calibrate_say_what_the_commands_say(call: Any, job_file: Path, batchroute: Command) -> None:
    planned = call(lambda: br.plan(job_file))
    said = json.loads(batchroute("plan", job_file, "--json").out)
    assert (planned.rows, planned.threshold) == (ROWS, said["threshold"])
    assert planned.cost_usd.mid == said["cost_usd"]["mid"]
    costs = [point["cost_usd"] for point in said["frontier"]]
    assert pl.DataFrame(planned.frontier)["cost_usd"].to_list() == costs
    found = call(lambda: br.calibrate(job_file, strong_fraction=0.25))
    assert (found.threshold, found.rows) == (planned.threshold, ROWS)
    within = call(lambda: br.calibrate(br.load_job(job_file), budget_usd=planned.cost_usd.mid))
    assert within.strong_rows == found.strong_rows


def test_calibrate_of_data_and_of_scores(tmp_path: Path, job_file: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    scores = br.score(data, prompt="prompt", settings={"router.use": "length"})
    scores.write_parquet(tmp_path / "scores.parquet")
    found = br.calibrate(data, prompt="prompt", strong_fraction=0.25, settings={"router.use": "length"})
    assert found == br.calibrate(tmp_path / "scores.parquet", strong_fraction=0.25)
    assert found == br.calibrate(job_file, strong_fraction=0.25)


@pytest.mark.parametrize("call", [lambda work: work(), in_loop])
def test_score_takes_what_run_takes(call: Any, tmp_path: Path, job_file: Path) -> None:
    expected = br.score(job_file)
    assert expected.columns == ["file", "row", "id", "score"]
    assert expected["row"].to_list() == list(range(ROWS))
    router = {"router.use": "length"}
    sources: list[Any] = [PROMPTS, pl.DataFrame({"prompt": PROMPTS}), [{"prompt": text} for text in PROMPTS]]
    for source in (*sources, str(tmp_path / "prompts.jsonl"), br.load_job(job_file)):
        found = call(lambda source=source: br.score(source, settings=router))
        assert found["score"].to_list() == expected["score"].to_list()
    with_null = br.score(pl.DataFrame({"text": ["a", None]}), prompt="text", settings=router)
    assert with_null["score"].null_count() == 1


def test_check_raises_none_of_the_faults(job_file: Path) -> None:
    assert br.check(job_file).faults == []
    found = br.check(job_file, settings={"input.prompt": "prmpt", "router.model": "/nowhere"})
    assert any("prompt" in fault for fault in found.faults)
    assert br.check(job_file.parent / "none.toml").faults
    assert br.check(job_file, settings={"routing.strong_fraction": 20}).faults
    with br.simulate() as provider:
        asked = br.check(
            job_file,
            online=True,
            settings={f"endpoints.{side}.base_url": provider.url for side in ("strong", "weak")},
        )
        assert provider.stats().requests == 4, "the models and a token of each side"
    assert any("answered in" in note for note in asked.notes)


def test_what_a_run_leaves(job_file: Path, tmp_path: Path, batchroute: Command) -> None:
    run = br.run(job_file, progress=False)
    assert br.report(run.path) == run.report
    assert br.status(run.path).state == "complete"
    assert json.loads(batchroute("report", run.path, "--json").out)["cost_usd"] == run.cost_usd
    there = br.whatif(run.path, strong_fraction=0.5, out=tmp_path / "half.toml")
    assert there.delta_usd > 0
    assert br.load_job(tmp_path / "half.toml").routing.threshold == there.threshold
    assert br.whatif(str(run.path), threshold=run.report.threshold).changed_rows == 0
    none_strong = br.calibrate(job_file, strong_fraction=0).threshold
    assert br.whatif(run.path, threshold=none_strong).strong_rows == 0
    by_topic = br.report_by("topic", run.path)
    assert {line.value: line.rows for line in by_topic.lines} == {"a": ROWS / 2, "b": ROWS / 2}
    assert len(br.compare(run.path, run.path).drifts) == 1
    assert br.export(run.path, str(tmp_path / "all.jsonl")) == ROWS
    exported = pl.read_ndjson(tmp_path / "all.jsonl")
    assert exported["response"].to_list() == run.df()["response"].to_list()


def test_the_bill_for_others(job_file: Path, tmp_path: Path) -> None:
    run = br.run(job_file, progress=False)
    assert br.export_focus(run.path, tmp_path / "bill.csv", tag="topic") > 0
    read_back = br.reconcile(run.path, invoice=str(tmp_path / "bill.csv"), within_usd=0.0001)
    assert read_back.agrees
    assert read_back.theirs_usd == pytest.approx(br.report_by("topic", run.path).total_usd)
    day = run.df()["finished_at"][0].date()
    models = {bill.model: bill.cost_usd for bill in run.report.models}
    lines = [f"{day},{model},{usd}" for model, usd in models.items()]
    (tmp_path / "costs.csv").write_text("\n".join(["date,model,cost_usd", *lines]))
    assert br.reconcile(run.path, invoice=tmp_path / "costs.csv").agrees
    shown = br.show(job_file, rows=2)
    assert [row.row for row in shown.rows] == [0, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: br.whatif("runs/x"), "either threshold or strong_fraction"),
        (lambda: br.whatif("runs/x", threshold=15), "threshold = 15: must be from 0 to 1"),
        (lambda: br.whatif("runs/x", strong_fraction=15), r"strong_fraction = 15: .*; 15 % is 0\.15"),
        (lambda: br.whatif("runs/x", threshold=0.5), "not a run directory"),
        (lambda: br.open_run("runs/x"), "not a run directory"),
        (lambda: br.report("runs/x"), "not a run directory"),
        (br.compare, "name the runs"),
        (lambda: br.report_by("topic"), "name the runs"),
        (lambda: br.reconcile(invoice="x.csv"), "name the runs"),
        (lambda: br.reconcile("runs/x", invoice="x.csv", within_usd=-1), "within_usd = -1: must be an amount"),
        (lambda: br.calibrate("x.parquet"), "either strong_fraction or budget_usd"),
        (lambda: br.calibrate("x.parquet", strong_fraction=20), r"20 % is 0\.20"),
        (lambda: br.calibrate("x.parquet", budget_usd=1), "needs a job"),
        (lambda: br.calibrate("x.toml", budget_usd=float("nan")), "cannot be read|amount of US dollars"),
        (lambda: br.simulate(latency=1).__enter__(), "no such setting"),
        (lambda: br.simulate(faults={"nonsense": 0.5}).__enter__(), "nonsense"),
    ],
)
def test_bad_arguments_are_one_message(call: Callable[[], object], words: str) -> None:
    with pytest.raises(br.UsageFault, match=words):
        call()


def test_routers_are_trained_and_compared(tmp_path: Path) -> None:
    labelled.outcomes().write_parquet(tmp_path / "labels.parquet")
    trained = br.train(tmp_path / "labels.parquet", str(tmp_path / "model"), strong="big", weak="small", seed=1)
    assert trained.models == ("big", "small")
    found = br.evaluate(
        [tmp_path / "labels.parquet"], strong="big", weak="small", models=[str(tmp_path / "model")]
    )
    assert found.routers["model"].apgr > found.routers["random"].apgr
    assert found.verdict
    with pytest.raises(br.UsageFault, match=r"settings: router\.devise: unknown key"):
        br.evaluate(tmp_path / "labels.parquet", settings={"router.devise": "cpu"})


def test_a_provider_and_a_server_for_as_long_as_a_block_lasts(job_file: Path) -> None:
    threads = set(threading.enumerate())
    with br.simulate(response_tokens=20) as strong, br.simulate() as weak:
        settings = {"endpoints.strong.base_url": strong.url, "endpoints.weak.base_url": weak.url}
        with br.serve(job_file, settings={**settings, "routing.threshold": 0.5}) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)
            for text in ("Hi", "x" * 2000):
                said = client.chat.completions.create(model="router", messages=[{"role": "user", "content": text}])
                assert said.choices[0].message.content
            client.close()
        assert (strong.stats().requests, weak.stats().requests) == (1, 1)
    assert set(threading.enumerate()) <= threads


def test_a_job_that_cannot_be_served_is_said_before(job_file: Path) -> None:
    budget = {
        "limits.max_cost_usd": 1,
        "limits.on_budget": "downgrade",
        **jobs.on_both("params", {"max_tokens": 9}),
    }
    with pytest.raises(br.UsageFault, match="on_budget"), br.serve(job_file, settings=budget):
        pass


def test_what_a_notebook_shows_is_escaped_and_has_the_figures(tmp_path: Path) -> None:
    name = "<script>alert('x')</script>"
    run = br.run(
        PROMPTS,
        output=tmp_path / "<img src=x>",
        name=name,
        strong="<b>big</b>",
        weak="gpt-6-luna",
        threshold=0.0,
        simulate={"latency_s": 0},
        progress=False,
    )
    page = run._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>big" not in page
    assert "&lt;b&gt;big&lt;/b&gt;" in page
    assert "60 answered, 0 refused, 0 failed" in page
    assert "SIMULATED" in page
    assert repr(run) == f"Run('{run.path}', 'complete', ok=60, refused=0, failed=0, remaining=0, cost_usd=unknown)"
    assert br.make_job(
        PROMPTS, name=name, strong="a", weak="b", threshold=0.5, simulate=True
    ).output.path.startswith(f"{Path.cwd()}/runs/-script-alert-x-script-")
