"""The one line that a run leaves in a log: when, which job, how it ended, where it lies, and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchroute.report.standing import FAILED, GO_ON, REFUSED, broken_words, held_words
from batchroute.show.words import count, duration, one_line, rows_of

if TYPE_CHECKING:
    from datetime import datetime

    from batchroute.errors import BatchrouteError
    from batchroute.job.spec import Job
    from batchroute.report.figures import Report
    from batchroute.run.end import RunEnd
    from batchroute.run.pilot.alone import PilotEnd


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. `done` of its `rows` have an answer or a refusal; `why` it is not complete, and what to do.

    `state` is report.json's, or `stopped` where the run could not begin or go on; of a pilot by itself it is
    `pilot complete` or `pilot incomplete`. `share`: of one of several processes, as "0/3", whose rows and state
    these are; the last of them says of the `whole` run how it stands, and what it cost.
    None is unknown.
    """

    job: str
    state: str
    exit_code: int
    run: str | None = None
    rows: int | None = None
    done: int | None = None
    refused: int | None = None
    failed: int | None = None
    cost_usd: float | None = None
    max_cost_usd: float | None = None
    wall_s: float | None = None
    share: str | None = None
    whole: str | None = None
    why: list[str] = []

    def line(self, now: datetime) -> str:
        """As "2026-11-28T05:12 nightly complete 20,000 rows, 3 refused, $9.31 of 100.00, 47 s, runs/nightly"."""
        facts = [rows_words(self.done, self.rows, self.refused, self.failed)]
        if self.whole is not None:
            facts.append(self.whole)
        if self.done is not None and (self.share is None or self.whole is not None):
            facts.append(spent_words(self.cost_usd, self.max_cost_usd))
        if self.wall_s is not None:
            facts.append(f"{self.wall_s:.0f} s" if self.wall_s < 60 else duration(self.wall_s))
        if self.run is not None and not any(each.startswith(self.run) for each in self.why):
            facts.append(short_path(self.run))
        known = ", ".join(filter(None, facts))
        why = f": {'; '.join(one_line(each) for each in self.why)}" if self.why else ""
        state = self.state if self.share is None else f"share {self.share} {self.state}"
        return f"{now:%Y-%m-%dT%H:%M} {one_line(self.job)} {state} {known}".rstrip() + why


def summary_of(job: Job, end: RunEnd, report: Report | None) -> Summary:
    """Of a run that came to an end, in whatever state; `report` is the one that it left."""
    allowed = job.limits.ok_if_refused
    return Summary(
        job=job.name,
        state=end.state(allowed),
        exit_code=end.exit_code(allowed),
        run=job.output.path,
        rows=end.rows,
        done=end.ok + end.refused,
        refused=end.refused,
        failed=end.failed,
        cost_usd=None if report is None else report.total_usd,
        max_cost_usd=None if job.limits.max_cost_usd is None else float(job.limits.max_cost_usd),
        wall_s=end.wall_s,
        share=end.share,
        whole=None if end.share is None or report is None else whole_words(report),
        why=_why(end, allowed, report),
    )


def summary_of_pilot(job: Job, ended: PilotEnd, report: Report | None) -> Summary:
    """Of a pilot that was run by itself: its rows are those that were graded, of all that were asked."""
    quality, end = ended.quality, ended.end
    why = [*end.causes, *end.by_signal]
    if not ended.is_done and not why:
        why.append(f"answers are left to ask; {GO_ON}")
    return Summary(
        job=job.name,
        state="pilot complete" if ended.is_done else "pilot incomplete",
        exit_code=ended.exit_code(job.limits.ok_if_refused),
        run=job.output.path,
        rows=None if quality is None else quality.asked,
        done=None if quality is None else quality.rows,
        cost_usd=None if report is None else report.total_usd,
        max_cost_usd=None if job.limits.max_cost_usd is None else float(job.limits.max_cost_usd),
        wall_s=end.wall_s,
        why=why,
    )


def summary_of_error(name: str, run: str | None, error: BatchrouteError) -> Summary:
    """Of a run that could not begin, or could no longer save."""
    # An indented line belongs to the one before it: a command to copy, a line of the job file.
    first, *more = [line for line in str(error).splitlines() if not line.startswith(" ")] or [type(error).__name__]
    first = first.rstrip(":")
    why = [first, f"and {len(more)} more"] if more else [first]
    return Summary(job=name, state="stopped", exit_code=error.exit_code, run=run, why=why)


def _why(end: RunEnd, allowed: float, report: Report | None) -> list[str]:
    found = [] if report is None else [*filter(None, [held_words(report)]), *broken_words(report)]
    why = [*end.causes, *found, *end.by_signal]
    if end.failed:
        why.append(f"{rows_of(end.failed)} {FAILED}")
    if end.state(allowed) == "refusals":
        why.append(f"more are refused than limits.ok_if_refused = {allowed:g} lets pass; {REFUSED}")
    if not why and not end.complete:
        why.append(f"rows are left; {GO_ON}")
    return why


def whole_words(report: Report) -> str:
    """How the run of several processes stands: as "run incomplete with 54 of 100 rows"."""
    rows = rows_words(report.ok + report.refused, report.rows, report.refused, report.failed)
    return f"run {report.state} with {rows}"


def rows_words(done: int | None, rows: int | None, refused: int | None, failed: int | None) -> str:
    """As "12,240 of 20,000 rows, 3 refused, 2 failed"; one number where all have ended."""
    if done is None:
        return ""
    if rows is None:
        words = f"{rows_of(done)} so far"
    else:
        words = rows_of(rows) if done == rows else f"{count(done)} of {rows_of(rows)}"
    more = [f"{count(number)} {what}" for number, what in ((refused, "refused"), (failed, "failed")) if number]
    return ", ".join([words, *more])


def spent_words(usd: float | None, most_usd: float | None) -> str:
    """As "$9.31 of 100.00": in cents, or to a hundredth of one where there is less to tell apart."""
    if usd is None:
        return "cost unknown"
    places = 2 if usd >= 1 or usd == 0 or (most_usd or 0) >= 1 else 4
    return f"${usd:,.{places}f}" + ("" if most_usd is None else f" of {most_usd:,.{places}f}")


def short_path(path: str) -> str:
    """From the current folder where it lies in it."""
    here = Path(path)
    try:
        return str(here.relative_to(os.getcwd()))  # noqa: PTH109 - it need not exist any more
    except (ValueError, OSError):
        return path
