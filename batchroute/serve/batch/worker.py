"""The process that works on one batch: `python -m batchroute.serve.batch.worker STATE BATCH BYTES`, job on stdin.

A process of its own, so that a batch's scoring and writing take no time of live requests, and so that either may
die without the other. It goes on where an earlier one stopped, which it learns from the files. One works at a
time. Keys are in the environment, as for any run. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from batchroute.errors import Stopped, UsageFault
from batchroute.job.spec import Job
from batchroute.run.engine import Run, RunOptions
from batchroute.run.process import run_loop
from batchroute.serve.batch.batches import Batch, BatchError, BatchStore, Counts, ended, failed, held_up
from batchroute.serve.batch.files import FileStore, new_id
from batchroute.serve.batch.lines import batch_job, read_batch_input, threshold_of, write_results
from batchroute.serve.batch.wake import woken
from batchroute.serve.names import model_names

if TYPE_CHECKING:
    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress

RECORD_EVERY_S = 0.5  # how far the run is, and whether there is disk space: neither brings an event
Ending = Literal["completed", "expired", "cancelled"]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A batch, and the state directory it is in."""

    state: Path
    batch_id: str
    most_bytes: int

    @property
    def batches(self) -> BatchStore:
        return BatchStore(self.state)

    @property
    def files(self) -> FileStore:
        return FileStore(self.state, self.most_bytes)

    def over_full(self) -> bool:
        """Whether the state directory holds more than it may."""
        return self.files.room() < 0


def main() -> None:
    """Exit 0: the batch is over; 4: it is to be tried again; 143: it was stopped, and goes on later."""
    state, batch_id, most_bytes = sys.argv[1:]
    job = Job.model_validate_json(sys.stdin.buffer.read())
    logging.basicConfig(level=logging.WARNING, format=f"{batch_id}: %(message)s")
    os.umask(0o077)  # answers are for the server's owner alone
    with (Path(state) / "worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.exit(run_batch(job, WorkItem(Path(state), batch_id, int(most_bytes))))


def run_batch(job: Job, on: WorkItem) -> int:
    """Works on a batch until it is over or cannot go on; returns the exit code."""
    batch = on.batches.get(on.batch_id)
    if batch.over:
        return 0
    if batch.status == "cancelling" and batch.in_progress_at is None:
        on.batches.write(ended(batch, "cancelled", _now()))
        return 0
    content = on.files.path(batch.input_file_id)
    batch_input = read_batch_input(content, model_names(job.router.use, job.routing.threshold, job.endpoints))
    if batch_input.errors or batch_input.selection is None:
        on.batches.write(failed(batch, batch_input.errors, _now()))
        return 0
    batch = _in_progress(batch, batch_input.requests)
    on.batches.write(batch)
    try:
        run = batch_job(job, content, on.batches.run_directory(batch.id), threshold_of(batch_input.selection))
        return _run(run, batch, on)
    except UsageFault as fault:
        on.batches.write(failed(batch, [BatchError("invalid_batch", str(fault))], _now()))
        return 0
    except Stopped as stopped:
        on.batches.write(held_up(batch, str(stopped)))
        return Stopped.exit_code


def _in_progress(batch: Batch, requests: int) -> Batch:
    started = batch.in_progress_at or _now()
    counts = replace(batch.request_counts, total=requests)
    return replace(batch, status="in_progress", in_progress_at=started, request_counts=counts, cancelling_at=None)


def _run(job: Job, batch: Batch, on: WorkItem) -> int:
    end = run_loop(_watched_run(job, batch, on))
    cancelled = on.batches.cancel_requested_at(batch.id) is not None
    ending = ending_of(end, cancelled=cancelled, expired=_now() >= batch.expires_at)
    if ending is not None:
        _finish(batch, end, ending, on)
        return 0
    stopped = replace(batch, request_counts=_counts(batch, end))
    on.batches.write(held_up(stopped, "; ".join(end.stopped)) if end.stopped else stopped)
    return end.exit_code(1.0)


def _counts(batch: Batch, end: RunEnd) -> Counts:
    return Counts(batch.request_counts.total, end.ok, end.refused + end.failed)


def ending_of(end: RunEnd, *, cancelled: bool, expired: bool) -> Ending | None:
    """How a batch ends whose run came to this end; None where it goes on later."""
    if end.signal is None and not end.stopped:
        return "completed"
    if cancelled:
        return "cancelled"
    return "expired" if expired else None


async def _watched_run(job: Job, batch: Batch, on: WorkItem) -> RunEnd:
    """Records the progress; stops the run where the batch is cancelled or late, or the disk is full."""

    async def watch(progress: Progress) -> None:
        recorded = batch
        with woken(on.state) as cancelled:
            while (reason := await asyncio.to_thread(_reason_to_stop, batch, on)) is None:
                now = _with_progress(batch, progress)
                if now != recorded:
                    on.batches.write(now)
                    recorded = now
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(cancelled.wait(), RECORD_EVERY_S)
                cancelled.clear()  # before the next look, so that no wake-up is lost
        run.stop(reason)

    run = Run(job, RunOptions(environ=os.environ, watch=watch, notify=logging.warning))
    return await run.go()


def _with_progress(batch: Batch, progress: Progress) -> Batch:
    """Rows that failed before are asked again, and count as failed no longer."""
    earlier, lanes = batch.request_counts, progress.lanes.values()
    failures = min(earlier.failed, progress.done_before)
    completed = progress.done_before - failures + sum(lane.ok for lane in lanes)
    failures += sum(lane.refused + lane.failed for lane in lanes)
    counts = Counts(earlier.total, completed, failures)
    return replace(batch, request_counts=counts, errors=batch.errors if counts == earlier else None)


def _reason_to_stop(batch: Batch, on: WorkItem) -> str | None:
    if on.batches.cancel_requested_at(batch.id) is not None:
        return "the batch is cancelled"
    if _now() >= batch.expires_at:
        return f"the batch is older than {batch.completion_window}"
    return "the server's disk space is used up; delete files" if on.over_full() else None


def _finish(batch: Batch, end: RunEnd, ending: Ending, on: WorkItem) -> None:
    """Writes the files, then the batch that names them; after a crash it is done again under the same names."""
    if batch.output_file_id is None or batch.error_file_id is None:
        ids = {"output_file_id": new_id("file"), "error_file_id": new_id("file")}
        batch = replace(batch, status="finalizing", finalizing_at=_now(), **ids)
        on.batches.write(batch)
    files = on.files
    output, errors = str(batch.output_file_id), str(batch.error_file_id)
    counts = write_results(on.batches.run_directory(batch.id), files.path(output), files.path(errors))
    kept: list[str | None] = []
    for file_id, count, kind in ((output, counts[0], "output"), (errors, counts[1], "error")):
        path = files.path(file_id)
        if count:
            files.describe(file_id, path.stat().st_size, f"{batch.id}_{kind}.jsonl", "batch_output")
        else:
            path.unlink()
        kept.append(file_id if count else None)
    batch = replace(batch, request_counts=_counts(batch, end), output_file_id=kept[0], error_file_id=kept[1])
    on.batches.write(ended(batch, ending, _now()))


def _now() -> int:
    return int(time.time())


if __name__ == "__main__":
    main()
