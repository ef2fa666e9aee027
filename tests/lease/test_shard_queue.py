"""Shards are given out one at a time, the largest first, come back when workers go, are left when they kill."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchroute.lease.messages import Renewal, ShardEnd, ShardOpen, ShardTurn
from batchroute.lease.queue import COSTS_WORKERS, ShardQueue


def renewal(
    worker: str, has: list[ShardOpen] | None = None, ended: list[ShardEnd] | None = None, *, wants: bool = True
) -> Renewal:
    return Renewal(worker, 1, 0, open=has or [], ended=ended or [], wants_shard=wants)


def given(queue: ShardQueue, worker: str, now: float = 0.0) -> ShardTurn:
    (turn,) = queue.renew(renewal(worker), now)
    return turn


def opened(turn: ShardTurn, records: int = 0) -> ShardOpen:
    return ShardOpen(turn.number, turn.turn, records)


def end(turn: ShardTurn, outcome: str, said: str | None = None) -> ShardEnd:
    return ShardEnd(turn.number, turn.turn, outcome, said)  # type: ignore[arg-type]


def test_the_largest_is_first_and_a_worker_has_the_next_while_the_last_one_drains() -> None:
    queue = ShardQueue([(0, 5), (1, 9), (2, 7)])
    first, other = given(queue, "a"), given(queue, "b")
    assert (first.number, other.number) == (1, 2)
    (second,) = queue.renew(renewal("a", [opened(first)]), 1.0)
    assert second.number == 0
    assert queue.renew(renewal("b", [opened(other)]), 1.0) == []
    queue.renew(renewal("a", ended=[end(first, "done"), end(second, "done")]), 2.0)
    assert not queue.finished
    queue.renew(renewal("b", ended=[end(other, "done")]), 2.0)
    assert queue.finished


def test_a_shard_whose_grant_was_lost_is_given_again_and_only_once() -> None:
    queue = ShardQueue([(0, 1), (1, 1)])
    first = given(queue, "a")
    assert given(queue, "a") == first
    assert queue.renew(renewal("a", [opened(first)], wants=False), 1.0) == []


def test_a_locked_shard_is_tried_again_later_by_anybody() -> None:
    queue = ShardQueue([(0, 9), (1, 1)], retry_s=2.0)
    locked = given(queue, "a")
    (other,) = queue.renew(renewal("a", ended=[end(locked, "locked")]), 10.0)
    assert other.number == 1
    assert queue.renew(renewal("b"), 11.9) == []
    assert given(queue, "b", 12.0).number == 0


def test_what_a_worker_ends_in_order_is_anybodys_at_once_and_what_it_leaves_is_nobodys() -> None:
    queue = ShardQueue([(0, 9), (1, 1)])
    first = given(queue, "a")
    queue.renew(renewal("a", [opened(first, 7)], wants=False), 1.0)
    queue.renew(renewal("a", ended=[end(first, "returned")], wants=False), 2.0)
    again = given(queue, "b", 2.0)
    assert again.number == 0
    queue.renew(renewal("b", ended=[end(again, "left", "a.jsonl is gone")], wants=False), 3.0)
    assert queue.left == {0: "a.jsonl is gone"}
    assert given(queue, "b", 3.0).number == 1


def test_a_lost_worker_that_is_heard_again_has_its_shard_back_unless_another_has_opened_it() -> None:
    queue = ShardQueue([(0, 1)])
    first = given(queue, "a")
    queue.renew(renewal("a", [opened(first, 3)]), 1.0)
    queue.lost("a")
    second = given(queue, "b", 8.0)
    queue.renew(renewal("a", [opened(first, 5)]), 9.0)  # B will find it locked
    assert queue.renew(renewal("b", ended=[end(second, "locked")]), 10.0) == []
    assert queue.renew(renewal("c"), 20.0) == []
    queue.lost("a")
    third = given(queue, "c", 21.0)
    queue.renew(renewal("c", [opened(third, 5)]), 22.0)
    queue.renew(renewal("a", [opened(first, 5)]), 23.0)  # it cannot have the lock any more
    queue.renew(renewal("c", ended=[end(third, "done")]), 24.0)
    assert queue.finished


@pytest.mark.parametrize(
    ("records", "is_left"),
    [
        ([0, 0, 0], True),
        ([120, 120, 120], True),
        ([0, 50, 50], False),  # the second one had new records
        ([0, 50, 50, 50], True),
        ([0, 1, 2, 3, 4], False),
    ],
)
@pytest.mark.parametrize("proof", ["at once", "after its lease", "read from disk"])
def test_a_shard_that_costs_three_workers_without_a_new_record_is_left(
    records: list[int], is_left: bool, proof: str
) -> None:
    queue = ShardQueue([(4, 1)])
    for worker, count in enumerate(map(str, records)):
        name, on_record = f"w{worker}", int(count)
        turn = given(queue, name)
        before = records[worker - 1] if worker else 0
        queue.renew(renewal(name, [opened(turn, before)]), 1.0)
        if proof == "read from disk":  # it died before it could say so
            queue.died(name, {4: on_record})
            continue
        queue.renew(renewal(name, [opened(turn, on_record)]), 2.0)
        if proof == "after its lease":
            queue.lost(name)
        queue.died(name)
    assert queue.renew(renewal("next"), 3.0) == [] if is_left else given(queue, "next")
    assert queue.left == ({4: COSTS_WORKERS} if is_left else {})
    assert queue.finished is is_left


def test_records_that_a_worker_had_no_time_to_speak_of_are_seen_by_the_next_one() -> None:
    queue = ShardQueue([(0, 1)])
    for worker, seen in (("a", 0), ("b", 0), ("c", 40), ("d", 40)):  # B had 40 more before it died
        assert not queue.left
        queue.renew(renewal(worker, [opened(given(queue, worker), seen)]), 1.0)
        queue.died(worker)
    assert queue.left == {0: COSTS_WORKERS}  # B, C and D died at 40


def test_what_is_said_of_an_earlier_stage_does_not_end_a_shard_of_this_one() -> None:
    scored = ShardQueue([(0, 1)])
    turn = given(scored, "a")
    sent = ShardQueue([(0, 1)], turn=scored.turn)
    sent.renew(renewal("a", ended=[end(turn, "done")], wants=False), 1.0)
    assert not sent.finished
    assert given(sent, "a").turn > turn.turn


def test_a_hundred_thousand_shards_take_less_than_a_kilobyte_each() -> None:
    tracemalloc.start()
    try:
        queue = ShardQueue((number, float(number)) for number in range(100_000))
        for number in range(1_000):
            given(queue, f"w{number}")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 100_000 < 1_000
    assert sys.getsizeof(queue.left) < 1_000


class Queue(RuleBasedStateMachine):
    """Workers that do what they are told, die, and are lost: each shard is done once, by one that has it."""

    SHARDS = 4

    def __init__(self) -> None:
        super().__init__()
        self.queue = ShardQueue([(number, number) for number in range(self.SHARDS)])
        self.has: dict[str, list[ShardTurn]] = {"a": [], "b": [], "c": []}
        self.ended: dict[str, list[ShardEnd]] = {"a": [], "b": [], "c": []}
        self.locks: dict[int, str] = {}
        self.done: set[int] = set()
        self.now = 0.0

    @rule(worker=st.sampled_from("abc"), hears=st.booleans())
    def renews(self, worker: str, hears: bool) -> None:
        self.now += 1.0
        has = [opened(turn) for turn in self.has[worker]]
        turns = self.queue.renew(renewal(worker, has, self.ended[worker]), self.now)
        if not hears:
            return
        self.ended[worker] = []
        for turn in turns:
            if turn.number in self.done:
                self.ended[worker].append(end(turn, "done"))
            elif self.locks.get(turn.number, worker) == worker and turn not in self.has[worker]:
                self.locks[turn.number] = worker
                self.has[worker].append(turn)
            else:
                self.ended[worker].append(end(turn, "locked"))

    @rule(worker=st.sampled_from("abc"))
    def does_one(self, worker: str) -> None:
        if self.has[worker]:
            turn = self.has[worker].pop()
            self.done.add(turn.number)
            del self.locks[turn.number]
            self.ended[worker].append(end(turn, "done"))

    @rule(worker=st.sampled_from("abc"))
    def is_lost(self, worker: str) -> None:
        self.queue.lost(worker)

    @invariant()
    def nobody_has_what_another_has(self) -> None:
        assert all(turn.number in self.locks for turns in self.has.values() for turn in turns)

    def teardown(self) -> None:
        for _ in range(20):
            for worker in "abc":
                self.renews(worker, hears=True)
                self.does_one(worker)
        assert self.done == set(range(self.SHARDS))
        assert self.queue.finished
        assert not self.queue.left


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
