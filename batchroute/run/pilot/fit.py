"""Is what a pilot needs there, before it has cost anything: right answers, the user's code, the run it takes over?

Looks and loads; asks nobody and grades nothing but a sample. Money is the matter of `cost`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import InputFault, RunFault
from batchroute.grade.check import load_check
from batchroute.grade.custom import check_grader, grade_row, load_grader
from batchroute.grade.match import reference_grade
from batchroute.input.keep import unpack
from batchroute.run.open import open_input
from batchroute.store.layout import RunLayout
from batchroute.types import SIDES, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.input.open import Source
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.spec import InputSpec, Job

SAMPLE_ROWS = 3  # whose made-up answers a class of the user's grades
SAMPLE_ANSWER = "An answer that `check` made up."


def refuse_unfit_pilot(job: Job) -> None:
    """UsageFault for the first thing that is not there; nothing where the job has no pilot."""
    open_references(job)
    for look in pilot_looks(job):
        look()


def pilot_looks(job: Job) -> Iterator[Callable[[], object]]:
    """What has to be there beside the input, a look each: it raises UsageFault where it is not."""
    pilot = job.pilot
    if pilot is None:
        return
    if job.check is not None:
        yield partial(load_check, job.check)
    if ":" in pilot.judge:
        yield partial(load_grader, pilot.judge)
    if pilot.reuse is not None:
        yield partial(_refuse_no_run, Path(pilot.reuse), Path(job.output.path))


def missing_earlier_run(job: Job) -> str | None:
    """In words that the run of pilot.reuse is not there, as on a first night, or after one that did not run."""
    run = None if job.pilot is None else job.pilot.reuse
    if run is None or Path(run).exists():
        return None
    return f"pilot.reuse: {run} is not there: a pilot of its own is asked"


def open_references(job: Job) -> Source | None:
    """The input, of which the right answers alone are kept; InputFault where it has no such column.

    None where no right answers are read.
    """
    if job.pilot is None or job.pilot.reference is None:
        return None
    spec = job.input.model_copy(update={"keep": [job.pilot.reference]})
    return open_input(spec, job.router, Path(job.output.path), raw=job.output.raw)


def input_with_references(job: Job) -> InputSpec:
    """The job's input, which also keeps the right answers where they are read: so each of its columns is named."""
    reference = None if job.pilot is None else job.pilot.reference
    kept = [] if reference is None else [reference]
    return job.input.model_copy(update={"keep": [*job.input.keep, *kept]})


def refuse_no_references(pilot: PilotSpec, references: Source, limit: int | None) -> str | None:
    """InputFault where no row has a right answer; in words how many of the first rows have none that can be read.

    Reads on only as long as there are none at all.
    """
    rows = 0
    for chunk in references.chunks():
        part = chunk if limit is None else chunk.head(limit - rows)
        kept = unpack(part.records.keep(np.arange(len(part.rows))), references.keep_schema).column(0)
        rows += len(part.rows)
        if kept.null_count < len(kept):
            read = [reference_grade("", value, pilot.match) is not None for value in kept.to_pylist()]
            return None if all(read) else _unread_words(pilot, len(read) - sum(read), len(read))
        if rows == limit:
            break
    if rows:
        raise InputFault(
            f"pilot.reference: the column {pilot.reference!r} is null in all of {rows:,} rows; name the one with "
            "the right answers"
        )
    return None


def _unread_words(pilot: PilotSpec, unread: int, rows: int) -> str:
    return (
        f"pilot.reference: {unread:,} of the first {rows:,} rows have no right answer that match = "
        f'"{pilot.match}" can read; where they are drawn, they are left out'
    )


def grade_sample(job: Job, source: Source) -> None:
    """ModelFault where the user's class gives no grades for made-up answers to the input's first rows."""
    pilot = job.pilot
    if pilot is None or ":" not in pilot.judge:
        return
    chunk = next(source.chunks(), None)
    if chunk is None:
        return
    first = np.arange(min(SAMPLE_ROWS, len(chunk.rows)))
    kept = unpack(chunk.records.keep(first), source.keep_schema).to_pylist() or [{}] * len(first)
    answer = made_up_answer(SAMPLE_ANSWER)
    rows = [
        grade_row(row, prompt.messages, answer, side)
        for row, prompt in zip(kept, chunk.prompts(first), strict=True)
        for side in SIDES
        if prompt.refusal is None
    ]
    if rows:
        check_grader(pilot.judge, rows)


def made_up_answer(response: str) -> Result:
    """An answer that no endpoint gave, to no row."""
    return Result(
        file="",
        row=0,
        status="ok",
        id=None,
        score=None,
        route=None,
        route_reason=None,
        model=None,
        response=response,
        attempts=1,
        finished_at=0,
    )


def _refuse_no_run(run: Path, output: Path) -> None:
    if run.resolve() == output.resolve():
        raise RunFault(f"pilot.reuse: {run} is this job's own output.path; name another run")
    layout = RunLayout(run)
    if run.exists() and not layout.job.is_file():
        raise RunFault(f"pilot.reuse: {run} is not a run directory (it has no {layout.job.name})")
