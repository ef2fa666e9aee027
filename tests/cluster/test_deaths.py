"""Workers and drivers that are killed or stopped at any moment: no row is lost, none is doubled in the results."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from batchroute.simulate.behaviour import Behaviour
from cluster_runs import ClusterRun, ended, send, wait_for, workers
from servers import simulator_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray_cluster import RayCluster
    from servers import SimulatorProcess

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SLOTS = 40
LEASE_S = 1.0
TTL_S = 3 * LEASE_S
DRIVERS, WORKERS_EACH = 5, 2
JOB = {
    "routing.threshold": 0.0,
    "endpoints.strong.max_concurrency": SLOTS,
    "engine.workers": 4,
    "engine.lease_s": LEASE_S,
}


@pytest.fixture
def server() -> Iterator[SimulatorProcess]:
    with simulator_process(Behaviour(latency_s=0.15, count_prompts=True)) as server:
        yield server


def quiet_for(server: SimulatorProcess, seconds: float) -> bool:
    before = server.stats().requests
    time.sleep(seconds)
    return server.stats().requests == before


def test_whoever_is_killed_the_rows_stay_whole(
    cluster: RayCluster, server: SimulatorProcess, tmp_path: Path
) -> None:
    chance = random.Random(15)  # noqa: S311 - a schedule, not a secret
    run = ClusterRun(cluster, tmp_path, rows=9_600, files=48)
    run.write(server, JOB)
    in_flight = 0
    for _ in range(DRIVERS):
        begun = server.stats().requests
        with run.start() as driver:
            wait_for(driver, lambda begun=begun: server.stats().requests > begun + SLOTS)
            for _ in range(WORKERS_EACH):
                time.sleep(chance.uniform(0.2, 2.0))
                in_flight += server.stats().in_flight
                send(chance.choice(workers()), signal.SIGKILL)
            time.sleep(chance.uniform(0.2, 2.0))
            in_flight += server.stats().in_flight
            send(driver.pid, signal.SIGKILL)
        time.sleep(2.0)
        assert not workers()
        assert quiet_for(server, 0.5)
    run.finish()
    twice = run.assert_whole(server, twice=(DRIVERS + DRIVERS * WORKERS_EACH) * SLOTS)
    print(f"asked twice {twice}, in flight at the kills {in_flight}")  # noqa: T201 - a figure


def test_a_worker_that_wakes_sends_nothing_before_its_next_lease(
    cluster: RayCluster, server: SimulatorProcess, tmp_path: Path
) -> None:
    run = ClusterRun(cluster, tmp_path, rows=2_400, files=4)
    run.write(server, {**JOB, "engine.workers": 1})
    with run.start() as driver:
        wait_for(driver, lambda: server.stats().requests > 200)
        (worker,) = workers()
        send(worker, signal.SIGSTOP)
        send(driver.pid, signal.SIGSTOP)
        time.sleep(2 * TTL_S)
        asked = server.stats().requests
        send(worker, signal.SIGCONT)
        assert quiet_for(server, 2.0)  # its lease is over, and who could renew it is stopped
        send(driver.pid, signal.SIGCONT)
        wait_for(driver, lambda: server.stats().requests > asked)
        ended(driver, 0)
    assert run.assert_whole(server) == 0


def test_a_worker_that_does_not_wake_is_killed(
    cluster: RayCluster, server: SimulatorProcess, tmp_path: Path
) -> None:
    run = ClusterRun(cluster, tmp_path, rows=2_400, files=24)
    run.write(server, {**JOB, "engine.workers": 2})
    with run.start() as driver:
        wait_for(driver, lambda: server.stats().requests > 200 and len(workers()) == 2)
        stopped = workers()[0]
        send(stopped, signal.SIGSTOP)
        wait_for(driver, lambda: stopped not in workers(), 3 * TTL_S + 15)
        ended(driver, 0)
    run.assert_whole(server, twice=SLOTS)


def test_workers_are_silent_while_the_driver_is_stopped(
    cluster: RayCluster, server: SimulatorProcess, tmp_path: Path
) -> None:
    run = ClusterRun(cluster, tmp_path, rows=2_400, files=24)
    run.write(server, JOB)
    with run.start() as driver:
        wait_for(driver, lambda: server.stats().requests > 200)
        send(driver.pid, signal.SIGSTOP)
        time.sleep(1.1 * TTL_S)
        assert quiet_for(server, 2 * TTL_S)
        asked = server.stats().requests
        second = run.start()
        begun = time.monotonic()
        ended(second, 4)
        took_s = time.monotonic() - begun
        print(f"the second driver ended after {took_s:.1f} s")  # noqa: T201
        assert took_s < 5.0
        send(driver.pid, signal.SIGCONT)
        wait_for(driver, lambda: server.stats().requests > asked)
        ended(driver, 0)
    assert run.assert_whole(server) == 0
