"""What the driver makes of what its workers say, and a worker of the shards it is given: values only."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchroute.input.chunk import Position
from batchroute.input.cut import Shard
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits
from batchroute.lease.messages import Grant, LaneUse, Renewal, ShardEnd, ShardOpen, ShardTurn
from batchroute.lease.queue import ShardQueue
from batchroute.run.process import run_loop
from batchroute.run.progress import Progress
from batchroute.run.workers.driver import Driver
from batchroute.run.workers.granted import GrantedShards
from batchroute.run.workers.messages import LaneTally, WorkerSaid
from jobs import job_of

if TYPE_CHECKING:
    from pathlib import Path


class World:
    """A driver of two lanes and some shards, whose clock is set by hand."""

    def __init__(self, folder: Path, shards: int = 3) -> None:
        self.now = 0.0
        self.said: list[str] = []
        lanes = {name: LaneLimits(None, None, 8) for name in ("strong", "weak")}
        queue = ShardQueue([(number, 10.0) for number in range(shards)])
        limiter = Limiter(lanes, queue, epoch=1, period_s=2.0, now=0.0)
        progress = Progress.of(job_of(folder / "in.jsonl", folder / "run"), scored=int, done_before=0)
        self.driver = Driver(limiter, progress, self.said.append, lambda: self.now)
        self.numbers: Counter[str] = Counter()

    def says(self, worker: str, **said: object) -> Grant:
        renewal = {key: said.pop(key) for key in list(said) if key in Renewal.__struct_fields__}
        self.numbers[worker] += 1
        words = WorkerSaid(Renewal("", 1, self.numbers[worker], **renewal), **said)  # type: ignore[arg-type]
        answer = self.driver.exchange(worker, msgspec.msgpack.encode(words))
        return msgspec.msgpack.decode(answer, type=Grant)


def test_tallies_of_workers_add_up_whoever_dies(tmp_path: Path) -> None:
    world = World(tmp_path)
    progress = world.driver.progress
    world.says("a", tallies={"strong": LaneTally(ok=5, cost_usd=0.5, in_flight=3, sent=8)}, errors={"http_500": 2})
    world.says("b", tallies={"strong": LaneTally(ok=7, cost_usd=0.25, in_flight=2, sent=9)}, scored=40)
    world.says(
        "a", tallies={"strong": LaneTally(ok=9, cost_usd=0.75, in_flight=4, sent=13)}, errors={"http_500": 3}
    )
    lane = progress.lanes["strong"]
    assert (lane.ok, lane.cost_usd, lane.in_flight(), lane.sent()) == (16, 1.0, 6, 22)
    assert (progress.errors, progress.scored()) == ({"http_500": 3}, 40)
    world.driver.died("a")
    assert (lane.ok, lane.in_flight(), lane.sent()) == (16, 2, 22)
    world.says("c", tallies={"strong": LaneTally(ok=1, in_flight=1, sent=2)})
    assert (lane.ok, lane.in_flight(), lane.sent()) == (17, 3, 24)


def test_rows_found_done_count_once_though_their_shard_is_opened_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.says("a", found={0: 100})
    world.says("a", found={0: 100, 1: 20})
    world.driver.died("a")
    world.says("b", found={0: 180})
    assert world.driver.progress.done_before == 120


def test_what_several_workers_say_is_told_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    for worker in ("a", "b", "a"):
        world.says(worker, notices=["the weak lane is away"])
    assert world.said == ["the weak lane is away"]


def test_rows_that_a_death_may_cost_twice_are_those_that_may_be_in_flight(tmp_path: Path) -> None:
    world = World(tmp_path)
    use = LaneUse(None, None, slots=1, in_flight=1, good=1, waiting=True)
    grant = world.says("a", wants_shard=True)
    assert len(grant.shards) == 1
    renewal = {"strong": use, "weak": LaneUse(None, None, 0)}
    said = WorkerSaid(Renewal("", 1, 9, lanes=renewal, open=[ShardOpen(grant.shards[0].number, 1)]))
    answer = msgspec.msgpack.decode(world.driver.exchange("a", msgspec.msgpack.encode(said)), type=Grant)
    world.driver.died("a")
    bound = sum(max(each.slots or 0, renewal[name].in_flight) for name, each in answer.lanes.items())
    assert world.driver.losses.paid_twice == bound > 0
    assert world.driver.losses.workers == 1
    world.says("b", leaving=True)
    world.driver.died("b")
    assert world.driver.losses.workers == 1, "who said goodbye was not lost"


def test_a_worker_that_is_silent_is_to_be_killed_and_the_driver_counts_its_own_looks(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.driver.begun("a")
    world.driver.begun("b")
    world.says("a")
    world.now = 1_000.0  # the driver itself was stopped
    assert world.driver.look(1.0) == []
    for _ in range(17):
        assert world.driver.look(1.0) == []
    assert world.driver.look(1.0) == ["a"], "three leases of six seconds; one that begins has longer"
    world.says("a")
    assert world.driver.look(1.0) == []


def test_deaths_are_in_vain_as_long_as_the_run_gets_no_further(tmp_path: Path) -> None:
    world = World(tmp_path)
    for worker in ("a", "b"):
        world.driver.begun(worker)
        world.driver.died(worker)
    assert world.driver.losses.in_vain == 2
    world.says("c", tallies={"weak": LaneTally(ok=1)})
    world.driver.died("c")
    assert (world.driver.losses.in_vain, world.driver.losses.workers) == (1, 3)


SHARDS = [Shard(number, "in.jsonl", Position(0, 0, 0), Position(0, 10, 0), 10) for number in range(9)]


def granted_shards(**options: object) -> tuple[GrantedShards, list[None]]:
    asked: list[None] = []
    shards = GrantedShards(SHARDS, {8: 4}, 2, lambda: asked.append(None), **options)  # type: ignore[arg-type]
    return shards, asked


def test_a_shard_is_begun_once_and_told_of_until_the_driver_has_heard_it() -> None:
    async def work() -> None:
        shards, asked = granted_shards()
        shards.granted([ShardTurn(3, 1)], [], finished=False)
        shards.granted([ShardTurn(3, 1)], [], finished=False)
        assert (await shards.take()).shard.number == 3  # type: ignore[union-attr]
        assert shards.open(lambda number: 7) == [ShardOpen(3, 1, 7)]
        shards.give_back(3, "done")
        assert asked
        assert shards.ended == [ShardEnd(3, 1, "done")]
        shards.granted([ShardTurn(3, 1)], [], finished=False)
        assert shards.open(lambda number: 7) == [], "an answer to what was said before it ended"
        shards.granted([ShardTurn(8, 2)], shards.ended, finished=True)
        assert shards.ended == []
        task = await shards.take()
        assert task is not None
        assert (task.shard.number, task.limit) == (8, 4)
        assert await shards.take() is None

    run_loop(work())


def test_a_worker_that_stops_gives_back_what_it_has_not_begun_and_begins_nothing() -> None:
    async def work() -> None:
        shards, _ = granted_shards()
        shards.granted([ShardTurn(3, 1), ShardTurn(4, 2)], [], finished=False)
        await shards.take()
        shards.stop()
        assert shards.ended == [ShardEnd(4, 2, "returned")]
        assert await shards.take() is None
        await shards.stopped()

    run_loop(work())


@pytest.mark.parametrize(("is_over", "outcome"), [(True, "left"), (False, "returned")])
def test_a_shard_whose_lane_is_over_is_for_nobody(is_over: bool, outcome: str) -> None:
    async def work() -> None:
        shards, _ = granted_shards(is_lane_over=lambda: is_over)
        shards.granted([ShardTurn(3, 1)], [], finished=False)
        await shards.take()
        shards.give_back(3, "returned")
        assert [end.outcome for end in shards.ended] == [outcome]

    run_loop(work())


def test_money_is_told_exactly() -> None:
    said = WorkerSaid(Renewal("", 1, 1, taken_usd=Decimal("0.123456789012345678901234")))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=WorkerSaid) == said
