from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import NO_COLUMNS, files_of_at_most, kept_row, result, unprivileged
from batchroute.errors import RunFault, Stopped
from batchroute.store.columns import ResultColumns
from batchroute.store.directory import clear_run
from batchroute.store.files import saving
from batchroute.store.journal import Journal, read_journal
from batchroute.store.layout import RunLayout
from batchroute.store.lock import locked
from batchroute.store.rows import JOURNAL_ROWS, SYNC_EVERY_S, RunStore
from batchroute.store.unsealed import read_failed, reopen_refused, write_failed
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.types import Result

FILE = "prompts.jsonl"
KEEP = pa.schema([("topic", pa.string())])
# What a row's next run needs of what former ones spent on it.
SPENT = ("attempts", "cost_usd", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def opened(path: Path, keep: pa.Schema = NO_COLUMNS, *, raw: bool = False) -> RunStore:
    return RunStore(RunLayout(path), ResultColumns(keep, raw=raw), mode=0o700)


def spent(entry: Result) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in SPENT}


def done_rows(store: RunStore, rows: int = 100) -> set[int]:
    return set(np.flatnonzero(store.done.mask(FILE, np.arange(rows))).tolist())


def rows_in_parts(path: Path) -> list[tuple[int, str]]:
    tables = [pq.read_table(part, columns=["row", "status"]) for part in sorted((path / "results").iterdir())]
    return [(row["row"], row["status"]) for table in tables for row in table.to_pylist()]


def rows_in_failed(path: Path) -> list[int]:
    return [json.loads(line)["row"] for line in (path / "failed.jsonl").read_bytes().splitlines()]


def test_a_new_directory_holds_nothing_and_ends_as_one_empty_part(tmp_path: Path) -> None:
    store = opened(tmp_path, KEEP, raw=True)
    assert (store.tally.done, store.unsettled, done_rows(store)) == (0, {}, set())
    store.finish()
    (part,) = (tmp_path / "results").iterdir()
    assert pq.read_table(part).equals(ResultColumns(KEEP, raw=True).schema.empty_table())
    assert (tmp_path / "failed.jsonl").read_bytes() == b""
    assert list(tmp_path.glob("journal-*")) == []


def test_a_row_is_done_as_soon_as_its_record_is_written(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(5))
    store.record(result(6, "failed"))
    assert done_rows(store) == {5}
    again = opened(tmp_path)  # nothing was closed, synced or sealed in between
    assert done_rows(again) == {5}


def test_every_row_ends_where_its_status_says(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for row, status in enumerate(["ok", "refused", "failed", "open"]):
        store.record(result(row, status))
    assert (store.tally.refused, store.tally.ok) == (1, {"weak": 1})
    assert [entry.row for entry in store.failed()] == [2]
    store.finish()
    assert rows_in_parts(tmp_path) == [(0, "ok"), (1, "refused")]
    assert rows_in_failed(tmp_path) == [2]

    again = opened(tmp_path)
    assert done_rows(again) == {0, 1}
    assert {row: entry.status for (_, row), entry in again.unsettled.items()} == {2: "failed", 3: "open"}


@pytest.mark.parametrize("status", ["failed", "open"])
@pytest.mark.parametrize("finished", [True, False])
def test_what_an_unsettled_row_has_cost_is_carried_over_until_it_settles(
    tmp_path: Path, status: str, finished: bool
) -> None:
    entry = result(
        7,
        status,
        attempts=6,
        cost_usd=0.25,
        prompt_tokens=9,
        cached_tokens=1,
        completion_tokens=3,
        reasoning_tokens=2,
    )
    store = opened(tmp_path)
    store.record(entry)
    store.finish() if finished else store.close()
    for _ in range(3):  # however many runs come and go without asking it
        store = opened(tmp_path)
        assert [spent(known) for known in store.unsettled.values()] == [spent(entry)]
        assert store.spent_usd == Decimal("0.25")
        store.finish() if finished else store.close()

    store = opened(tmp_path)
    store.record(result(7, attempts=8, cost_usd=0.5))
    assert store.unsettled == {}
    store.finish()
    again = opened(tmp_path)
    assert (again.unsettled, done_rows(again), again.spent_usd) == ({}, {7}, Decimal("0.5"))
    assert rows_in_failed(tmp_path) == []


def test_rows_left_open_before_any_row_settled_are_not_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(1, "open", attempts=2, cost_usd=0.125))
    store.finish()
    for _ in range(2):
        again = opened(tmp_path)
        assert [spent(entry)["attempts"] for entry in again.unsettled.values()] == [2]
        again.finish()


