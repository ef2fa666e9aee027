"""Batches, with OpenAI's fields, on disk: `batches/ID.json` is the truth, for clients and after a crash.

A batch's run directory is `runs/ID`. Only the worker of a batch writes its file, so a client's request to cancel
it is a file of its own, `batches/ID.cancel`, which holds the time.

A byte in the named pipe `worker.wake` wakes the worker, whichever server started it. No signal, as one may come
before the worker is ready for it, or hit a process that got the worker's number. What the byte asks for is on
file, so a lost or a second one does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from batchroute.serve.batch.files import ApiError, checked_id, new_id
from batchroute.store.files import saving, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDPOINT = "/v1/chat/completions"
_PIPE = "worker.wake"
WINDOW, WINDOW_S = "24h", 24 * 3600
Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]
OVER = frozenset({"completed", "failed", "expired", "cancelled"})


class Counts(msgspec.Struct, frozen=True):
    """Requests of a batch."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchError(msgspec.Struct, frozen=True):
    """What is wrong with a batch as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(msgspec.Struct, frozen=True):
    data: list[BatchError]
    object: str = "list"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, with OpenAI's fields; times are seconds since the epoch."""

    id: str
    input_file_id: str
    created_at: int
    expires_at: int
    endpoint: str = ENDPOINT
    completion_window: str = WINDOW
    object: str = "batch"
    status: Status = "validating"
    errors: BatchErrors | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts = Counts()
    metadata: dict[str, str] | None = None

    @property
    def over(self) -> bool:
        return self.status in OVER


def failed(batch: Batch, errors: list[BatchError], now: int) -> Batch:
    """A batch that cannot be run at all."""
    return replace(batch, status="failed", failed_at=now, errors=BatchErrors(errors))


def held_up(batch: Batch, message: str) -> Batch:
    """A batch that cannot go on for now; it is tried again, and says why it waits."""
    return replace(batch, errors=BatchErrors([BatchError("held_up", message)]))


def ended(batch: Batch, status: Literal["completed", "expired", "cancelled"], now: int) -> Batch:
    """A batch whose results are in its files."""
    return replace(batch, status=status, errors=None, **{f"{status}_at": now})


class BatchStore:
    """The batches of a state directory; all methods block."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = state / "batches"
        self._runs = state / "runs"
        for folder in (self._folder, self._runs):
            folder.mkdir(mode=0o700, exist_ok=True)

    def create(self, input_file_id: str, metadata: dict[str, str] | None, now: int) -> Batch:
        batch = Batch(
            id=new_id("batch"),
            input_file_id=input_file_id,
            created_at=now,
            expires_at=now + WINDOW_S,
            metadata=metadata,
        )
        self.write(batch)
        return batch

    def write(self, batch: Batch) -> None:
        with saving(self._folder):
            write_whole(self._path(batch.id), msgspec.json.encode(batch))

    def get(self, batch_id: str) -> Batch:
        """As its client sees it: `cancelling` from the request to cancel it until it is over."""
        try:
            batch = msgspec.json.decode(self._path(batch_id).read_bytes(), type=Batch)
        except FileNotFoundError:
            raise ApiError(404, f"there is no batch {batch_id!r}", "not_found") from None
        requested_at = self.cancel_requested_at(batch_id)
        if batch.over or requested_at is None:
            return batch
        return replace(batch, status="cancelling", cancelling_at=requested_at)

    def listed(self) -> list[Batch]:
        """The newest first."""
        return sorted(self._all(), key=lambda batch: (batch.created_at, batch.id), reverse=True)

    def open(self) -> list[Batch]:
        """Those that are not over, the oldest first."""
        return [batch for batch in reversed(self.listed()) if not batch.over]

    def run_directory(self, batch_id: str) -> Path:
        return self._runs / checked_id(batch_id, "batch")

    def request_cancel(self, batch_id: str, now: int) -> None:
        """Asks its worker to stop; what is answered by then is kept."""
        batch = self.get(batch_id)
        if batch.over:
            raise ApiError(409, f"the batch is {batch.status} already", "batch_over")
        if self.cancel_requested_at(batch_id) is None:
            with saving(self._folder):
                write_whole(self._cancel_path(batch_id), str(now).encode())
        wake_worker(self._state)

    def cancel_requested_at(self, batch_id: str) -> int | None:
        """When that was, in seconds since the epoch; None: never."""
        try:
            return int(self._cancel_path(batch_id).read_bytes())
        except FileNotFoundError:
            return None

    def forget_file(self, file_id: str) -> None:
        """Before a file is deleted: ApiError while a batch needs it; with its results goes a finished run."""
        for batch in self._all():
            if batch.input_file_id == file_id and not batch.over:
                raise ApiError(409, f"{batch.id} reads this file; cancel it first", "file_in_use")
            if batch.over and file_id in {batch.output_file_id, batch.error_file_id}:
                shutil.rmtree(self.run_directory(batch.id), ignore_errors=True)

    def _all(self) -> Iterator[Batch]:
        for path in self._folder.glob("batch_*.json"):
            yield self.get(path.stem)

    def _path(self, batch_id: str) -> Path:
        return self._folder / f"{checked_id(batch_id, 'batch')}.json"

    def _cancel_path(self, batch_id: str) -> Path:
        return self._folder / f"{checked_id(batch_id, 'batch')}.cancel"


def wake_worker(state: Path) -> None:
    """Does nothing where no worker listens."""
    with contextlib.suppress(OSError):
        pipe = os.open(state / _PIPE, os.O_WRONLY | os.O_NONBLOCK)
        with os.fdopen(pipe, "wb", buffering=0) as listening:
            listening.write(b"\n")


@contextlib.contextmanager
def woken(state: Path) -> Iterator[asyncio.Event]:
    """Inside a running loop: an event that each `wake_worker` sets."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(state / _PIPE, 0o600)
    pipe = os.open(state / _PIPE, os.O_RDWR | os.O_NONBLOCK)  # with a writer of its own it never ends
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def read() -> None:
        os.read(pipe, 4096)
        event.set()

    loop.add_reader(pipe, read)
    try:
        yield event
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
