"""br.run and br.arun: the same job from a script, a coroutine, a thread; how they end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import batchroute as br
import inputs
import jobs
from batchroute.simulate.behaviour import Behaviour
from servers import threaded_simulator
from serving import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from servers import ThreadedSimulator

ROWS = 40
PROMPTS = [f"prompt {row}" for row in range(ROWS)]


@pytest.fixture
def job_file(tmp_path: Path, server: ThreadedSimulator) -> Path:
    inputs.lines(tmp_path / "prompts.jsonl", *({"prompt": text} for text in PROMPTS))
    return jobs.write_job(tmp_path, jobs.on_both("base_url", server.url), jobs.on_both("price", jobs.PRICE))


def test_a_job_file_is_run_as_by_the_command(job_file: Path, server: ThreadedSimulator) -> None:
    run = br.run(str(job_file), progress=False)
    assert (run.state, run.exit_code, run.stopped, run.report.ok) == ("complete", 0, (), ROWS)
    assert run.path == job_file.parent / "run"
    assert json.loads((run.path / "report.json").read_text())["state"] == "complete"
    assert (run.path / "_SUCCESS").exists()
    assert server.stats().requests == ROWS
    again = br.run(br.load_job(job_file), progress=False)
    assert again.report.ok == ROWS
    assert server.stats().requests == ROWS, "no row is asked twice"


def test_its_rows_are_a_frame_in_input_order(job_file: Path) -> None:
    run = br.run(job_file, progress=False)
    found = run.df()
    assert found["row"].to_list() == list(range(ROWS))
    assert found["status"].unique().to_list() == ["ok"]
    assert found.to_pandas()["response"].notna().all()
    assert run.cost_usd == pytest.approx(found["cost_usd"].sum())


def test_keywords_and_settings_go_before_the_file(job_file: Path, tmp_path: Path) -> None:
    job = br.load_job(
        job_file, settings={"limits.drain_s": 5, "routing.strong_fraction": 0.5}, output=tmp_path / "there"
    )
    assert (job.limits.drain_s, job.routing.threshold, job.routing.strong_fraction) == (5, None, 0.5)
    assert job.output.path == str(tmp_path / "there")
    run = br.run(job, progress=False, limit=10, max_cost_usd=2, params={"max_tokens": 50})
    assert (run.report.rows, run.report.max_cost_usd) == (10, 2)


def test_it_runs_inside_a_running_loop(job_file: Path) -> None:
    before = asyncio.get_event_loop_policy()

    async def cell() -> br.Run:
        return br.run(job_file, progress=False)

    assert asyncio.run(cell()).state == "complete"
    assert asyncio.get_event_loop_policy() is before


def test_arun_lets_the_loop_go_on(job_file: Path) -> None:
    async def caller() -> tuple[br.Run, int]:
        turns = 0
        work = asyncio.ensure_future(br.arun(job_file, progress=False))
        while not work.done():
            turns += 1
            await asyncio.sleep(0)
        return await work, turns

    run, turns = asyncio.run(caller())
    assert run.state == "complete"
    assert turns > 1


def test_it_runs_in_threads_beside_each_other(tmp_path: Path, server: ThreadedSimulator) -> None:
    thresholds, handlers = gc.get_threshold(), signal.getsignal(signal.SIGINT)
    found: list[br.Run] = []

    def work(number: int) -> None:
        found.append(br.run(PROMPTS, output=tmp_path / str(number), progress=False, **asked(server.url)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.state for run in found] == ["complete"] * 3
    assert gc.get_threshold() == thresholds
    assert signal.getsignal(signal.SIGINT) is handlers


def test_it_leaves_logging_and_signals_as_they_were(job_file: Path) -> None:
    log, before = logging.getLogger("batchroute"), signal.getsignal(signal.SIGTERM)
    handlers, level = list(log.handlers), log.level
    br.run(job_file)
    assert (log.handlers, log.level) == (handlers, level)
    assert signal.getsignal(signal.SIGTERM) is before


def asked(url: str, **settings: Any) -> Any:
    """Keywords that send to this address."""
    models = {"strong": "gpt-6.1-sol", "weak": "gpt-6-luna"}
    return {**models, "base_url": url, "strong_fraction": 0.25, **settings}


def test_an_end_that_is_not_complete_warns_and_comes_back(tmp_path: Path, server: ThreadedSimulator) -> None:
    prompts = [*PROMPTS, "[[fault:invalid_request_error]]"]
    words = "frame is refusals: 40 of 41 rows are answered; 1 were refused"
    with pytest.warns(br.IncompleteRun, match=words) as said:
        run = br.run(prompts, output=tmp_path / "run", progress=False, **asked(server.url))
    assert said[0].filename == __file__, "it names the line that called run"
    assert (run.state, run.exit_code) == ("refusals", 3)
    assert not (run.path / "_SUCCESS").exists()
    assert run.df()["status"].to_list() == ["ok"] * ROWS + ["refused"]


def test_a_lane_that_stops_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        threaded_simulator(Behaviour(api_key="another")) as provider,
        pytest.warns(
            br.IncompleteRun, match="frame is incomplete: 0 of 40 rows are answered; .*key rejected; set"
        ),
    ):
        run = br.run(PROMPTS, output=tmp_path / "run", progress=False, **asked(provider.url))
    assert (run.state, run.exit_code) == ("incomplete", 4)
    assert any("401" in reason for reason in run.stopped)
    assert any("lane stopped" in message for message in caplog.messages), "it is said at once, too"


def test_rows_without_an_answer_stand_in_the_frame(tmp_path: Path, server: ThreadedSimulator) -> None:
    prompts = ["[[fault:500]]", *PROMPTS]
    settings = {"endpoints.strong.max_attempts": 1, "endpoints.weak.max_attempts": 1}
    with pytest.warns(br.IncompleteRun, match="1 failed, and the same call asks them again"):
        run = br.run(prompts, output=tmp_path / "run", progress=False, settings=settings, **asked(server.url))
    rows = run.df()
    assert rows["status"].to_list() == ["failed"] + ["ok"] * ROWS
    assert rows["error_type"][0] == "http_500"
    assert rows["prompt"].to_list() == [None, *PROMPTS]


def test_what_keeps_it_from_running_is_raised_before_anything_is_sent(
    tmp_path: Path, server: ThreadedSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(br.JobFault, match=r"strong_fraction: must be 1 or less(?s:.)*OPENAI_API_KEY is not set"):
        br.run(PROMPTS, output=tmp_path / "a", strong="gpt-6.1-sol", weak="gpt-6-luna", strong_fraction=20)
    with pytest.raises(TypeError, match=r"'promt'; did you mean prompt\?"):
        br.run(PROMPTS, output=tmp_path / "b", promt="text", **asked(server.url))  # a slip of the caller's
    with pytest.raises(br.InputFault, match="txt"):
        br.run(pl.DataFrame({"text": PROMPTS}), output=tmp_path / "c", prompt="txt", **asked(server.url))
    with pytest.raises(br.JobFault, match=r"settings: limits\.drain: unknown key; did you mean drain_s"):
        br.run(PROMPTS, output=tmp_path / "d", settings={"limits.drain": 1}, **asked(server.url))
    assert server.stats().requests == 0


def test_one_run_at_a_time_in_a_directory(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=1.0)) as provider:
        keywords = {"output": tmp_path / "run", "progress": False, **asked(provider.url)}
        first = threading.Thread(target=br.run, args=(PROMPTS,), kwargs=keywords)
        first.start()
        wait_for(lambda: provider.stats().requests)
        with pytest.raises(br.Stopped, match="a run is at work here"):
            br.run(PROMPTS, output=tmp_path / "run", progress=False, **asked(provider.url))
        first.join()
    assert br.open_run(tmp_path / "run").state == "complete"


def test_a_cancelled_arun_keeps_what_is_in_flight(tmp_path: Path) -> None:
    async def caller(url: str) -> None:
        run = asyncio.ensure_future(br.arun(PROMPTS, output=tmp_path / "run", progress=False, **asked(url)))
        await asyncio.to_thread(wait_for, lambda: provider.stats().requests)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with threaded_simulator(Behaviour(latency_s=0.3, count_prompts=True)) as provider:
        asyncio.run(caller(provider.url))
        kept = br.open_run(tmp_path / "run")
        sent = provider.stats().requests
        assert kept.state == "incomplete"
        assert 0 < kept.report.ok == sent
        run = br.run(PROMPTS, output=tmp_path / "run", progress=False, **asked(provider.url))
        assert (run.state, provider.stats().requests) == ("complete", ROWS)


def test_nothing_is_warned_of_a_run_that_is_complete(job_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        br.run(job_file, progress=False)
