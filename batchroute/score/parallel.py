"""Scoring on all cores: a thread of this process scores, and beside it other processes score what it does not.

Only a router that costs much CPU for each text, and is the same wherever it is loaded, has any: the built-in
embedder on the CPU. A class of the user's own may hold what another process lacks; a transformer has torch's own
threads; a GPU, an API and vectors that are there wait for something else than a core. Knows no scores on disk.
"""

# On two cores, with chunks A, B, C ... of 4096 rows, each 0.23 s of scoring, and 0.03 s of reading and storing:
#
#     0.0 s   a look at the input: 32 MiB are to come, so a process is started; it imports torch, as this one does
#     2.0 s   both have their scorer. The thread here takes A, the process B and C: one to score, and one that lies
#             ready, so that it does not wait until this process finds the time to send it another
#     2.2 s   the thread takes D; the process goes on with C, and is sent E ...
#
# Whoever is free takes the earliest chunk that nobody has, and `rated_chunks` gives them on in order. A process
# that dies gives back nothing, and what it had is rated by the next one that is free: at worst by the thread.

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchroute.errors import BatchrouteError
from batchroute.input.split import ChunkLimits
from batchroute.score.cores import usable_cores
from batchroute.score.rater import Rated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from decimal import Decimal
    from multiprocessing.connection import Connection

    from batchroute.input.ahead import ChunksAhead
    from batchroute.job.spec import RouterSpec
    from batchroute.score.rater import OpenRater, Rater
    from batchroute.score.router import LoadedFrom, Scorer
    from batchroute.types import Questions

MODULE = "batchroute.score.process"
LEAST_BYTES = 32 << 20  # of input: two seconds of scoring, as long as a process takes to start
MOST_PROCESSES = 8  # all together: so many score as fast as one reads and stores
AT_A_TIME = 2  # questions that a process has: one to score, one to go on with
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}

log = logging.getLogger("batchroute")


@contextlib.asynccontextmanager
async def open_rater_for(
    chunks: ChunksAhead,
    rows: int | None,
    loaded_from: LoadedFrom | None,
    load: Callable[[], Scorer],
    open_rater: OpenRater,
) -> AsyncIterator[Rater]:
    """The rater of the scorer that `load` gives, for the next `rows` of these chunks.

    With processes beside it where that pays, and `loaded_from` says what they load. They are started before `load`
    is called, which takes as long here as there.
    """
    with contextlib.ExitStack() as stack:
        processes: list[ScoringProcess] = []
        if loaded_from is not None:
            started = _started(stack, chunks, rows, loaded_from)
            processes = await asyncio.to_thread(list, started)
        scorer = await asyncio.to_thread(load)
        async with open_rater(scorer) as rater:
            if not processes or not scorer.parallel:
                stack.close()
                yield rater
                return
            shared = ParallelRater(rater, processes)
            joining = [asyncio.create_task(shared.join(process, scorer.identity)) for process in processes]
            try:
                yield shared
            finally:
                for task in joining:
                    task.cancel()
                await asyncio.gather(*joining, return_exceptions=True)


def is_parallel(router: RouterSpec) -> bool:
    """Whether it may be, as far as the settings tell: a device that is chosen may turn out to be a GPU."""
    return router.use == "mf" and router.embedder.use == "builtin" and router.device in {"auto", "cpu"}


def _started(
    stack: contextlib.ExitStack, chunks: ChunksAhead, rows: int | None, loaded_from: LoadedFrom
) -> Iterator[ScoringProcess]:
    """One for each core but the one that this process has; none where that is not worth it."""
    others = min(usable_cores(), MOST_PROCESSES) - 1
    if not others or not is_parallel(loaded_from.router) or not chunks.have(LEAST_BYTES, rows):
        return
    for _ in range(others):
        try:
            process = stack.enter_context(scoring_process(loaded_from))
        except OSError as fault:
            log.warning("no process can be started to score: %s; those that are there do it all", fault)
            return
        yield process


@contextlib.contextmanager
def scoring_process(loaded_from: LoadedFrom) -> Iterator[ScoringProcess]:
    """Started, and at the end of the block killed: it holds nothing that is not here as well."""
    from multiprocessing import Pipe  # noqa: PLC0415 - most runs start none

    ours, theirs = Pipe()
    with ours, ThreadPoolExecutor(1, "to-scorer") as sending, ThreadPoolExecutor(1, "from-scorer") as receiving:
        with theirs:
            paths = os.pathsep.join(str(path) or os.getcwd() for path in sys.path)  # noqa: PTH109 - a string
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD, **NO_GPU, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for this process, which ends the other
            )
        try:
            scoring = ScoringProcess(process, ours, sending, receiving)
            scoring.send(loaded_from)
            yield scoring
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class ScoringProcess:
    """Answers in the order in which it is asked, from a thread each for what goes there and what comes back."""

    process: subprocess.Popen[bytes]
    connection: Connection
    sending: ThreadPoolExecutor
    receiving: ThreadPoolExecutor

    async def rate(self, questions: Questions) -> Rated | None:
        """None where the process is gone. Only what scores depend on goes there."""
        self.send(replace(questions, ids=[], forced=[], media=()))
        answer = await self.received()
        if isinstance(answer, BatchrouteError):
            raise answer
        return None if answer is None else Rated(answer)

    async def received(self) -> Any:
        """What it says next; None where it is gone."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.receiving, self.connection.recv)
        except (EOFError, OSError):
            return None

    def send(self, message: object) -> None:
        """In its turn."""
        self.sending.submit(self._send, message)

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # who is gone does not answer, either, and that is noticed
            self.connection.send(message)


class ParallelRater:
    """See `Rater`: that of this process, and others beside it."""

    def __init__(self, own: Rater, processes: Sequence[ScoringProcess]) -> None:
        chunks = 2 + AT_A_TIME * len(processes)  # one for the thread here, and one that waits for whoever is free
        self.ahead = chunks * ChunkLimits().rows
        self.ahead_chars = chunks * ChunkLimits().chunk_bytes
        self._own = own
        self._free: asyncio.Queue[Rater | ScoringProcess] = asyncio.Queue()
        self._free.put_nowait(own)
        self._gone: set[int] = set()

    @property
    def sent(self) -> int:
        return self._own.sent

    @property
    def stopped(self) -> str | None:
        return self._own.stopped

    @property
    def spent_usd(self) -> Decimal:
        return self._own.spent_usd

    async def join(self, process: ScoringProcess, identity: str) -> None:
        """Gives a process its part as soon as it has loaded the same scorer."""
        if await process.received() != identity:
            self._leave(process)
            return
        for _ in range(AT_A_TIME):
            self._free.put_nowait(process)

    async def rate(self, questions: Questions) -> Rated | None:
        """As soon as one is free, by the first that does not die meanwhile."""
        while True:
            free = await self._free.get()
            rated = await free.rate(questions)
            if rated is None and isinstance(free, ScoringProcess):
                self._leave(free)
                continue
            self._free.put_nowait(free)
            return rated

    def stop(self) -> None:
        self._own.stop()

    def abandon(self) -> None:
        self._own.abandon()

    def _leave(self, process: ScoringProcess) -> None:
        pid = process.process.pid
        if pid not in self._gone:
            self._gone.add(pid)
            log.warning("process %d, which scored, is gone: killed, or out of memory; the others go on", pid)
