"""A run directory that is cut into shards: whose it is, who writes what in it, what a process that dies leaves."""

from __future__ import annotations

import asyncio
import os
import tomllib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from answers import result
from batchroute.errors import PoisonShard, RunFault, ShardTaken, Stopped
from batchroute.store.epoch import read_epoch
from batchroute.store.journal import read_epoch_of, read_journal
from batchroute.store.layout import RunLayout, layouts_of
from batchroute.store.lock import LockState, lock_state, locked
from batchroute.store.sharded import DriverRole, Share, WorkerRole
from batchroute.store.unsealed import has_answers, read_unsealed
from shardings import ALONE, ROWS_A_SHARD, SHARDS, Entered, killed, score, sharded, shards_of, write_input
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.store.sharded import Role

TERSE = {"input.system": "You are terse."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_input(tmp_path)
    return tmp_path


def rows_of(folder: Path) -> list[int]:
    return sorted(ds.dataset(folder / "run" / "results").to_table(columns=["row"])["row"].to_pylist())


# --- whose the directory is


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Share(0, 2), Share(1, 2), None),
        (Share(0, 2), Share(0, 2), r"share 0/2 is at work here: pid \d+ on .*; wait for it, or stop it"),
        (Share(0, 2), Share(1, 3), r"share 0/2 \(pid \d+ on .*\) is at work here; wait for it"),
        (Share(0, 2), DriverRole(), r"a run is at work here: pid \d+ on "),
        (DriverRole(), Share(0, 2), r"a run is at work here: pid \d+ on "),
        (DriverRole(), DriverRole(), r"a run is at work here: pid \d+ on "),
        (DriverRole(), WorkerRole(1), None),
        (DriverRole(), WorkerRole(2), "driver 1 is at work here, this worker's was 2"),
    ],
    ids=repr,
)
def test_who_stands_beside_whom(folder: Path, first: Role, second: Role, told: str | None) -> None:
    with ExitStack() as stack:
        stack.enter_context(sharded(folder, first))
        assert lock_state(folder / "run").held
        if told is None:
            with sharded(folder, second) as directory:
                assert directory.identity.files
        else:
            with pytest.raises(Stopped, match=told), sharded(folder, second):
                raise AssertionError("it was let in")
    assert lock_state(folder / "run") == LockState(held=False)


def test_a_plain_run_stands_beside_no_other(folder: Path) -> None:
    told = rf"a run is at work here: pid {os.getpid()} on "
    with sharded(folder, Share(0, 2)), pytest.raises(Stopped, match=told), locked(folder / "run", 0o700):
        raise AssertionError("the lock was taken twice")
    with locked(folder / "run", 0o700), pytest.raises(Stopped, match=told), sharded(folder, Share(0, 2)):
        raise AssertionError("the lock was taken twice")


def test_processes_that_share_a_directory_are_counted_and_one_that_was_killed_is_known(folder: Path) -> None:
    with sharded(folder, Share(0, 2)), Entered(folder, Share(1, 2)) as other:
        assert (lock_state(folder / "run").held, lock_state(folder / "run").shares) == (True, 2)
        pid = other.pid
        other.kill()
        assert (lock_state(folder / "run").held, lock_state(folder / "run").shares) == (True, 1)
    state = lock_state(folder / "run")
    assert state.held is False
    assert state.holder is not None
    assert state.holder.pid == pid
    with sharded(folder, Share(1, 2)):
        pass
    assert lock_state(folder / "run") == LockState(held=False)


def test_a_shard_is_one_process_own(folder: Path) -> None:
    shards = shards_of(folder)
    with Entered(folder, Share(1, 2), 1) as other, sharded(folder, Share(0, 2)) as ours:
        told = rf"shard 1 \(prompts\.jsonl, rows 4 to 8\): another process is at work on it: pid {other.pid} on "
        with pytest.raises(ShardTaken, match=told):
            ours.open(shards[1])
        ours.close(ours.open(shards[0]), rows=None)
    with sharded(folder) as ours:
        ours.close(ours.open(shards[1]), rows=None)