def test_rows_left_open_in_an_older_journal_outlive_its_seal(tmp_path: Path) -> None:
    """A crash can strike between a new journal and the open rows' way into it."""
    for number, entries in enumerate([[result(0), result(1, "open", attempts=3)], [result(2)]]):
        journal = Journal(tmp_path / f"journal-{number:05d}")
        for entry in entries:
            journal.append(entry)
        journal.close()
    asyncio.run(_sealed_in_the_background(opened(tmp_path)))
    again = opened(tmp_path)
    assert done_rows(again) == {0, 2}
    assert [(row, entry.attempts) for (_, row), entry in again.unsettled.items()] == [(1, 3)]


async def _sealed_in_the_background(store: RunStore) -> None:
    sealing = asyncio.create_task(store.keep_sealed())
    await store.sealed()
    sealing.cancel()
    store.close()


def test_a_journal_whose_part_is_there_counts_once(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(0))
    store.record(result(1, "failed"))
    journal = tmp_path / "journal-00000"
    copy = shutil.copy(journal, tmp_path / "copy")
    store.finish()
    Path(copy).rename(journal)

    again = opened(tmp_path)
    assert again.tally.done == 1
    assert [row for _, row in again.unsettled] == [1]
    again.finish()
    assert rows_in_parts(tmp_path) == [(0, "ok")]


def test_unfinished_files_of_a_crash_are_no_results(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(0))
    store.close()
    for name in (".part-00000.parquet.unfinished", ".failed.jsonl.unfinished"):
        (tmp_path / name).write_bytes(b"torn")
    again = opened(tmp_path)
    again.finish()
    assert rows_in_parts(tmp_path) == [(0, "ok")]
    assert not list(tmp_path.glob(".part-*"))


def test_a_torn_record_is_a_row_not_done(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for row in range(3):
        store.record(result(row))
    store.close()
    journal = tmp_path / "journal-00000"
    journal.write_bytes(journal.read_bytes()[:-1])
    again = opened(tmp_path)
    assert done_rows(again) == {0, 1}
    again.record(result(2))
    again.finish()
    assert rows_in_parts(tmp_path) == [(0, "ok"), (1, "ok"), (2, "ok")]


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["ok", "refused", "failed", "open"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["roll", "seal", "crash", "finish"]), st.just(0)),
)


@settings(max_examples=60)
@given(actions=st.lists(ACTIONS, max_size=25))
def test_whatever_happens_between_runs_no_row_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("run")
    store, settled, unsettled = opened(path), dict[int, str](), dict[int, dict[str, Any]]()
    for number, (action, row) in enumerate(actions):
        if action == "roll":
            store._roll()
        elif action == "seal" and not store._full.empty():
            store._seal(*store._full.get_nowait())
        elif action in {"crash", "finish"}:
            store.finish() if action == "finish" else store.close()
            store = opened(path)
        elif action in {"ok", "refused", "failed", "open"} and row not in settled:
            entry = result(row, action, attempts=number + 1, cost_usd=number / 8)
            store.record(entry)
            unsettled.pop(row, None)
            if action in {"ok", "refused"}:
                settled[row] = action
            else:
                unsettled[row] = spent(entry) | {"status": action}
        assert {
            row: spent(entry) | {"status": entry.status} for (_, row), entry in store.unsettled.items()
        } == unsettled
        assert store.tally.done == len(settled)
    store.finish()
    assert sorted(rows_in_parts(path)) == sorted(settled.items())
    assert sorted(rows_in_failed(path)) == sorted(row for row, e in unsettled.items() if e["status"] == "failed")
    assert done_rows(opened(path)) == settled.keys()


