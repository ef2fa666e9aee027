"""Whole runs over several addresses a side, with servers that die and come back, counted at the servers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from aiohttp import web

from batchroute.report.together import read_status
from batchroute.run.engine import run_job
from batchroute.run.online import check_online
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from inputs import lines
from jobs import job_of, on_both
from servers import threaded_simulator
from upstream import completion, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress
    from batchroute.types import LaneState
    from servers import ThreadedSimulator

BEHAVIOUR = Behaviour(latency_s=0.02, count_prompts=True, api_key="sk-good-12345678")
OPTIONS: dict[str, Any] = {"environ": {"KEY": "sk-good-12345678"}}


@pytest.fixture
def fleet() -> Iterator[list[ThreadedSimulator]]:
    with ExitStack() as stack:
        yield [stack.enter_context(threaded_simulator(BEHAVIOUR)) for _ in range(3)]


def job_for(folder: Path, urls: list[str], rows: int, **changes: Any) -> Job:
    """All rows go to the weak lane."""
    lines(folder / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(rows)))
    weak = {"base_url": urls, "max_concurrency": 12, "api_key_env": "KEY", "max_attempts": 1, **changes}
    ours = {"routing.threshold": 1.0, "limits.outage_s": 20.0, **on_both("timeout_s", 2.0)}
    return job_of(
        folder / "prompts.jsonl",
        folder / "run",
        {**ours, **{f"endpoints.weak.{key}": value for key, value in weak.items()}},
    )


@dataclass
class Ran:
    """What was seen of the weak lane meanwhile, and said."""

    states: list[LaneState] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    end: RunEnd | None = None


def ran(job: Job, *steps: tuple[int, Any]) -> Ran:
    """Runs the job; each step is taken once so many rows are done."""
    seen = Ran()

    async def watch(progress: Progress) -> None:
        left = list(steps)
        while True:
            seen.states.append(progress.lanes["weak"].state())
            if left and progress.done >= left[0][0]:
                await asyncio.to_thread(left.pop(0)[1])
            await asyncio.sleep(0.005)

    seen.end = run_job(job, RunOptions(**OPTIONS, watch=watch, notify=seen.said.append))
    return seen


def answered(folder: Path) -> list[int]:
    results = pl.read_parquet(folder / "run" / "results" / "*.parquet")
    assert set(results["status"]) == {"ok"}
    return sorted(results["row"].to_list())


def asked_of(fleet: list[ThreadedSimulator]) -> Counter[str]:
    asked: Counter[str] = Counter()
    for server in fleet:
        asked.update(server.stats().asked)
    return asked


def test_an_address_that_dies_and_comes_back_takes_no_row_with_it(
    tmp_path: Path, fleet: list[ThreadedSimulator]
) -> None:
    first = fleet[0]
    seen = ran(job_for(tmp_path, [server.url for server in fleet], 1000), (200, first.refuse), (400, first.listen))
    assert seen.end is not None
    assert seen.end.complete
    assert answered(tmp_path) == list(range(1000))
    times = asked_of(fleet)
    assert sum(times[prompt_digest(f"question {row}")] for row in range(1000)) <= 1000 + 12
    assert set(times.values()) <= {1, 2}
    assert first.stats().requests > 1000 / 3 * 0.5, "it has its share again"
    where = f"127.0.0.1:{first.port}"
    assert any((state.away, state.addresses, state.doing) == ((where,), 3, "sending") for state in seen.states)
    [away, back] = seen.said
    assert away.startswith(f"the weak lane goes on without {where}, which is away")
    assert back.startswith(f"the weak lane asks {where} again")


def test_two_addresses_that_are_gone_from_the_start(tmp_path: Path, fleet: list[ThreadedSimulator]) -> None:
    for server in fleet[:2]:
        server.refuse()
    seen = ran(job_for(tmp_path, [server.url for server in fleet], 300))
    assert seen.end is not None
    assert seen.end.complete
    assert answered(tmp_path) == list(range(300))
    assert set(asked_of(fleet).values()) == {1}
    assert fleet[2].stats().requests == 300


def test_a_run_whose_addresses_are_all_away_waits_and_then_stops(
    tmp_path: Path, fleet: list[ThreadedSimulator]
) -> None:
    def kill() -> None:
        for server in fleet:
            server.refuse()

    job = job_for(tmp_path, [server.url for server in fleet], 800)
    limits = job.limits.model_copy(update={"outage_s": 1.0})
    seen = ran(job.model_copy(update={"limits": limits}), (100, kill))
    assert seen.end is not None
    assert not seen.end.complete
    assert max(len(state.away) for state in seen.states) == 3
    assert any("does not answer" in said for said in seen.said)
    status = read_status(tmp_path / "run")
    assert status is not None
    assert status.lanes["weak"].addresses in {1, 3}
    assert (tmp_path / "run" / "failed.jsonl").read_text() == "", "a row that was not answered is open, not failed"
    for server in fleet:
        server.listen()
    again = ran(job)
    assert again.end is not None
    assert again.end.complete
    assert answered(tmp_path) == list(range(800))


def test_a_key_that_one_address_rejects_and_a_model_that_one_has_not(
    tmp_path: Path, fleet: list[ThreadedSimulator]
) -> None:
    fleet[0].control({"api_key": "sk-other-1234567"})
    fleet[1].control({"faults": {"404": 1.0}})
    seen = ran(job_for(tmp_path, [server.url for server in fleet], 200))
    assert seen.end is not None
    assert seen.end.complete
    assert answered(tmp_path) == list(range(200))
    rejected = [said for said in seen.said if "does without" in said]
    assert len(seen.said) == len(rejected) == 2
    assert any("key rejected" in said and f":{fleet[0].port}" in said for said in rejected)
    assert any("not found" in said and f":{fleet[1].port}" in said for said in rejected)
    assert all(server.stats().requests <= 12 for server in fleet[:2])


def test_a_key_that_all_addresses_reject_stops_the_lane(tmp_path: Path, fleet: list[ThreadedSimulator]) -> None:
    for server in fleet:
        server.control({"api_key": "sk-other-1234567"})
    seen = ran(job_for(tmp_path, [server.url for server in fleet], 200, max_concurrency=1))
    assert seen.end is not None
    assert not seen.end.complete
    assert sum(server.stats().requests for server in fleet) == 3
    assert any("the weak lane stopped: key rejected" in said for said in seen.said)


def test_poison_fails_alone_and_the_rest_is_asked_once(tmp_path: Path, fleet: list[ThreadedSimulator]) -> None:
    for server in fleet:
        server.control({"poison": {"500": 0.02}})
    job = job_for(tmp_path, [server.url for server in fleet], 600, max_attempts=3)
    seen = ran(job)
    bad = [json.loads(line)["row"] for line in (tmp_path / "run" / "failed.jsonl").read_bytes().splitlines()]
    assert 3 < len(bad) < 30
    assert sorted([*answered(tmp_path), *bad]) == list(range(600))
    times = asked_of(fleet)
    assert {times[prompt_digest(f"question {row}")] for row in range(600) if row not in bad} == {1}
    assert all(times[prompt_digest(f"question {row}")] == 3 for row in bad)
    assert not [said for said in seen.said if "stopped" in said]


def test_limits_of_each_address_are_kept_at_the_servers(tmp_path: Path, fleet: list[ThreadedSimulator]) -> None:
    urls = [server.url for server in fleet]
    seen = ran(job_for(tmp_path, urls, 400, max_concurrency=3, per_address=True))
    assert seen.end is not None
    assert seen.end.complete
    assert [server.stats().max_in_flight for server in fleet] == [3, 3, 3]


def test_check_online_asks_each_address_and_names_one_that_does_not_answer(
    tmp_path: Path, fleet: list[ThreadedSimulator]
) -> None:
    fleet[1].refuse()
    job = job_for(tmp_path, [server.url for server in fleet], 1)
    strong = {"endpoints": job.endpoints.model_copy(update={"strong": job.endpoints.weak})}
    found = check_online(job.model_copy(update=strong), OPTIONS["environ"])
    assert found.faults == []
    assert len(found.warnings) == 2
    assert all(f"127.0.0.1:{fleet[1].port}: " in words for words in found.warnings)
    answers = [note for note in found.notes if "answered in" in note]
    assert len(answers) == 4
    for server in (fleet[0], fleet[2]):
        server.refuse()
    hopeless = check_online(job.model_copy(update=strong), OPTIONS["environ"])
    assert (len(hopeless.faults), hopeless.warnings) == (6, [])


def test_addresses_of_one_host_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        if request.path.startswith("/a/"):
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        return web.json_response(completion())

    with upstream(say) as server:
        base = server.url.removesuffix("/v1")
        seen = ran(job_for(tmp_path, [f"{base}/a/v1", f"{base}/b/v1"], 30))
    assert answered(tmp_path) == list(range(30))
    assert any("/a/v1, as long as others answer" in said for said in seen.said)