# --- a shard from its beginning to its end


def settle(folder: Path, number: int, *, role: Role = ALONE) -> None:
    """Opens a shard, answers all its rows but the last, which fails, and the one before, which is refused."""
    shard = shards_of(folder)[number]
    with sharded(folder, role) as directory:
        of = directory.open(shard)
        rows = range(shard.start.row, shard.end.row)
        for row, status in zip(rows, ["ok"] * (ROWS_A_SHARD - 2) + ["refused", "failed"], strict=True):
            of.store.record(result(row, status))
        directory.close(of, rows=ROWS_A_SHARD)


def test_a_shard_has_files_of_its_own_and_the_run_has_its_parts(folder: Path) -> None:
    settle(folder, 2)
    settle(folder, 0)
    run = RunLayout(folder / "run")
    assert [path.name for path in run.parts()] == ["part-00000-00000.parquet", "part-00002-00000.parquet"]
    assert rows_of(folder) == [0, 1, 2, 8, 9, 10]
    assert [layout.shard for layout in layouts_of(run.path)] == [0, 2]
    assert not run.journals()
    assert not run.failed.exists()
    assert sorted(path.name for path in RunLayout(run.path, 2).own.iterdir()) == [
        "done",
        "epoch",
        "failed.jsonl",
        "lock",
    ]
    beside = read_unsealed(run)
    assert [failed.row for failed in beside.failed] == [3, 11]
    assert has_answers(run)


def test_what_came_of_a_shard_stands_there_until_it_is_begun_again(folder: Path) -> None:
    settle(folder, 1)
    with sharded(folder) as directory:
        done = directory.done(1)
        assert done is not None
        assert (done.rows, done.ok, done.refused, done.failed) == (ROWS_A_SHARD, {"weak": 2}, 1, 1)
        assert float(done.cost_usd) == pytest.approx(2e-5)
        assert directory.done(0) is None
        again = directory.open(shards_of(folder)[1])
        assert directory.done(1) is None
        assert (again.store.tally.done, [row for _, row in again.store.unsettled]) == (3, [7])
        directory.close(again, rows=None)
        assert directory.done(1) is None


def test_refused_rows_come_up_again_when_asked_for_once(folder: Path) -> None:
    settle(folder, 1)
    with sharded(folder, retry_refused=True) as directory:
        assert directory.done(1) is None
        again = directory.open(shards_of(folder)[1])
        assert sorted(row for _, row in again.store.unsettled) == [6, 7]
        again.store.record(result(6, "refused"))
        again.store.record(result(7))
        directory.close(again, rows=ROWS_A_SHARD)
        done = directory.done(1)
        assert done is not None
        assert (done.ok, done.refused, done.failed) == ({"weak": 3}, 1, 0)


# --- epochs


def test_every_writer_raises_the_epoch_and_appends_to_journals_of_its_own_only(folder: Path) -> None:
    shard = shards_of(folder)[1]
    layout = RunLayout(folder / "run", 1)
    with sharded(folder) as first:
        one = first.open(shard)
        one.store.record(result(4))
        [journal] = layout.journals()
        assert read_epoch_of(journal) == read_epoch(layout.epoch).number == 1
    with sharded(folder) as second:
        other = second.open(shard)
        assert other.store.tally.done == 1
        other.store.record(result(5))
        assert [read_epoch_of(path) for path in layout.journals()] == [1, 2]
        assert [[row.row for row in read_journal(path)] for path in layout.journals()] == [[4], [5]]
        second.close(other, rows=None)
    assert rows_of(folder) == [4, 5]


def test_an_epoch_that_was_lost_is_told_from_the_journals(folder: Path) -> None:
    shard = shards_of(folder)[0]
    layout = RunLayout(folder / "run", 0)
    for _ in range(3):
        with sharded(folder) as directory:
            directory.open(shard).store.record(result(0))
    layout.epoch.unlink()
    with sharded(folder) as directory:
        directory.open(shard)
        assert read_epoch(layout.epoch).number == 4