def a_run_in_two_journals(directory: Path) -> Iterator[None]:
    (directory / "results").mkdir()
    first = RunStore(RunLayout(directory), ResultColumns(KEEP), mode=0o700)
    for row, status in enumerate(["ok", "failed", "open", "refused"]):
        first.record(result(row, status, attempts=row + 1, keep=kept_row(KEEP, topic="t")))
    first.close()
    yield
    store = RunStore(RunLayout(directory), ResultColumns(KEEP), mode=0o700)
    for row, status in enumerate(["ok", "failed", "open"], 4):
        store.record(result(row, status, attempts=row + 1, keep=kept_row(KEEP, topic="t")))
    store._roll()
    store.record(result(7, attempts=8, keep=kept_row(KEEP, topic="t")))
    store.finish()


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_run_dies_at_its_rows_are_there_once(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_rows:a_run_in_two_journals", mishap, tmp_path)
    assert len(hits) > 12
    for hit in hits:
        assert hit.end in {"killed", "Stopped", "done"}, hit
        store = opened(hit.directory, KEEP)
        for row in range(8):
            if (FILE, row) not in store.unsettled and row not in done_rows(store):
                assert row > 3, f"row {row} is lost at {hit.step}"
                status = {5: "failed", 6: "open"}.get(row, "ok")
                store.record(result(row, status, attempts=row + 1, keep=kept_row(KEEP)))
        assert {row: entry.attempts for (_, row), entry in store.unsettled.items()} == {1: 2, 2: 3, 5: 6, 6: 7}, (
            hit
        )
        store.finish()
        assert sorted(row for row, _ in rows_in_parts(hit.directory)) == [0, 3, 4, 7], hit
        assert rows_in_failed(hit.directory) == [1, 5]


def test_journals_are_sealed_while_rows_are_recorded(tmp_path: Path) -> None:
    rows = 2 * JOURNAL_ROWS + 5000
    early = asyncio.run(_record_in_the_background(opened(tmp_path), rows))
    assert early >= 1, "a full journal waited for the end"
    found = [row for row, _ in rows_in_parts(tmp_path)]
    assert len(found) == rows
    assert set(found) == set(range(rows))


async def _record_in_the_background(store: RunStore, rows: int) -> int:
    """How many parts were there when the last row was recorded and all full journals were sealed."""
    beside = [asyncio.create_task(work) for work in (store.keep_sealed(), store.keep_synced())]
    for row in range(rows):
        store.record(result(row))
        if row % 500 == 0:
            await asyncio.sleep(0)
    await store.sealed()
    early = len(list((store.layout.path / "results").iterdir()))
    for task in beside:
        task.cancel()
    store.finish()
    return early


def test_every_record_is_forced_onto_the_disk_soon_or_the_run_stops(tmp_path: Path) -> None:
    """The kernel refuses to sync a pipe. In the place of a journal that is synced, it shows each later sync."""
    with pytest.raises(Stopped, match="journal-00000: cannot be written: Invalid argument"):
        asyncio.run(_unsyncable_after_the_first_sync(opened(tmp_path)))


async def _unsyncable_after_the_first_sync(store: RunStore) -> None:
    store.record(result(0))
    store._journal.sync()
    reading, writing = os.pipe()
    os.dup2(writing, _handle_of(store._journal.path))
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            syncing = group.create_task(store.keep_synced())
            await asyncio.sleep(4 * SYNC_EVERY_S)
            assert not syncing.done(), "synced although there was nothing new"
            store.record(result(1))
            await syncing
    except* Stopped as stopped:
        raise stopped.exceptions[0] from None
    finally:
        os.close(reading)
        os.close(writing)


def _handle_of(path: Path) -> int:
    """The file descriptor through which this process writes to a file."""
    held = Path("/proc/self/fd").iterdir()
    return next(int(link.name) for link in held if link.resolve() == path)


FAILED = result(
    3,
    "failed",
    side="strong",
    route_reason="too_long",
    attempts=6,
    prompt_tokens=1,
    cached_tokens=0,
    completion_tokens=2,
    reasoning_tokens=1,
    cost_usd=0.1 + 0.2,
    latency_s=1.5,
    error='HTTP 500: "später"\n\x1b[31m\U0001f600',
)


def test_failed_rows_are_written_in_input_order_and_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    bare = result(1, "failed", id=None, score=None, model=None, error_type=None, error=None)
    write_failed(path, [FAILED, bare])
    assert read_failed(path) == [bare, FAILED]
    first = json.loads(path.read_bytes().splitlines()[1])
    assert first.keys() >= {"file", "row", "id", "score", "route", "attempts", "cost_usd", "error_type", "error"}
    assert (first["row"], first["cost_usd"], first["error"]) == (3, 0.1 + 0.2, FAILED.error)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_of_failed_rows_is_none_failed(tmp_path: Path) -> None:
    assert read_failed(tmp_path / "failed.jsonl") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("failed.jsonl", b'{"file": "a", "row"'),
        ("failed.jsonl", b'{"file": "\xff"}'),
        ("results/part-00000.parquet", b"PAR1 no more"),
    ],
)
def test_a_spoiled_file_is_named_and_nothing_is_guessed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunFault, match=name):
        opened(tmp_path)


