"""Runs by workers, all of them in one event loop, against a provider that counts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import Stopped
from batchroute.run.engine import run_job
from batchroute.run.open import open_input
from batchroute.run.options import RunOptions
from batchroute.run.process import run_loop
from batchroute.run.stop import Stopper
from batchroute.run.workers.driven import run_driven
from batchroute.simulate.behaviour import Behaviour
from jobs import job_of, on_both
from servers import threaded_simulator
from workers import answered, in_one_process, report_of, write_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress

LEASE_S = 0.2


def driven(
    folder: Path,
    changes: dict[str, Any],
    workers: int = 2,
    meanwhile: Callable[[Stopper], object] = lambda stopper: None,
    limit: int | None = None,
    watch: Callable[[Progress], Awaitable[None]] | None = None,
    retry_refused: bool = False,
) -> tuple[RunEnd, list[str]]:
    """A run in `folder`; what it said at once."""
    said: list[str] = []
    ours = {
        "engine.use": "processes",
        "engine.workers": workers,
        "engine.lease_s": LEASE_S,
        "engine.shard_mb": 0.003,
    }
    job = job_of(folder / "prompts.jsonl", folder / "run", {**ours, **changes})

    async def work() -> RunEnd:
        stopper = Stopper(job.limits.drain_s, said.append)
        source = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
        meanwhile(stopper)
        options = RunOptions(os.environ, limit=limit, retry_refused=retry_refused, watch=watch, notify=said.append)
        return await run_driven(job, options, source, stopper, in_one_process(workers))

    return run_loop(work()), said


def served(url: str, **changes: Any) -> dict[str, Any]:
    return {**on_both("base_url", url), **on_both("max_concurrency", 10), **changes}


def test_each_row_is_asked_once_and_no_more_are_in_flight_than_the_limit_of_all(tmp_path: Path) -> None:
    write_rows(tmp_path, 300)
    with threaded_simulator(Behaviour(latency_s=0.02)) as provider:
        end, said = driven(tmp_path, served(provider.url, **{"routing.threshold": 0.08}), workers=3)
        stats = provider.stats()
    assert (end.ok, end.rows, end.stopped, end.exit_code(0.0)) == (300, 300, (), 0), said
    assert stats.requests == 300
    assert stats.max_in_flight <= 20
    assert answered(tmp_path / "run").keys() == {("prompts.jsonl", row) for row in range(300)}
    engine = report_of(tmp_path / "run")["engine"]
    assert (engine["use"], engine["workers"], engine["workers_lost"]) == ("processes", 3, 0)
    assert engine["shards_done"] == engine["shards"] > 5
    assert (tmp_path / "run" / "_SUCCESS").exists()
    again, _ = driven(tmp_path, served(provider.url, **{"routing.threshold": 0.08}))
    assert (again.asked, again.ok, again.exit_code(0.0)) == (False, 300, 0), "nothing is asked again"


def test_a_key_that_is_refused_costs_one_request_a_lane_whatever_the_number_of_workers(tmp_path: Path) -> None:
    write_rows(tmp_path, 300)
    with threaded_simulator(Behaviour(latency_s=0.02, faults={"invalid_api_key": 1.0})) as provider:
        end, said = driven(tmp_path, served(provider.url, **{"routing.threshold": 0.08}), workers=4)
        assert provider.stats().requests == 2, said
    assert end.exit_code(0.0) == 4
    assert "strong, weak: key rejected" in end.stopped[0]


def test_the_same_refusal_costs_no_more_rows_than_in_one_process(tmp_path: Path) -> None:
    write_rows(tmp_path, 300)
    with threaded_simulator(Behaviour(latency_s=0.02, faults={"invalid_request_error": 1.0})) as provider:
        end, _ = driven(tmp_path, served(provider.url, **{"routing.threshold": 1.0}), workers=4)
        assert provider.stats().requests <= 20
    assert end.exit_code(0.0) == 4
    assert "with no success between" in end.stopped[0]


def test_a_share_of_strong_rows_is_found_over_all_shards_as_in_one_process(tmp_path: Path) -> None:
    write_rows(tmp_path, 250)
    with threaded_simulator(Behaviour(latency_s=0.0)) as provider:
        changes = served(provider.url, **{"routing.threshold": None, "routing.strong_fraction": 0.2})
        end, said = driven(tmp_path, changes)
        local = job_of(tmp_path / "prompts.jsonl", tmp_path / "local", changes)
        run_job(local, RunOptions(os.environ))
    ours, theirs = report_of(tmp_path / "run"), report_of(tmp_path / "local")
    assert end.exit_code(0.0) == 0, said
    for key in ("threshold", "strong_rows", "weak_rows", "score_quantiles"):
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("workers", [1, 3])
def test_money_ends_the_run_where_no_workers_next_row_fits_and_never_passes_the_limit(
    tmp_path: Path, workers: int
) -> None:
    write_rows(tmp_path, 400)
    limit = {"limits.max_cost_usd": 0.05, **on_both("params", {"max_tokens": 20})}
    with threaded_simulator(Behaviour(latency_s=0.01, response_tokens=20)) as provider:
        end, said = driven(tmp_path, served(provider.url, **limit, **{"routing.threshold": 0.0}), workers=workers)
    report = report_of(tmp_path / "run")
    assert end.exit_code(0.0) == 4
    assert "limits.max_cost_usd: the next row may cost" in end.stopped[0], (end.stopped, said)
    assert 0.05 * 0.95 <= report["total_usd"] + report["unconfirmed_usd"] <= 0.05
    assert report["unconfirmed_usd"] == 0


def test_the_first_rows_are_those_of_the_input(tmp_path: Path) -> None:
    write_rows(tmp_path, 300)
    with threaded_simulator(Behaviour(latency_s=0.0)) as provider:
        end, _ = driven(tmp_path, served(provider.url), limit=123)
        assert provider.stats().requests == 123
    assert end.exit_code(0.0) == 0
    assert answered(tmp_path / "run").keys() == {("prompts.jsonl", row) for row in range(123)}


def test_a_run_that_is_stopped_drains_at_every_worker_and_goes_on_in_the_next(tmp_path: Path) -> None:
    write_rows(tmp_path, 300)

    def stop(stopper: Stopper) -> None:
        asyncio.get_running_loop().call_later(1.0, stopper.stop, "enough for today")

    with threaded_simulator(Behaviour(latency_s=0.2)) as provider:
        end, _ = driven(tmp_path, served(provider.url), workers=3, meanwhile=stop)
        asked = provider.stats().requests
        assert end.stopped == ("enough for today",)
        assert end.exit_code(0.0) == 4
        assert 0 < asked < 300
        assert len(answered(tmp_path / "run")) == asked, "what was in flight is on file"
        assert end.ok == asked, "of shards that are not done as well"
        end, _ = driven(tmp_path, served(provider.url), workers=2)
        assert provider.stats().requests == 300
    assert end.exit_code(0.0) == 0


def test_refused_rows_are_asked_again_where_that_is_wanted_and_no_others(tmp_path: Path) -> None:
    write_rows(tmp_path, 200)
    refusing = Behaviour(latency_s=0.0, faults={"invalid_request_error": 0.1}, seed=1)
    with threaded_simulator(refusing) as provider:
        end, _ = driven(tmp_path, served(provider.url))
    refused = end.refused
    assert (end.ok + refused, end.exit_code(0.0)) == (200, 3)
    assert refused > 3, "of several shards"
    with threaded_simulator(Behaviour(latency_s=0.0)) as provider:
        end, said = driven(tmp_path, served(provider.url), retry_refused=True)
        assert provider.stats().requests == refused
        assert (end.ok, end.refused, end.exit_code(0.0)) == (200, 0, 0), said
        end, _ = driven(tmp_path, served(provider.url), retry_refused=True)
        assert (end.asked, provider.stats().requests) == (False, refused)


def test_a_row_that_is_refused_once_more_is_as_done_as_before(tmp_path: Path) -> None:
    write_rows(tmp_path, 100)
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write('{"prompt": null}\n')
    with threaded_simulator(Behaviour(latency_s=0.0)) as provider:
        driven(tmp_path, served(provider.url))
        end, _ = driven(tmp_path, served(provider.url), retry_refused=True)
        assert provider.stats().requests == 100
    assert (end.rows, end.ok, end.refused, end.stopped, end.exit_code(0.0)) == (101, 100, 1, (), 3)


def test_a_display_that_fails_ends_no_run_and_is_a_fault_of_ours_afterwards(tmp_path: Path) -> None:
    rows = 60
    write_rows(tmp_path, rows)

    async def fails(progress: Progress) -> None:
        raise KeyError("no colour for that")

    with threaded_simulator(Behaviour()) as provider, pytest.raises(KeyError, match="no colour"):
        driven(tmp_path, served(provider.url), watch=fails)
    assert len(answered(tmp_path / "run")) == rows
    assert report_of(tmp_path / "run")["state"] == "complete"


def test_a_small_limit_starts_few_workers_and_says_so(tmp_path: Path) -> None:
    write_rows(tmp_path, 100)
    with threaded_simulator(Behaviour(latency_s=0.0)) as provider:
        changes = served(provider.url, **on_both("requests_per_minute", 1_800))
        _, said = driven(tmp_path, changes, workers=8)
    assert "1,800 requests a minute of the strong lane keep 3 senders busy" in said
    assert report_of(tmp_path / "run")["engine"]["workers"] == 3


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, 200)
    with threaded_simulator(Behaviour(latency_s=0.1)) as provider:
        refused: list[str] = []

        def begin_another(stopper: Stopper) -> None:
            def begin() -> None:
                with pytest.raises(Stopped) as caught:
                    driven_beside(tmp_path, provider.url)
                refused.append(str(caught.value))

            asyncio.get_running_loop().call_later(0.5, begin)

        end, _ = driven(tmp_path, served(provider.url), meanwhile=begin_another)
    assert end.exit_code(0.0) == 0
    assert "a run is at work here" in refused[0]


def driven_beside(folder: Path, url: str) -> None:
    """Up to where it takes the lock."""
    job = job_of(folder / "prompts.jsonl", folder / "run", served(url))
    source = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
    options = RunOptions(os.environ)
    run_driven(job, options, source, Stopper(1.0, print), in_one_process(1)).send(None)
