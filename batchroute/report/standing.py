"""How a run stands, from its small files alone: lock, status.json, report.json. Reads no row, and imports little.

What the rows of a run that was killed say is the report's.
"""

from __future__ import annotations

import time
from datetime import datetime  # noqa: TC003 - msgspec reads it
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import RunFault
from batchroute.report.figures import State, read_report
from batchroute.report.lanes import LaneReport  # noqa: TC001 - msgspec reads it
from batchroute.report.together import read_status
from batchroute.store.layout import RunLayout
from batchroute.store.lock import Holder, lock_state
from batchroute.types import PilotProgress  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report
    from batchroute.report.lanes import RunStatus

_FRESH_S = 30.0  # a status that is older is not of a run at work
# What to do about a run that is not complete, in the same words wherever it is said.
GO_ON = "run the same command again to go on"
FAILED = "failed, listed in failed.jsonl; the next run asks them again"
REFUSED = "`error` in the results says why, --retry refused asks them again"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `why` it is not complete, and what to do about it.

    `pid`, `host` and `since` are of the process at work, or of one that was killed; `processes` is how many are at
    work that divide the shards of the run, None where it is one process's own. `share` of the rows is done;
    `as_of` (Unix time) is when that was last said. `pilot` is how far it is, or was at a kill. None is unknown.
    """

    run: str
    name: str
    state: State
    pid: int | None = None
    host: str | None = None
    since: datetime | None = None
    processes: int | None = None
    as_of: float | None = None
    rows: int | None = None
    done: int | None = None
    share: float | None = None
    refused: int | None = None
    failed: int | None = None
    spent_usd: float | None = None
    max_cost_usd: float | None = None
    pilot: PilotProgress | None = None
    why: list[str] = []
    lanes: dict[str, LaneReport] = {}


class Standings(msgspec.Struct, frozen=True):
    """Several runs, in the order asked for."""

    runs: list[Standing]


def standing_of(run: Path) -> Standing:
    """RunFault where the directory is no run's."""
    lock, report, status = lock_state(run), read_report(run), read_status(run)
    if report is None and not lock.held and not RunLayout(run).job.exists():
        raise RunFault(f"{run}: no run's directory, as it has no job.toml; name what output.path of the job names")
    is_held = _seems_held(report, status) if lock.held is None else lock.held
    state, why = ("running", []) if is_held else _state(report, lock.holder)
    lanes = {} if status is None else status.lanes
    standing = Standing(
        run=str(run),
        name=run.resolve().name if report is None else report.name,
        state=state,
        pid=None if lock.holder is None else lock.holder.pid,
        host=None if lock.holder is None else lock.holder.host,
        since=None if lock.holder is None else lock.holder.started_at,
        processes=lock.shares or None,
        why=why,
        lanes={name: msgspec.structs.replace(lane, timeline=None) for name, lane in lanes.items()},
    )
    if status is not None and (report is None or report.state == "running"):
        return _with_status(standing, status)
    return standing if report is None else _with_report(standing, report)


def _seems_held(report: Report | None, status: RunStatus | None) -> bool:
    """Of another user's run, whose lock cannot be looked at."""
    is_begun = report is not None and report.state == "running"
    return is_begun and status is not None and time.time() - status.updated_at < _FRESH_S


def _state(report: Report | None, killed: Holder | None) -> tuple[State, list[str]]:
    """Of a run that is not at work, and why it is not complete."""
    if report is None:
        return "incomplete", ["nothing was asked yet; run the job"]
    if report.state == "running":
        if killed is None:  # whoever is killed leaves its name in the lock
            return "incomplete", [f"it could not write how it ended, as where the disk is full; {GO_ON}"]
        return "incomplete", [f"killed without an end ({killed.words()}); {GO_ON}"]
    if report.state == "complete":
        return "complete", broken_words(report)
    gone = [] if killed is None else [f"a process was killed ({killed.words()}); {GO_ON}"]
    why = [*gone, *report.stopped, *filter(None, [held_words(report)]), *broken_words(report)]
    if report.failed:
        why.append(f"{report.failed:,} rows {FAILED}")
    if report.state == "refusals":
        why.append(f"{report.refused:,} rows were refused, more than limits.ok_if_refused lets pass; {REFUSED}")
    return report.state, why or [f"rows are left; {GO_ON}"]


def broken_words(report: Report) -> list[str]:
    """That the watched rows break the quality target, where they do."""
    words = None if report.quality is None else report.quality.broken_words
    return [] if words is None else [words]


def held_words(report: Report) -> str | None:
    """Where money ran out before the known bill came near its limit: what else is taken from the limit."""
    if not report.unconfirmed_usd or all(lane.doing != "no_money" for lane in report.lanes.values()):
        return None
    return (
        f"${report.unconfirmed_usd:,.4f} of the limit are unconfirmed, held for requests that were sent and "
        "brought no usage"
    )


def _with_status(standing: Standing, status: RunStatus) -> Standing:
    return msgspec.structs.replace(
        standing,
        as_of=status.updated_at,
        rows=status.rows,
        done=status.done,
        share=_share(status.done, status.rows),
        spent_usd=status.spent_usd,
        max_cost_usd=status.max_cost_usd,
        pilot=status.pilot,
    )


def _with_report(standing: Standing, report: Report) -> Standing:
    done = report.ok + report.refused
    return msgspec.structs.replace(
        standing,
        rows=report.rows,
        done=done,
        share=_share(done, report.rows),
        refused=report.refused,
        failed=report.failed,
        spent_usd=report.total_usd,
        max_cost_usd=report.max_cost_usd,
    )


def _share(done: int, rows: int | None) -> float | None:
    return done / rows if rows else None
