"""Works on batches one by one, each in a process of its own that is started again until the batch is over."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from batchroute.serve.batch.batches import BatchError, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.job.spec import Job
    from batchroute.serve.batch.batches import Batch, BatchStore
    from batchroute.serve.batch.files import FileStore
    from batchroute.serve.batch.shares import Lease

WORKER = "batchroute.serve.batch.worker"
EXIT_AGAIN, EXIT_STOPPED = 4, 143  # of a worker; 0 is the end of a batch
FIRST_REST_S, LONGEST_REST_S = 2.0, 300.0  # before a batch that is held up is tried again
MOST_CRASHES = 3
LONGEST_STOP_S = 30.0  # beyond what the job gives for answers in flight


class BatchQueue:
    """Works on the open batches of a state directory while `run` runs."""

    def __init__(
        self,
        job: Job,
        batches: BatchStore,
        files: FileStore,
        environ: Mapping[str, str],
        lease: Lease,
        notify: Callable[[str], None],
    ) -> None:
        """`job` has the endpoints, with the part of their limits that `lease` gives to a worker."""
        self._job = job
        self._lease = lease
        self._batches = batches
        self._files = files
        self._environ = {**os.environ, **environ}
        self._notify = notify
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._crashes: Counter[str] = Counter()
        self._held_up: Counter[str] = Counter()
        self._rests_until: dict[str, float] = {}

    def review(self) -> None:
        """There is a new batch, or one that is to be cancelled."""
        self._rests_until.clear()
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; then the worker is stopped, and what it has in flight is awaited."""
        try:
            while True:
                self._changed.clear()
                batch = await asyncio.to_thread(self._next, self._resting())
                if batch is None:
                    self._lease.take_back()
                    await self._wait()
                else:
                    await self._lease.give()
                    await self._run_worker(batch)
        finally:
            await self._stop()

    def _resting(self) -> frozenset[str]:
        """Batches that are not to be tried yet; drops the rests that are over."""
        now = time.monotonic()
        self._rests_until = {batch_id: until for batch_id, until in self._rests_until.items() if until > now}
        return frozenset(self._rests_until)

    def _next(self, resting: frozenset[str]) -> Batch | None:
        return next((batch for batch in self._batches.open() if batch.id not in resting), None)

    async def _wait(self) -> None:
        """For a change, or the end of the first rest, which may be over by now."""
        ends = [max(0.0, until - time.monotonic()) for until in self._rests_until.values()]
        try:
            await asyncio.wait_for(self._changed.wait(), min(ends, default=None))
        except TimeoutError:
            return

    async def _run_worker(self, batch: Batch) -> None:
        arguments = (str(self._files.state), batch.id, str(self._files.most_bytes))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", WORKER, *arguments),
            stdin=asyncio.subprocess.PIPE,
            env=self._environ,
            start_new_session=True,  # Ctrl-C is for the server, which stops the worker
        )
        await self._process.communicate(self._job.model_dump_json(exclude_none=True, by_alias=True).encode())
        await asyncio.to_thread(self._after, batch, self._process.returncode or 0)

    def _after(self, batch: Batch, code: int) -> None:
        """Decides what becomes of a batch whose worker ended."""
        if code == 0:
            self._crashes.pop(batch.id, None)
            self._held_up.pop(batch.id, None)
            return
        self._held_up[batch.id] += 1
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2 ** (self._held_up[batch.id] - 1))
        self._rests_until[batch.id] = time.monotonic() + rest_s
        self._crashes[batch.id] += code not in {EXIT_AGAIN, EXIT_STOPPED}
        self._notify(f"{batch.id} is not finished (exit {code}); it is tried again in {rest_s:g} s")
        if self._crashes[batch.id] >= MOST_CRASHES:
            error = BatchError("internal_error", f"its worker ended {MOST_CRASHES} times with exit {code}")
            self._batches.write(failed(self._batches.get(batch.id), [error], int(time.time())))

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._job.limits.drain_s + LONGEST_STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