def test_a_record_that_cannot_be_saved_stops_the_run(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(0))
    with files_of_at_most(store._journal.bytes + 10), pytest.raises(Stopped, match="journal-00000: cannot be"):
        store.record(result(1))
    assert done_rows(opened(tmp_path)) == {0}


def test_a_seal_that_cannot_be_saved_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for row in range(50):
        store.record(result(row, response=f"{row * 7919 % 65537:x}" * 90))
    with files_of_at_most(1000), pytest.raises(Stopped, match="cannot be written"):
        store.finish()
    again = opened(tmp_path)
    assert done_rows(again) == set(range(50))
    again.finish()
    assert sorted(row for row, _ in rows_in_parts(tmp_path)) == list(range(50))


def test_a_directory_that_may_not_be_written_stops_the_run_naming_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        closed = Path(folder) / "closed"
        closed.mkdir()
        Path(folder).chmod(0o755)
        closed.chmod(0o555)
        for target in (closed, closed / "run"):
            refused = pytest.raises(Stopped, match=f"{target}: cannot be written: Permission denied")
            with unprivileged(), refused, locked(target, 0o700):
                raise AssertionError("the lock was taken")


def test_saving_names_the_place_and_the_reason(tmp_path: Path) -> None:
    message = f"{tmp_path}: cannot be written: Is a directory; fix that, then run again"
    with pytest.raises(Stopped, match=message), saving(tmp_path):
        tmp_path.open("wb")


