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
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from batchroute.errors import Stopped, UsageFault
from batchroute.job.spec import Job
from batchroute.run.engine import JobRun
from batchroute.run.options import RunOptions
from batchroute.run.process import run_loop
from batchroute.run.streams import open_standard_streams
from batchroute.serve.batch.batches import Batch, BatchError, BatchStore, Counts, ended, failed, held_up, woken
from batchroute.serve.batch.files import FileStore, new_id
from batchroute.serve.batch.lines import batch_job, read_batch_input, write_results
from batchroute.serve.chat import model_names

if TYPE_CHECKING:
    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress

RECORD_EVERY_S = 0.5  # how far the run is, and whether there is disk space: neither brings an event
MOST_LOOKING = 0.05  # of the time: in a large state directory it takes long to see what it holds
Ending = Literal["completed", "expired", "cancelled"]


def main() -> None:
    """Exit 0: the batch is over; 4: it is to be tried again; 143: it was stopped, and goes on later."""
    open_standard_streams()
    state, batch_id, most_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    job = Job.model_validate_json(sys.stdin.buffer.read())
    logging.basicConfig(level=logging.WARNING, format=f"{batch_id}: %(message)s")
    os.umask(0o077)  # answers are for the server's owner alone
    with (state / "worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.exit(run_batch(job, batch_id, BatchStore(state), FileStore(state, most_bytes)))


def run_batch(job: Job, batch_id: str, batches: BatchStore, files: FileStore) -> int:
    """Works on a batch until it is over or cannot go on; returns the exit code."""
    batch = batches.get(batch_id)
    if batch.over:
        return 0
    if batch.status == "cancelling" and batch.in_progress_at is None:
        batches.write(ended(batch, "cancelled", _now()))
        return 0
    content = files.path(batch.input_file_id)
    batch_input = read_batch_input(content, model_names(job.router.use, job.routing.threshold, job.endpoints))
    if batch_input.errors or batch_input.selection is None:
        batches.write(failed(batch, batch_input.errors, _now()))
        return 0
    batch = _in_progress(batch, batch_input.requests)
    batches.write(batch)
    try:
        run = batch_job(job, content, batches.run_directory(batch.id), batch_input.selection)
        return _run(run, batch, batches, files)
    except UsageFault as fault:
        batches.write(failed(batch, [BatchError("invalid_batch", str(fault))], _now()))
        return 0
    except Stopped as stopped:
        batches.write(held_up(batch, str(stopped)))
        return Stopped.exit_code


def _in_progress(batch: Batch, requests: int) -> Batch:
    started = batch.in_progress_at or _now()
    counts = replace(batch.request_counts, total=requests)
    return replace(batch, status="in_progress", in_progress_at=started, request_counts=counts, cancelling_at=None)


def _run(job: Job, batch: Batch, batches: BatchStore, files: FileStore) -> int:
    end = run_loop(_watched_run(job, batch, batches, files))
    cancelled = batches.cancel_requested_at(batch.id) is not None
    ending = ending_of(end, cancelled=cancelled, expired=_now() >= batch.expires_at)
    counts = Counts(batch.request_counts.total, end.ok, end.refused + end.failed)
    batch = replace(batch, request_counts=counts)
    if ending is not None:
        _finish(batch, ending, batches, files)
        return 0
    batches.write(held_up(batch, "; ".join(end.stopped)) if end.stopped else batch)
    return end.exit_code(job.limits.ok_if_refused)


def ending_of(end: RunEnd, *, cancelled: bool, expired: bool) -> Ending | None:
    """How a batch ends whose run came to this end; None where it goes on later."""
    if end.signal is None and not end.stopped:
        return "completed"
    if cancelled:
        return "cancelled"
    return "expired" if expired else None


async def _watched_run(job: Job, batch: Batch, batches: BatchStore, files: FileStore) -> RunEnd:
    """Records the progress; stops the run where the batch is cancelled or late, or the disk is full."""

    def reason_to_stop() -> str | None:
        if batches.cancel_requested_at(batch.id) is not None:
            return "the batch is cancelled"
        if _now() >= batch.expires_at:
            return f"the batch is older than {batch.completion_window}"
        return "the server's disk space is used up; delete files" if files.room() < 0 else None

    async def watch(progress: Progress) -> None:
        recorded = batch
        with woken(files.state) as cancelled:
            looking_since = time.monotonic()
            while (reason := await asyncio.to_thread(reason_to_stop)) is None:
                looked_s = time.monotonic() - looking_since
                now = _with_progress(batch, progress)
                if now != recorded:
                    batches.write(now)
                    recorded = now
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(cancelled.wait(), max(RECORD_EVERY_S, looked_s / MOST_LOOKING))
                cancelled.clear()  # before the next look, so that no wake-up is lost
                looking_since = time.monotonic()
        run.stop(reason)

    run = JobRun(job, RunOptions(environ=os.environ, watch=watch, notify=logging.warning))
    return await run.go()


def _with_progress(batch: Batch, progress: Progress) -> Batch:
    """Rows that failed before are asked again, and count as failed no longer."""
    earlier, lanes = batch.request_counts, progress.lanes.values()
    failures = min(earlier.failed, progress.done_before)
    completed = progress.done_before - failures + sum(lane.ok for lane in lanes)
    failures += sum(lane.refused + lane.failed for lane in lanes)
    counts = Counts(earlier.total, completed, failures)
    return replace(batch, request_counts=counts, errors=batch.errors if counts == earlier else None)


def _finish(batch: Batch, ending: Ending, batches: BatchStore, files: FileStore) -> None:
    """Writes the files, then the batch that names them; after a crash it is done again under the same names."""
    output, errors = batch.output_file_id or new_id("file"), batch.error_file_id or new_id("file")
    finalizing_at = batch.finalizing_at or _now()
    batch = replace(
        batch, status="finalizing", finalizing_at=finalizing_at, output_file_id=output, error_file_id=errors
    )
    batches.write(batch)
    write_results(batches.run_directory(batch.id), files.path(output), files.path(errors))
    batch = replace(
        batch,
        output_file_id=_described(output, f"{batch.id}_output.jsonl", files),
        error_file_id=_described(errors, f"{batch.id}_error.jsonl", files),
    )
    batches.write(ended(batch, ending, _now()))


def _described(file_id: str, filename: str, files: FileStore) -> str | None:
    """The id of a file that a client can fetch; None for one without a line, which is removed."""
    if files.path(file_id).stat().st_size == 0:
        files.path(file_id).unlink()
        return None
    return files.describe(file_id, filename, "batch_output").id


def _now() -> int:
    return int(time.time())


if __name__ == "__main__":
    main()
