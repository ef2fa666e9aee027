"""Every way an endpoint can fail, in whole runs: what becomes of the row, of the lane and of the run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import polars as pl
import pytest

from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from inputs import lines
from jobs import job_of, on_both
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from servers import ThreadedSimulator

OPTIONS = RunOptions(environ={})
OTHERS = 50
SIMULATE = [sys.executable, "-c", "from batchroute.cli import main; main()", "simulate"]


def job_for(folder: Path, url: str, prompts: list[str], changes: dict[str, Any] | None = None) -> Job:
    """All rows go to the weak lane but those that ask for the strong one."""
    sides = ["strong" if "strong" in prompt else None for prompt in prompts]
    lines(
        folder / "prompts.jsonl",
        *({"prompt": prompt, "side": side} for prompt, side in zip(prompts, sides, strict=True)),
    )
    ours: dict[str, Any] = {"input.route": "side" if any(sides) else None, "routing.threshold": 1.0}
    for side in ("strong", "weak"):
        lane = {"base_url": url, "max_attempts": 2, "max_concurrency": 8, "timeout_s": 1.0}
        ours |= {f"endpoints.{side}.{key}": value for key, value in lane.items()}
    limits = {"limits.max_response_mb": 1.0, "limits.outage_s": 5.0}
    return job_of(folder / "prompts.jsonl", folder / "run", {**ours, **limits, **(changes or {})})


def settled(folder: Path) -> list[dict[str, Any]]:
    """Results and failed rows in input order."""
    results = pl.read_parquet(folder / "run" / "results" / "*.parquet").to_dicts()
    failed = [json.loads(line) for line in (folder / "run" / "failed.jsonl").read_bytes().splitlines()]
    return sorted([*results, *({**row, "status": "failed"} for row in failed)], key=lambda row: row["row"])


@dataclass
class Ran:
    end: RunEnd
    said: list[str]
    rows: list[dict[str, Any]]
    asked: list[int]  # by row


def ran(folder: Path, server: ThreadedSimulator, prompts: list[str], changes: dict[str, Any] | None = None) -> Ran:
    said: list[str] = []
    job = job_for(folder, server.url, prompts, changes)
    end = run_job(job, RunOptions(environ={"KEY": "sk-wrong-12345678"}, notify=said.append))
    asked = server.stats().asked
    return Ran(end, said, settled(folder), [asked.get(prompt_digest(prompt), 0) for prompt in prompts])


@pytest.mark.parametrize(
    ("fault", "status", "attempts", "error_type", "words"),
    [
        ("500", "failed", 2, "http_500", "Simulated error 500"),
        ("502", "failed", 2, "http_502", "Simulated error 502"),
        ("529", "failed", 2, "http_529", "Simulated error 529"),
        ("408", "failed", 2, "http_408", "Simulated error 408"),
        ("reset", "failed", 2, "connection", "the connection broke"),
        ("cut", "failed", 2, "cut", "the answer ended early"),
        ("slow", "failed", 2, "timeout", "no complete answer within timeout_s"),
        ("stall", "failed", 2, "timeout", "no complete answer within timeout_s"),
        ("hang", "failed", 2, "timeout", "no complete answer within timeout_s"),
        ("truncated", "failed", 2, "malformed", "HTTP 200, but the body is not a JSON object"),
        ("html", "failed", 2, "malformed", "HTTP 200, but the body is not a JSON object"),
        ("empty", "failed", 2, "malformed", "HTTP 200, but the body is not a JSON object"),
        ("not_utf8", "failed", 2, "malformed", "HTTP 200, but the body is not a JSON object"),
        ("no_choices", "failed", 2, "malformed", "HTTP 200, but the body has no choices"),
        ("ok_server_error", "failed", 2, "http_500", "HTTP 500: Simulated error 200: server_error"),
        ("ok_overloaded_error", "failed", 2, "http_529", "HTTP 529: Simulated error 200: overloaded_error"),
        ("endless", "refused", 1, "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("oversize", "refused", 1, "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("gzip_bomb", "refused", 1, "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("422", "refused", 1, "http_422", "Simulated error 422"),
        ("413", "refused", 1, "http_413", "Simulated error 413"),
        ("context_length_exceeded", "refused", 1, "context_length", "context_length_exceeded"),
        ("content_filter", "refused", 1, "content_filter", "content_filter"),
        ("ok_content_filter", "refused", 1, "content_filter", "content_filter"),
        ("500:1", "ok", 2, None, ""),
        ("reset:1", "ok", 2, None, ""),
        ("429:2", "ok", 3, None, ""),
        ("slow_down:2", "ok", 3, None, ""),
        ("ok_rate_limit_exceeded:2", "ok", 3, None, ""),
        ("truncated:1", "ok", 2, None, ""),
        ("content_type", "ok", 1, None, ""),
        ("null_content", "ok", 1, None, ""),
        ("lone_surrogate", "ok", 1, None, ""),
        ("no_usage", "ok", 1, None, ""),
        ("usage_nulls", "ok", 1, None, ""),
        ("usage_strings", "ok", 1, None, ""),
    ],
)
def test_a_fault_is_its_rows_alone(
    tmp_path: Path, fault: str, status: str, attempts: int, error_type: str | None, words: str
) -> None:
    behaviour = Behaviour(count_prompts=True, latency_s=0.3, slow_s=20.0, oversize_mb=3.0, retry_after_s=0.1)
    patience = on_both("timeout_s", 1.0 if error_type == "timeout" else 60.0)
    with threaded_simulator(behaviour) as server:
        # So many that some are answered after the row has failed, else it might be an outage as well.
        others = [f"goodbye {number}" for number in range(OTHERS)]
        run = ran(tmp_path, server, ["hello", f"[[fault:{fault}]]", *others], patience)
    assert [row["status"] for row in run.rows] == ["ok", status, *["ok"] * OTHERS]
    row = run.rows[1]
    assert (row["attempts"], row["error_type"]) == (attempts, error_type)
    assert words in (row["error"] or "")
    assert run.asked == [1, attempts, *[1] * OTHERS]
    assert run.end.exit_code(0.0) == (0 if status == "ok" else 3)
    assert run.said == []
    unknown = fault in {"no_usage", "usage_nulls"} or (status != "ok" and fault != "no_choices")
    assert (row["cost_usd"] is None) == unknown, "what nobody told is unknown, not 0"
    if status == "ok":
        assert (row["response"] is None) == (fault == "null_content")
        assert row["response"] is None or row["response"].endswith("\N{REPLACEMENT CHARACTER}") == (
            fault == "lone_surrogate"
        )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("invalid_api_key", "set api_key_env, or check the key it names"),
        ("ok_invalid_api_key", "set api_key_env, or check the key it names"),
        ("402", "top up the account or raise its quota"),
        ("insufficient_quota", "top up the account or raise its quota"),
        ("ok_insufficient_quota", "top up the account or raise its quota"),
        ("billing_hard_limit_reached", "top up the account or raise its quota"),
        ("403", "check what the key may use, and the region"),
        ("account_deactivated", "check what the key may use, and the region"),
        ("model_not_found", "check base_url and model"),
        ("ok_model_not_found", "check base_url and model"),
        ("307", "redirects to /elsewhere"),
        ("301", "set base_url to the address it leads to"),
    ],
)
def test_a_lane_that_cannot_go_on_stops_and_the_other_runs_to_its_end(
    tmp_path: Path, fault: str, words: str
) -> None:
    prompts = [f"strong [[fault:{fault}]] {n}" if n % 2 else f"hello {n}" for n in range(400)]
    with threaded_simulator(Behaviour(count_prompts=True)) as server:
        run = ran(tmp_path, server, prompts)
        assert set(server.stats().by_route) == {"POST /v1/chat/completions"}, "no redirect is followed"
        assert [row["row"] for row in run.rows] == list(range(0, 400, 2)), "rows of the lane stay undone"
        assert sum(run.asked[1::2]) <= 8
        assert (run.end.failed, run.end.refused, run.end.exit_code(0.0)) == (0, 0, 4)
        (message,) = run.said
        assert message.startswith("the strong lane stopped: ")
        assert words in message
        assert "run again" in message


def test_the_same_refusal_from_the_start_stops_the_lane_and_the_mended_job_goes_on(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(count_prompts=True)) as server:
        wrong = {"endpoints.strong.params": {"n": 0}}
        run = ran(tmp_path, server, [f"strong {n}" if n % 2 else f"hello {n}" for n in range(200)], wrong)
        failed = [row for row in run.rows if row["status"] == "failed"]
        assert 20 <= len(failed) <= 20 + 8
        assert (run.end.refused, run.end.exit_code(0.0)) == (0, 4)
        assert all(row["error"].startswith("HTTP 400: Invalid request: Expected `int` >= 1") for row in failed)
        (message,) = run.said
        assert "the same refusal 20 times with no success between" in message
        again = ran(tmp_path, server, [f"strong {n}" if n % 2 else f"hello {n}" for n in range(200)])
        assert (again.end.complete, again.end.exit_code(0.0)) == (True, 0)
        assert {row["attempts"] for row in again.rows if row["row"] in {row["row"] for row in failed}} == {2}


def test_refusals_may_be_switched_off_to_stop_a_lane(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(count_prompts=True)) as server:
        wrong = {"endpoints.weak.params": {"n": 0}, "limits.stop_after_same_refusal": 0}
        run = ran(tmp_path, server, [f"hello {n}" for n in range(60)], wrong)
    assert (run.end.refused, run.end.exit_code(0.0), run.said) == (60, 3, [])


# --- outages


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["refuse", "reset", "503", "hang"])
def test_an_endpoint_that_is_down_for_a_minute_fails_no_row(tmp_path: Path, kind: str) -> None:
    """The breaker opens, probes and goes on; meanwhile the server sees a handful of requests."""
    rows = 600
    seen: list[int] = []

    async def outage(_: Any) -> None:
        while server.stats().requests < 100:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)
        server.refuse() if kind == "refuse" else server.control(DOWN[kind])
        await asyncio.sleep(2.5)
        seen.append(server.stats().requests)
        await asyncio.sleep(57.5)
        seen.append(server.stats().requests)
        server.listen() if kind == "refuse" else server.control({"down": False, "faults": {}})

    with threaded_simulator(Behaviour(count_prompts=True, latency_s=0.05)) as server:
        job = job_for(tmp_path, server.url, [f"hello {n}" for n in range(rows)], {"limits.outage_s": 600.0})
        end = run_job(job, RunOptions(environ={}, watch=outage))
        assert (end.ok, end.failed, end.refused, end.exit_code(0.0)) == (rows, 0, 0, 0)
        assert [row["status"] for row in settled(tmp_path)] == ["ok"] * rows
        assert seen[1] - seen[0] <= 8, "one probe at a time, at growing intervals"


DOWN: dict[str, dict[str, Any]] = {
    "reset": {"down": True},
    "503": {"faults": {"503": 1.0}},
    "hang": {"faults": {"hang": 1.0}},
}


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_a_mistyped_host_does_not_hang(tmp_path: Path) -> None:
    """The run ends by itself after a minute, and says what to do; the other lane is done."""
    prompts = [f"strong {n}" if n % 2 else f"hello {n}" for n in range(200)]
    with threaded_simulator(Behaviour(count_prompts=True)) as server:
        wrong = {"endpoints.strong.base_url": "http://no-such-host.invalid/v1", "limits.outage_s": 3600.0}
        run = ran(tmp_path, server, prompts, wrong)
    assert (run.end.ok, run.end.failed, run.end.exit_code(0.0)) == (100, 0, 4)
    (message,) = run.said
    assert "the host's name cannot be resolved" in message
    assert "or check base_url" in message


# --- the command that brings them about


@contextmanager
def simulate(*flags: str) -> Iterator[int]:
    """The command line's own provider; its port."""
    with subprocess.Popen([*SIMULATE, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
            assert process.wait(20) == 0


FAULTS = [
    *("429", "500", "503", "529", "307", "408", "reset", "cut", "slow", "stall", "hang", "endless", "gzip_bomb"),
    *("content_type", "html", "truncated", "empty", "not_utf8", "oversize", "no_choices", "null_content"),
    *("lone_surrogate", "no_usage", "usage_nulls", "usage_strings", "insufficient_quota", "invalid_api_key"),
    *("model_not_found", "context_length_exceeded", "content_filter", "ok_server_error", "ok_insufficient_quota"),
]


def test_simulate_brings_about_each_fault() -> None:
    rate = 0.99 / len(FAULTS)
    flags = [flag for name in FAULTS for flag in ("--fault", f"{name}={rate}")]
    with simulate(*flags) as port:
        asyncio.run(ask_until_all_were_seen(f"http://127.0.0.1:{port}"))


async def ask_until_all_were_seen(url: str) -> None:
    give_up = aiohttp.ClientTimeout(total=0.5)
    async with aiohttp.ClientSession(timeout=give_up) as client, asyncio.timeout(60):
        number = 0
        while True:
            await asyncio.gather(*(ask(client, url, number + n) for n in range(50)), return_exceptions=True)
            number += 50
            async with client.get(f"{url}/stats", timeout=aiohttp.ClientTimeout(total=60)) as answer:
                if (await answer.json())["by_fault"].keys() == set(FAULTS):
                    return


async def ask(client: aiohttp.ClientSession, url: str, number: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}
    async with client.post(f"{url}/v1/chat/completions", json=body, allow_redirects=False) as answer:
        await answer.content.read(10)


def test_simulate_refuses_connections_for_a_while() -> None:
    with simulate("--refuse", "0", "1.5") as port:
        states = asyncio.run(states_of(f"http://127.0.0.1:{port}/health"))
    assert states in ([False, True], [True, False, True])


async def states_of(url: str) -> list[bool]:
    """Whether it takes connections, from change to change, until it does after it did not."""
    states: list[bool] = []
    async with asyncio.timeout(30):
        while states[-2:] != [False, True]:
            here = await asyncio.to_thread(answers, url)
            states += [] if states[-1:] == [here] else [here]
            await asyncio.sleep(0.02)
    return states


def answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except OSError:
        return False


def test_simulate_says_what_is_wrong_with_a_fault() -> None:
    wrong = {"500=often": "a rate from 0 to 1", "nope=0.5": "no such fault: nope", "500=2": "in [0, 1]"}
    for flag, words in wrong.items():
        said = subprocess.run([*SIMULATE, "--fault", flag], check=False, capture_output=True, text=True)
        assert said.returncode == 2
        assert words in said.stderr
        assert "Traceback" not in said.stderr
