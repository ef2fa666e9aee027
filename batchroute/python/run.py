"""run, arun and pilot: a job from Python, which leaves what the command leaves, and gives back the `Run`.

The work has a thread and an event loop of its own, so that it does not matter what runs where it is called: a
script, a notebook, a coroutine, a thread. What a run warns of is logged at once by the logger "batchroute", and an
end that is not complete is an `IncompleteRun` warning besides, for a notebook that would use the rows it has.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from batchroute.python.display import watch
from batchroute.python.jobs import JobKeywords, job_for
from batchroute.python.result import Run
from batchroute.python.thread import in_thread, in_thread_async
from batchroute.run.engine import JobRun
from batchroute.run.options import RunOptions
from batchroute.run.pilot.alone import PilotEnd, refuse_no_pilot
from batchroute.run.process import run_loop
from batchroute.show.log import log
from batchroute.show.summary import summary_of_pilot
from batchroute.show.words import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Job
    from batchroute.python.jobs import Source, StrPath
    from batchroute.report.figures import Report
    from batchroute.run.end import RunEnd


class IncompleteRun(UserWarning):
    """Not every row has an answer: rows were refused, failed, or are left; the message says why and what to do."""


def run(
    source: Source,
    *,
    limit: int | None = None,
    output: StrPath | None = None,
    progress: bool = True,
    retry_refused: bool = False,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    **keywords: Unpack[JobKeywords],
) -> Run:
    """Scores, routes and answers every row; called again it goes on where it stopped, and asks no row twice.

        run = br.run("nightly.toml")
        run = br.run(df, prompt="text", strong="gpt-6.1-sol", weak="gpt-6-luna", strong_fraction=0.1)
        run.df()

    `source`: a job file (.toml) or a job; or a frame of polars, pandas or Arrow, a list of prompts or of rows, a
    data file, which need some of these keywords. They are the words of the job file, and over one they change it.

    prompt, messages, template   the column of texts, that of chat messages, or a template over the columns
    system, id, keep             a system message, the column of ids, the columns to keep (all without a job file)
    strong, weak                 the two models by name, or the settings of an endpoint: {"model": ..., ...}
    base_url, api_key_env        of both; without them it is OpenAI, with the key in OPENAI_API_KEY
    params, simulate             of both: {"max_completion_tokens": 500}; True answers here, for trying things out
    strong_fraction, threshold, budget_usd, quality    what goes strong: one of them; quality needs a pilot
    max_cost_usd, name           a hard limit; the run's name
    settings                     everything else: {"limits.drain_s": 5, "endpoints.strong.max_concurrency": 8}

    Without `output` a frame goes to runs/NAME-WORD, where the word stands for these rows asked in this way: the
    same call finds its answers again, another one gets a directory of its own.

    Raises UsageFault before anything is sent, Stopped where the directory is locked or the disk is full. A run
    that ends early, or with rows that were refused or failed, is an `IncompleteRun` warning and comes back: look
    at its `state`. Ctrl-C awaits answers in flight up to limits.drain_s, keeps them, and then interrupts.
    """
    job = job_for(source, output, settings, variables, keywords, require_keys=True)
    work = _Work(job, _options(limit=limit, progress=progress, retry_refused=retry_refused))
    return _ended(job, in_thread(work.run, work.interrupt))


async def arun(
    source: Source,
    *,
    limit: int | None = None,
    output: StrPath | None = None,
    progress: bool = True,
    retry_refused: bool = False,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    **keywords: Unpack[JobKeywords],
) -> Run:
    """As `run`, in any event loop and without blocking it.

        run = await br.arun("nightly.toml", progress=False)

    A cancellation does what Ctrl-C does to `run`: answers in flight are awaited and kept first.
    """
    job = await asyncio.to_thread(job_for, source, output, settings, variables, keywords, require_keys=True)
    work = _Work(job, _options(limit=limit, progress=progress, retry_refused=retry_refused))
    return _ended(job, await in_thread_async(work.run, work.interrupt))


def pilot(
    source: Source,
    *,
    limit: int | None = None,
    output: StrPath | None = None,
    progress: bool = True,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    **keywords: Unpack[JobKeywords],
) -> Report:
    """Asks both sides a sample of the rows, grades it, and says what routing keeps and costs here; see `run`.

        found = br.pilot("nightly.toml").quality
        found.verdict, found.kept, found.cost_share

    A run of the same job goes on from there, and asks none of these rows again. Where the pilot is not at its end
    `quality` is None, and an `IncompleteRun` warning says why.
    """
    job = job_for(source, output, settings, variables, keywords, require_keys=True)
    refuse_no_pilot(job)
    work = _Work(job, _options(limit=limit, progress=progress, pilot_only=True))
    end = in_thread(work.run, work.interrupt)
    report = Run(Path(job.output.path)).report
    ended = PilotEnd(end, report.quality)
    if ended.exit_code(job.limits.ok_if_refused):
        summary = summary_of_pilot(job, ended, report)
        warnings.warn(
            harmless("; ".join([f"{job.name}: {summary.state}", *summary.why])), IncompleteRun, stacklevel=2
        )
    return report


def _options(
    *, limit: int | None, progress: bool, retry_refused: bool = False, pilot_only: bool = False
) -> RunOptions:
    return RunOptions(
        environ=os.environ,
        limit=limit,
        retry_refused=retry_refused,
        pilot_only=pilot_only,
        watch=watch(progress=progress),
        notify=lambda message: log.warning(harmless(message)),
    )


class _Work:
    """A run in another thread, once; `interrupt` may come from any thread, a signal's too, before and after it."""

    def __init__(self, job: Job, options: RunOptions) -> None:
        self._run = JobRun(job, options)
        self._path = job.output.path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interrupts: deque[int] = deque()

    def run(self) -> RunEnd:
        end = run_loop(self._go())
        if end.signal is not None:
            log.warning("interrupted; what is answered is in %s, and the same call again goes on", self._path)
        return end

    def interrupt(self, number: int) -> None:
        self._interrupts.append(number)
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: the run has ended
                self._loop.call_soon_threadsafe(self._deliver)

    async def _go(self) -> RunEnd:
        self._loop = asyncio.get_running_loop()
        self._deliver()
        return await self._run.go()

    def _deliver(self) -> None:
        while self._interrupts:
            self._run.interrupt(self._interrupts.popleft())


def _ended(job: Job, end: RunEnd) -> Run:
    allowed = job.limits.ok_if_refused
    run = Run(Path(job.output.path), end.exit_code(allowed), end.stopped)
    if run.exit_code:
        # To whoever called run or arun.
        warnings.warn(_words(job, end), IncompleteRun, stacklevel=3)
    return run


def _words(job: Job, end: RunEnd) -> str:
    of_rows = "" if end.rows is None else f" of {end.rows:,}"
    parts = [f"{job.name} is {end.state(job.limits.ok_if_refused)}: {end.ok:,}{of_rows} rows are answered"]
    if end.refused:
        parts.append(f"{end.refused:,} were refused, and their `error` says why")
    if end.failed:
        parts.append(f"{end.failed:,} failed, and the same call asks them again")
    parts += end.causes
    return harmless("; ".join([*parts, f"see {job.output.path}"]))