def test_a_writer_that_finds_a_higher_epoch_stops_at_its_next_sync_and_seals_nothing(folder: Path) -> None:
    """Two writers at once, as where the locks of a file system got lost: the second one has the shard."""
    shard = shards_of(folder)[0]
    layout = RunLayout(folder / "run", 0)
    with sharded(folder) as directory:
        first = directory.open(shard)
        first.store.record(result(0))
        layout.lock.unlink()
        layout.lock.touch()
        with Entered(folder, WorkerRole(0), 0):
            told = "another process has taken over, with epoch 2; this one's was 1"
            with pytest.raises(Stopped, match=told):
                asyncio.run(asyncio.wait_for(first.store.keep_synced(), 20))
            with pytest.raises(Stopped, match=told):
                directory.close(first, rows=ROWS_A_SHARD)
    assert not layout.done.exists()
    assert not layout.parts()


def test_a_worker_begins_no_shard_once_another_driver_is_there(folder: Path) -> None:
    with sharded(folder, DriverRole(ttl_s=60)) as first:
        assert (first.epoch, first.leased_s) == (1, 0)
        worker = WorkerRole(first.epoch)
    with sharded(folder, worker) as late:
        with sharded(folder, DriverRole(ttl_s=6)) as second:
            assert (second.epoch, second.leased_s) == (2, 60)
            with pytest.raises(Stopped, match="another process has taken over, with epoch 2; this one's was 1"):
                late.open(shards_of(folder)[0])
        with sharded(folder, DriverRole(ttl_s=6)) as third:
            assert (third.epoch, third.leased_s) == (3, 60), (
                "the second one may have died while it waited for that"
            )
            third.end_epoch()
        with sharded(folder, DriverRole()) as fourth:
            assert (fourth.epoch, fourth.leased_s) == (4, 0)


# --- processes that die


def test_a_shard_that_three_processes_died_of_is_left_until_the_user_says_otherwise(folder: Path) -> None:
    shard = shards_of(folder)[1]
    for _ in range(3):
        killed(folder, ALONE, 1)
    with sharded(folder) as directory:
        with pytest.raises(PoisonShard) as raised:
            directory.open(shard)
        assert str(raised.value) == (
            "shard 1 (prompts.jsonl, rows 4 to 8) has cost 3 processes without a new record; "
            "see what ends them, memory or a row, then remove "
            f"{folder}/run/shards/00001/attempts.json and run again to try it once more"
        )
        directory.close(directory.open(shards_of(folder)[2]), rows=None)
    (folder / "run/shards/00001/attempts.json").unlink()
    with sharded(folder) as directory:
        directory.close(directory.open(shard), rows=None)


def test_processes_that_end_in_order_or_that_recorded_something_count_for_nothing(folder: Path) -> None:
    shard = shards_of(folder)[1]
    killed(folder, ALONE, 1)
    killed(folder, ALONE, 1)
    with sharded(folder) as directory:
        directory.open(shard).store.record(result(4))  # and is let go without being closed
    killed(folder, ALONE, 1)
    killed(folder, ALONE, 1)
    with sharded(folder) as directory:
        of = directory.open(shard)
        score(folder, of, shard)
    for _ in range(3):
        killed(folder, ALONE, 1)
    with sharded(folder) as directory, pytest.raises(PoisonShard):
        directory.open(shard)


def test_what_died_with_another_driver_did_not_die_of_the_shard(folder: Path) -> None:
    for _ in range(4):
        with sharded(folder, DriverRole()) as directory:
            killed(folder, WorkerRole(directory.epoch), 0)
    with sharded(folder, DriverRole()) as directory:
        for _ in range(3):
            killed(folder, WorkerRole(directory.epoch), 0)
        with sharded(folder, WorkerRole(directory.epoch)) as worker, pytest.raises(PoisonShard):
            worker.open(shards_of(folder)[0])