HOLD = """
import sys, pathlib
from batchroute.store.lock import locked
with locked(pathlib.Path(sys.argv[1]), 0o700):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_directory_has_one_run_at_a_time_and_a_dead_one_blocks_none(tmp_path: Path) -> None:
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(Stopped, match=f"a run is at work here: pid {holder.pid} on .* since "),
            locked(path, 0o700),
        ):
            raise AssertionError("the lock was taken twice")
        holder.send_signal(signal.SIGKILL)
        holder.wait(20)
        with locked(path, 0o700):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_lock_is_given_back_however_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="the run's own"), locked(tmp_path, 0o700):
        raise BlockingIOError("the run's own trouble")
    with locked(tmp_path, 0o700):
        pass


def test_an_output_path_that_is_a_file_is_the_users_fault(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    path.touch()
    with pytest.raises(RunFault, match=r"is a file; output\.path must name a directory"), locked(path, 0o700):
        raise AssertionError("the lock was taken")


def test_an_output_path_below_a_file_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").touch()
    path = tmp_path / "results.parquet" / "a" / "run"
    with pytest.raises(RunFault, match=r"results\.parquet: is a file; output\.path"), locked(path, 0o700):
        raise AssertionError("the lock was taken")


def test_clearing_leaves_nothing_but_the_lock_the_job_and_the_bill_of_embeddings(tmp_path: Path) -> None:
    with locked(tmp_path, 0o700):
        store = opened(tmp_path)
        store.record(result(0))
        store.record(result(1, "failed"))
        store.finish()
        (tmp_path / "scores").mkdir()
        (tmp_path / "scores" / "part-00000.parquet").touch()
        for name in ("job.toml", "embeddings.journal"):
            (tmp_path / name).touch()
        clear_run(RunLayout(tmp_path))
        assert {entry.name for entry in tmp_path.iterdir()} == {"lock", "job.toml", "embeddings.journal"}


REFUSALS = [
    result(0, keep=kept_row(KEEP, topic="kept")),
    result(1, "refused", error_type="http_400", attempts=2, cost_usd=0.125, keep=kept_row(KEEP)),
    result(2, "refused", side=None, error_type="bad_row", attempts=0, keep=kept_row(KEEP)),
    result(3, "refused", error_type="too_long", attempts=0, keep=kept_row(KEEP)),
    result(4, "failed"),
]


def refused_rows_reopened(directory: Path) -> Iterator[None]:
    (directory / "results").mkdir()
    store = RunStore(RunLayout(directory), ResultColumns(KEEP), mode=0o700)
    for entry in REFUSALS:
        store.record(entry)
    store.finish()
    yield
    reopen_refused(RunLayout(directory), ResultColumns(KEEP))


def test_refused_rows_are_asked_again_where_asking_can_help(tmp_path: Path) -> None:
    list(refused_rows_reopened(tmp_path))
    assert rows_in_parts(tmp_path) == [(0, "ok"), (2, "refused")]
    assert rows_in_failed(tmp_path) == [1, 3, 4]
    store = opened(tmp_path, KEEP)
    assert done_rows(store) == {0, 2}
    assert spent(store.unsettled[FILE, 1]) == spent(REFUSALS[1])
    (part,) = (tmp_path / "results").iterdir()
    assert pq.read_table(part)["topic"].to_pylist() == ["kept", None]
    assert msgspec.structs.replace(store.unsettled[FILE, 4], keep=b"") == REFUSALS[4]


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_reopening_dies_at_no_refused_row_is_lost(tmp_path: Path, mishap: Any) -> None:
    for hit in hit_at_every_step("test_rows:refused_rows_reopened", mishap, tmp_path):
        store = opened(hit.directory, KEEP)
        waiting = {row for _, row in store.unsettled}
        assert waiting | done_rows(store) == {0, 1, 2, 3, 4}
        assert waiting & done_rows(store) == set()
        store.finish()
        reopen_refused(RunLayout(hit.directory), ResultColumns(KEEP))
        assert rows_in_parts(hit.directory) == [(0, "ok"), (2, "refused")]
        assert rows_in_failed(hit.directory) == [1, 3, 4]


def test_journals_of_a_run_are_read_in_their_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.record(result(1, "open", attempts=1))
    store._roll()
    store.record(result(1, "failed", attempts=2))
    store.close()
    assert [entry.attempts for entry in opened(tmp_path).unsettled.values()] == [2]
    assert [entry.status for entry in read_journal(tmp_path / "journal-00001")] == ["open", "failed"]
