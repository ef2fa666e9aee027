"""Scoring in several processes: the same scores in the same order, whoever dies; none where none pays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import ModelFault
from batchroute.input.ahead import ChunksAhead
from batchroute.input.split import ChunkLimits
from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.score.cores import usable_cores
from batchroute.score.parallel import (
    LEAST_BYTES,
    MOST_PROCESSES,
    ParallelRater,
    ScoringProcess,
    open_rater_for,
    scoring_process,
)
from batchroute.score.process import serve
from batchroute.score.rater import bare_questions, open_thread_rater, rated_chunks
from batchroute.score.router import LoadedFrom, Scorer, load_scorer
from inputs import lines, source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.score.rater import Rated, Rater
    from batchroute.types import Floats, Questions

ROUTER = RouterSpec(device="cpu", batch_size=50)
RANDOM = RouterSpec(use="random", batch_size=50)
GIVE_UP_S = 60.0
MIB = "x" * (1 << 20)  # of which the built-in embedder reads the beginning
several_cores = pytest.mark.skipif(usable_cores() == 1, reason="one core: no process is ever started")


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """30 chunks of rows of many lengths, refused ones and lone surrogates among them."""
    path = tmp_path_factory.mktemp("input") / "prompts.jsonl"
    lines(path, *(_line(row) for row in range(3000)))
    return source(path, limits=ChunkLimits(rows=100))


def _line(row: int) -> object:
    if row % 97 == 5:
        return b"{torn"
    if row % 97 == 6:
        return b'{"prompt": "half of one: \\ud83d"}'
    return {"prompt": f"What is {row} + {row * row}? " + "Show your work, step by step. " * (row % 13)}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer(ROUTER)


@pytest.fixture(scope="module")
def expected(of: Source, scorer: Scorer) -> list[Floats]:
    return [scorer.score(chunk.questions()) for chunk in of.chunks()]


class Slowest:
    """The thread of this process, which gives the scores of its first chunk when `others` are all done."""

    def __init__(self, own: Rater, others: int) -> None:
        self._own = own
        self._left = others
        self._done = asyncio.Event()
        self.chunks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def one_less(self) -> None:
        self._left -= 1
        if not self._left:
            self._done.set()

    async def rate(self, questions: Questions) -> Rated | None:
        self.chunks += 1
        await self._done.wait()
        return await self._own.rate(questions)


async def scores_of(
    of: Source,
    scorer: Scorer,
    processes: list[ScoringProcess],
    own_of: Callable[[Rater], Rater] = lambda own: own,
    after: Callable[[int], None] = lambda chunks: None,
) -> list[Floats]:
    """Of all chunks, in order, by processes that have all begun; `after` is told how many are rated by anyone."""
    async with open_thread_rater(scorer) as own:
        rater = ParallelRater(own_of(own), processes)
        for process in processes:
            await rater.join(process, scorer.identity)
        chunks = of.chunks()
        rated = 0
        rate: Callable[[Questions], Awaitable[Rated | None]] = rater.rate

        async def counted(questions: Questions) -> Rated | None:
            nonlocal rated
            found = await rate(questions)
            rated += 1
            after(rated)
            return found

        def read() -> tuple[Chunk, Questions] | None:
            chunk = next(chunks, None)
            return None if chunk is None else (chunk, chunk.questions())

        rater.rate = counted  # type: ignore[method-assign]
        async with contextlib.aclosing(rated_chunks(read, rater)) as found:
            return [scores.scores async for _, _, scores in found]


def test_the_same_scores_in_order(of: Source, scorer: Scorer, expected: list[Floats]) -> None:
    """A process scores all chunks but the first, which comes last of all, and is given first all the same."""
    slowest: list[Slowest] = []

    def slow(own: Rater) -> Rater:
        slowest.append(Slowest(own, len(expected) - 1))
        return slowest[0]

    with scoring_process(LoadedFrom(ROUTER)) as process:
        of_both = asyncio.run(scores_of(of, scorer, [process], slow, lambda _: slowest[0].one_less()))
    assert [found.tobytes() for found in of_both] == [found.tobytes() for found in expected]
    assert slowest[0].chunks == 1
    assert process.process.returncode == -signal.SIGKILL


def test_a_process_that_is_killed(of: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Its chunks are scored by who is left, and it is said once. A router that needs no torch starts sooner."""
    scorer = load_scorer(RANDOM)
    expected = [scorer.score(chunk.questions()) for chunk in of.chunks()]
    with scoring_process(LoadedFrom(RANDOM)) as first, scoring_process(LoadedFrom(RANDOM)) as second:

        def kill(chunks: int) -> None:
            if chunks in {3, 9}:
                os.kill((first if chunks == 3 else second).process.pid, signal.SIGKILL)

        with caplog.at_level(logging.WARNING):
            found = asyncio.run(scores_of(of, scorer, [first, second], after=kill))
    assert [scores.tobytes() for scores in found] == [scores.tobytes() for scores in expected]
    said = [record.args for record in caplog.records]
    assert sorted(said) == sorted([(first.process.pid,), (second.process.pid,)])


def test_a_process_with_another_model_has_no_part(of: Source, expected: list[Floats], scorer: Scorer) -> None:
    """The model's files were replaced between here and there."""
    with scoring_process(LoadedFrom(RouterSpec(use="length"))) as process:
        found = asyncio.run(scores_of(of, scorer, [process]))
    assert [scores.tobytes() for scores in found] == [scores.tobytes() for scores in expected]