def opened_and_closed(folder: Path) -> Iterator[None]:
    """A shard of which an earlier process left a journal that is half full, and the one beside it."""
    write_input(folder)
    with sharded(folder) as before:
        before.open(shards_of(folder)[0]).store.record(result(0))
    yield
    with sharded(folder) as directory:
        for number in (0, 1):
            of = directory.open(shards_of(folder)[number])
            of.hold_to("length")
            of.store.record(result(number * ROWS_A_SHARD + 1))
            of.store.record(result(number * ROWS_A_SHARD + 2, "failed"))
            directory.close(of, rows=ROWS_A_SHARD)


def begun_anew(folder: Path) -> Iterator[None]:
    """Shards that have refused rows and scores only, and then another input column."""
    write_input(folder)
    with sharded(folder) as before:
        for number in (0, 1):
            of = before.open(shards_of(folder)[number])
            of.store.record(result(number * ROWS_A_SHARD, "refused"))
            score(folder, of, shards_of(folder)[number])
            before.close(of, rows=None)
    yield
    with sharded(folder, changes=TERSE):
        pass


# Each step is half a second's work where the disk is busy.
EVERY_STEP = pytest.param(1, marks=[pytest.mark.proof, pytest.mark.timeout(900)])


@pytest.mark.parametrize("mishap", ["kill", "full"])
@pytest.mark.parametrize("every", [7, EVERY_STEP])
def test_whatever_step_a_process_dies_at_the_next_one_finds_all_that_was_recorded(
    tmp_path: Path, mishap: Any, every: int
) -> None:
    hits = hit_at_every_step("test_sharded:opened_and_closed", mishap, tmp_path, every)
    assert len(hits) > 110 / every
    for hit in hits:
        assert hit.end in {"killed", "Stopped", "done"}, hit
        with sharded(hit.directory) as directory:
            for shard in shards_of(hit.directory)[:2]:
                of = directory.open(shard)
                was_done = of.store.tally.done
                rows = np.arange(shard.start.row, shard.end.row)
                for row in rows[~of.store.done.mask("prompts.jsonl", rows)].tolist():
                    of.store.record(result(row))
                directory.close(of, rows=ROWS_A_SHARD)
                assert was_done >= (shard.number == 0), hit
        assert rows_of(hit.directory) == list(range(2 * ROWS_A_SHARD)), hit
        assert read_unsealed(RunLayout(hit.directory / "run")).failed == [], hit


@pytest.mark.parametrize("mishap", ["kill", "full"])
@pytest.mark.parametrize("every", [4, EVERY_STEP])
def test_whatever_step_voiding_dies_at_the_same_command_goes_on(tmp_path: Path, mishap: Any, every: int) -> None:
    hits = hit_at_every_step("test_sharded:begun_anew", mishap, tmp_path, every)
    assert len(hits) > 25 / every
    for hit in hits:
        assert hit.end in {"killed", "Stopped", "done"}, hit
        with sharded(hit.directory, changes=TERSE) as directory:
            of = directory.open(shards_of(hit.directory)[0])
            assert (of.store.tally.done, of.store.unsettled, directory.layout.score_parts()) == (0, {}, []), hit
            directory.close(of, rows=None)


# --- what is everybody's


def test_a_job_that_changed_before_any_answer_voids_all_shards_and_after_one_is_refused(folder: Path) -> None:
    shards = shards_of(folder)
    with sharded(folder) as directory:
        of = directory.open(shards[1])
        of.store.record(result(4, "refused"))
        score(folder, of, shards[1])
        directory.close(of, rows=None)
    with sharded(folder, changes=TERSE) as directory:
        assert directory.layout.score_parts() == []
        assert read_epoch(RunLayout(folder / "run", 1).epoch).number == 1, "an epoch never goes back"
        directory.open(shards[0]).store.record(result(0))
    with pytest.raises(RunFault, match=r"input\.system changed"), sharded(folder):
        raise AssertionError("it was let in")
    assert rows_of(folder) == [0], "what was answered is sealed, so that another run can take it over"


