"""The way of renewals and grants over Ray, with workers that do nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from batchroute.errors import UsageFault, cause_of
from batchroute.job.engine import EngineSpec
from batchroute.run.workers.cluster import joined
from batchroute.run.workers.nodes import asking
from batchroute.run.workers.ray import RayWorkers, room_on
from jobs import job_of, on_both

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.run.workers.messages import Exchange
    from batchroute.run.workers.nodes import Question
    from ray_cluster import RayCluster

pytestmark = pytest.mark.ray

SPEC = EngineSpec(cpus=0.5, memory_mb=100)


async def renewing(order: bytes, exchange: Exchange, gone: asyncio.Event) -> None:
    """Says its process as often as it is ordered, or for ever."""
    for _ in range(int(order) or 1_000_000):
        await exchange(str(os.getpid()).encode())
        await asyncio.sleep(0.02)


class Counting:
    """A driver that keeps what it hears; `heard` is told each time."""

    def __init__(self, heard: Callable[[str, int], None] = lambda worker, pid: None) -> None:
        self.renewals: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self.begins: list[str] = []
        self.ends: list[str] = []
        self.has_work = True
        self._heard = heard

    def exchange(self, worker: str, renewal: bytes) -> bytes:
        self.renewals[worker] = self.renewals.get(worker, 0) + 1
        self.pids[worker] = int(renewal)
        self._heard(worker, int(renewal))
        return b"granted"

    def begun(self, worker: str) -> None:
        self.begins.append(worker)

    def died(self, worker: str) -> None:
        self.ends.append(worker)


@pytest.fixture(scope="module")
def ray(cluster: RayCluster) -> Iterator[Any]:
    with joined(cluster.address) as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors do not find this file
        yield ray


@pytest.fixture
def question(tmp_path: Path) -> Iterator[Question]:
    with asking(job_of(tmp_path / "in.jsonl", tmp_path), tmp_path / "probe") as question:
        yield question


def serve(workers: RayWorkers, names: list[str]) -> None:
    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(workers.serve(name))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())


def test_each_renewal_of_each_worker_is_granted(ray: Any, question: Question) -> None:
    driver = Counting()
    serve(RayWorkers(ray, SPEC, 0.0, driver, renewing, b"20", question, print), ["a", "b", "c"])
    assert driver.renewals == {"a": 20, "b": 20, "c": 20}
    assert len(set(driver.pids.values())) == 3
    assert sorted(driver.begins) == sorted(driver.ends) == ["a", "b", "c"]


def test_workers_begin_when_the_cluster_has_room_for_them(ray: Any, question: Question) -> None:
    driver = Counting()
    half = EngineSpec(cpus=4.0, memory_mb=100)  # of eight
    serve(RayWorkers(ray, half, 0.0, driver, renewing, b"5", question, print), ["a", "b", "c", "d"])
    assert driver.renewals == dict.fromkeys("abcd", 5)


def test_a_worker_that_is_killed_is_known_to_be_dead(ray: Any, question: Question) -> None:
    def kill(worker: str, pid: int) -> None:
        if worker == "a" and driver.renewals["a"] == 3:
            os.kill(pid, signal.SIGKILL)

    driver = Counting(kill)
    serve(RayWorkers(ray, SPEC, 0.0, driver, renewing, b"10", question, print), ["a", "b"])
    assert sorted(driver.ends) == ["a", "b"]
    assert driver.renewals == {"a": 3, "b": 10}


def test_a_worker_that_is_stopped_can_be_killed(ray: Any, question: Question) -> None:
    def stop(worker: str, pid: int) -> None:
        if driver.renewals[worker] == 3:
            os.kill(pid, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.2, workers.kill, worker)

    driver = Counting(stop)
    workers = RayWorkers(ray, SPEC, 0.0, driver, renewing, b"0", question, print)
    serve(workers, ["a"])
    assert driver.ends == ["a"]
    until = time.monotonic() + 30
    while Path(f"/proc/{driver.pids['a']}/exe").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert time.monotonic() < until


def test_what_goes_wrong_in_a_worker_is_raised(ray: Any, question: Question) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        serve(RayWorkers(ray, SPEC, 0.0, Counting(), renewing, b"no number", question, print), ["a"])
    assert isinstance(cause_of(raised.value), ValueError)


def test_a_worker_on_a_machine_that_cannot_work_is_not_used(ray: Any, question: Question, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        said.append(words)
        driver.has_work = False

    (tmp_path / "probe").unlink()
    driver, said = Counting(), list[str]()
    serve(RayWorkers(ray, SPEC, 0.0, driver, renewing, b"5", question, refused), ["a"])
    assert not driver.begins
    assert len(said) == 1
    assert "does not see the run directory" in said[0]


def test_a_worker_that_the_cluster_has_no_room_for_is_given_up_when_there_is_no_work(
    ray: Any, question: Question
) -> None:
    def last(worker: str, pid: int) -> None:
        driver.has_work = driver.renewals[worker] < 5

    driver = Counting(last)
    all_of_it = EngineSpec(cpus=8.0, memory_mb=100)
    serve(RayWorkers(ray, all_of_it, 0.0, driver, renewing, b"20", question, print), ["a", "b"])
    assert len(driver.begins) == 1


def test_the_cluster_says_how_many_workers_it_has_room_for(ray: Any, question: Question) -> None:
    assert [room_on(ray, question, cpus) for cpus in (0.5, 3.0, 8.0)] == [16, 2, 1]
    assert room_on(ray, question, 9.0) == 0


def test_a_machine_without_the_variable_of_a_key_is_named(ray: Any, tmp_path: Path) -> None:
    job = job_of(tmp_path / "in.jsonl", tmp_path, on_both("api_key_env", "NOT_ON_THE_CLUSTER"))
    with asking(job, tmp_path / "probe") as question, pytest.raises(UsageFault, match="NOT_ON_THE_CLUSTER is not"):
        room_on(ray, question, 1.0)