class Wrong:
    """A router that is none for some texts."""

    def score(self, prompts: list[str]) -> list[float]:
        return [2.0 if prompt == "wrong" else 0.5 for prompt in prompts]


def test_what_goes_between_two_processes() -> None:
    """A fault of the router comes back as it is here, and ends nothing by itself."""
    ours, theirs = Pipe()

    def other() -> None:
        with contextlib.suppress(EOFError):
            serve(theirs)

    thread = threading.Thread(target=other)
    thread.start()
    with ours:
        ours.send(LoadedFrom(RouterSpec(use=f"{__name__}:Wrong")))
        assert ours.recv() == f"{__name__}:Wrong"
        ours.send(bare_questions(["wrong"]))
        fault = ours.recv()
        ours.send(bare_questions(["right", "right"]))
        assert ours.recv().tolist() == [0.5, 0.5]
    thread.join()
    assert isinstance(fault, ModelFault)
    assert "wrong" in str(fault)


# How many processes there are: counted while the rater is open.


def children() -> set[int]:
    """The processes that this one has started and that are not over; zombies are none."""
    found = Path("/proc/self/task").glob("*/children")
    pids = {int(pid) for tasks in found for pid in tasks.read_text().split()}
    return {pid for pid in pids if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"}


async def started(of: Source, router: RouterSpec, limit: int | None, load: Callable[[], Scorer]) -> int:
    before = children()
    chunks = ChunksAhead(of.chunks())
    async with open_rater_for(chunks, limit, LoadedFrom(router), load, open_thread_rater):
        now = len(children() - before)
    assert children() <= before
    return now


@pytest.fixture(scope="module")
def much(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """As much as a process is started for, in few rows."""
    path = tmp_path_factory.mktemp("much") / "prompts.jsonl"
    lines(path, *({"prompt": MIB} for _ in range(LEAST_BYTES // len(MIB))))
    return source(path)


OTHERS = min(usable_cores(), MOST_PROCESSES) - 1
MANY_ROWS = 5000  # a few thousand prompts, which a core scores in a fraction of a second


@several_cores
@pytest.mark.parametrize(
    ("router", "limit", "processes"),
    [
        (ROUTER, None, OTHERS),
        (ROUTER.model_copy(update={"device": "auto"}), None, OTHERS),
        (ROUTER, LEAST_BYTES // len(MIB), OTHERS),
        (ROUTER, LEAST_BYTES // len(MIB) // 2, 0),
        (ROUTER, 0, 0),
        (ROUTER.model_copy(update={"device": "cuda"}), None, 0),
        (RouterSpec(use="length"), None, 0),
        (RouterSpec(use="random"), None, 0),
        (RouterSpec(use="mine:Router"), None, 0),
        (RouterSpec(embedder=EmbedderSpec(use="mine:Embedder")), None, 0),
        (RouterSpec(embedder=EmbedderSpec(use="column", column="vector")), None, 0),
    ],
)
def test_processes_for_much(
    much: Source, scorer: Scorer, router: RouterSpec, limit: int | None, processes: int
) -> None:
    """For the built-in router on the CPU alone, and for as much as is asked for."""
    assert asyncio.run(started(much, router, limit, lambda: scorer)) == processes


def test_none_for_little(tmp_path: Path, scorer: Scorer) -> None:
    """A few thousand rows are scored before a process would have begun."""
    path = tmp_path / "prompts.jsonl"
    lines(path, *({"prompt": f"{row} " + "x" * 860} for row in range(MANY_ROWS)))
    assert asyncio.run(started(source(path), ROUTER, None, lambda: scorer)) == 0


def test_none_on_one_core(much: Source, scorer: Scorer) -> None:
    """Whatever the machine has, what this process may use counts."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # of this thread, and of those it starts
    try:
        assert asyncio.run(started(much, ROUTER, None, lambda: scorer)) == 0
    finally:
        os.sched_setaffinity(0, allowed)


@several_cores
def test_none_beside_a_gpu(much: Source, scorer: Scorer) -> None:
    """The device is known when the scorer is loaded; until then a process may have been started."""
    assert asyncio.run(started(much, ROUTER, None, lambda: replace(scorer, parallel=False))) == 0


@several_cores
def test_none_where_the_system_starts_none(
    much: Source, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and this process does it all."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert asyncio.run(started(much, ROUTER, None, lambda: scorer)) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no process can be started" in caplog.text


class Sleeper:
    """A router that is at work for a while."""

    def score(self, prompts: list[str]) -> list[float]:
        time.sleep(1)
        return [0.5] * len(prompts)


def two_at_work() -> None:
    """Two processes, one of which has something to do; says who they are, and does not come back."""
    source = LoadedFrom(RouterSpec(use=f"{__name__}:Sleeper"))
    with scoring_process(source) as one, scoring_process(source) as other:
        asyncio.run(one.received())
        asyncio.run(other.received())
        one.send(bare_questions(["What is a prime number?"]))
        sys.stdout.write(f"{one.process.pid} {other.process.pid}\n")
        sys.stdout.flush()
        time.sleep(GIVE_UP_S)


def test_no_orphans() -> None:
    """Whoever started the processes is killed."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", f"import {__name__}; {__name__}.two_at_work()"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert [is_alive(pid) for pid in pids] == [True, True]
    parent.kill()
    parent.wait()
    give_up = time.monotonic() + GIVE_UP_S
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not left


def is_alive(pid: int) -> bool:
    """Also where nobody has asked yet how it ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