def test_nothing_is_voided_while_a_process_works_on_a_shard(folder: Path) -> None:
    with Entered(folder, Share(0, 2), 0) as other:
        told = rf"shard 0 is at work with other settings: pid {other.pid} on .*; stop it first"
        with pytest.raises(Stopped, match=told), sharded(folder, Share(1, 2), TERSE):
            raise AssertionError("it was let in")


def test_a_process_between_two_shards_finds_that_its_job_is_over(folder: Path) -> None:
    with sharded(folder, Share(0, 2)) as first:
        first.close(first.open(shards_of(folder)[0]), rows=None)
        with sharded(folder, Share(1, 2), TERSE):
            told = r"another process has begun with other settings \(input\.system\); give all processes the same"
            with pytest.raises(Stopped, match=told):
                first.open(shards_of(folder)[0])
            with pytest.raises(Stopped, match=told):
                first.fix_threshold(0.5, 12, None)


def test_what_one_process_writes_in_job_toml_the_others_keep(folder: Path) -> None:
    shards = shards_of(folder)
    with sharded(folder, Share(0, 2)) as first, sharded(folder, Share(1, 2)) as second:
        first.open(shards[0]).hold_to("length:1")
        other = second.open(shards[1])
        second.fix_threshold(0.25, 12, 8)
        other.hold_to("length:1")
        known = first.identity
        assert (known.scorer, known.threshold, known.rows, known.limit) == ("length:1", 0.25, 12, 8)
        score(folder, other, shards[1])
        with pytest.raises(RunFault, match=r"was scored by length:1, router\.model now is length:2"):
            first.open(shards[2]).hold_to("length:2")


def test_processes_that_begin_at_once_agree_on_one_directory(folder: Path) -> None:
    others = [Entered(folder, Share(index, 4), index % SHARDS) for index in range(3)]
    with ExitStack() as stack:
        for other in others:
            stack.enter_context(other)
        assert lock_state(folder / "run").shares == 3
    assert [read_epoch(layout.epoch).number for layout in layouts_of(folder / "run")] == [1, 1, 1]


def test_the_last_word_is_of_whoever_ended_last(tmp_path: Path) -> None:
    """A ends as the last one; before it reports, B begins and ends."""
    write_input(tmp_path)
    with sharded(tmp_path, Share(0, 2)) as first:
        assert first.leave(["a lane stopped"])
        with sharded(tmp_path, Share(1, 2)) as second:
            with first.last_word() as is_first:
                assert not is_first, "another one is at work"
            assert second.why_others_ended() == {"0/2": ["a lane stopped"]}
            assert second.leave([]), "the first one has ended, though it has its lock"
            with first.last_word() as is_first:
                assert not is_first, "it read its rows before the other one ended"
            with second.last_word() as is_second:
                assert is_second


def test_the_last_word_is_of_one_that_nobody_follows(tmp_path: Path) -> None:
    write_input(tmp_path)
    with sharded(tmp_path, Share(0, 2)) as first, sharded(tmp_path, Share(1, 2)) as second:
        assert not first.leave(["not heard of again"])
        assert second.leave([])
        with second.last_word() as is_second:
            assert is_second
    with sharded(tmp_path, Share(0, 2)), sharded(tmp_path, Share(1, 2)) as second:
        assert second.why_others_ended() == {}, "it is at work again"


def test_what_the_directory_is_held_to_is_parsed_once_for_all_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an input of 5,000 files that takes a third of a second, twice a shard."""
    write_input(tmp_path)
    with sharded(tmp_path) as directory:
        _ = directory.identity
        parsed: list[str] = []
        loads = tomllib.loads

        def counted(text: str, **options: Any) -> dict[str, Any]:
            parsed.append(text)
            return loads(text, **options)

        monkeypatch.setattr(tomllib, "loads", counted)
        for shard in directory.shards:
            directory.close(directory.open(shard), rows=None)
        assert not parsed
        directory.fix_threshold(0.25, SHARDS * ROWS_A_SHARD, None)
        assert directory.identity.threshold == 0.25, "it is another one by now"
