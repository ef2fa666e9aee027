"""How a run ended, and report.json, which says so to everyone else.

The report is made of the files of the directory; here only what they do not tell is added.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from batchroute.errors import AnsweredOtherwise, OwnCodeFault, Stopped
from batchroute.report.figures import read_report, state_of_ended, write_report
from batchroute.report.quality import read_quality
from batchroute.report.standing import GO_ON
from batchroute.store.embeddings import read_bill
from batchroute.store.files import saving
from batchroute.store.layout import layouts_of
from batchroute.store.ledger import add_unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchroute.report.figures import EngineFigures, Report, State
    from batchroute.run.stop import Stopper
    from batchroute.run.unconfirmed import Unconfirmed
    from batchroute.send.budget import Budget
    from batchroute.send.lane import Lane
    from batchroute.store.directory import RunDirectory
    from batchroute.types import StopReason


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; the rows are those of the whole directory.

    `stopped` holds why a lane, or the run, ended early, `causes` the same in fewer words; `signal` the number of
    the signal that ended it; `asked` is False for a job that had no row left to ask; `stopped_code` is the exit
    code where it was stopped: to run it again helps with what is outside, not with code of the user's. Figures
    stand in report.json. `share`: of one of several processes, as "0/3", whose shards' rows these are; `is_last`:
    no other one is at work on the run, so that its report is written.
    """

    rows: int | None
    ok: int
    refused: int
    failed: int
    wall_s: float
    asked: bool
    stopped: tuple[str, ...] = ()
    signal: int | None = None
    causes: tuple[str, ...] = ()
    is_quality_broken: bool = False
    stopped_code: int = Stopped.exit_code
    share: str | None = None
    is_last: bool = True

    @property
    def by_signal(self) -> tuple[str, ...]:
        """The signal that ended it, in words, if one did."""
        return () if self.signal is None else (f"ended by {Signals(self.signal).name}; {GO_ON}",)

    @property
    def complete(self) -> bool:
        """Whether every row has ended, answered or refused."""
        return self.failed == 0 and self.rows is not None and self.ok + self.refused >= self.rows

    def state(self, ok_if_refused: float) -> State:
        """What report.json says; `ok_if_refused` is the share of refused rows that passes as success."""
        if self.signal is not None or self.stopped or not self.complete:
            return "incomplete"
        return state_of_ended(self.refused, self.ok + self.refused, ok_if_refused)

    def exit_code(self, ok_if_refused: float) -> int:
        """SPEC's table: 0 where the state is `complete`, and nowhere else."""
        if self.signal is not None:
            return 128 + self.signal
        if self.stopped:
            return self.stopped_code
        return 0 if self.state(ok_if_refused) == "complete" and not self.is_quality_broken else 3


class Counts(NamedTuple):
    """Rows by how they ended; `failed` ones are asked again by the next run."""

    ok: int
    refused: int
    failed: int


def run_end(
    directory: RunDirectory,
    stopper: Stopper,
    lanes: Mapping[str, Lane[Any]],
    *,
    rows: int | None,
    wall_s: float,
    asked: bool,
) -> RunEnd:
    """How the run ended that worked in the directory, of so many rows."""
    store, quality = directory.store, read_quality(directory.layout.path)
    if isinstance(stopper.fault, AnsweredOtherwise) and not stopper.sent:
        rows = directory.identity.wanted_rows  # the run that is there is as complete as it was
    counts = Counts(store.tally.ok.total(), store.tally.refused, len(store.failed()))
    end = end_of(stopper, lanes, counts, rows=rows, wall_s=wall_s, asked=asked)
    return dataclasses.replace(end, is_quality_broken=quality is not None and quality.broken)


def end_of(
    stopper: Stopper,
    lanes: Mapping[str, Lane[Any]],
    counts: Counts,
    *,
    rows: int | None,
    wall_s: float,
    asked: bool,
) -> RunEnd:
    """Of a run, or of one process's part of it, that has so many rows in all."""
    faults = () if stopper.fault is None else (str(stopper.fault),)
    if isinstance(stopper.fault, AnsweredOtherwise) and not stopper.sent:
        faults = ()
    return RunEnd(
        rows=rows,
        ok=counts.ok,
        refused=counts.refused,
        failed=counts.failed,
        wall_s=wall_s,
        asked=asked,
        stopped=(*stopper.reasons, *faults, *_of_lanes(lanes, str)),
        signal=stopper.signal,
        causes=(*stopper.reasons, *faults, *_of_lanes(lanes, lambda reason: reason.brief)),
        stopped_code=(OwnCodeFault if isinstance(stopper.fault, OwnCodeFault) else Stopped).exit_code,
    )


def _of_lanes(lanes: Mapping[str, Lane[Any]], words: Callable[[StopReason], str]) -> list[str]:
    """Why lanes stopped; those with the same reason are named together.

    As "strong, weak: key rejected; set api_key_env, or check the key it names, then run again".
    """
    names: dict[str, list[str]] = {}
    for name, lane in lanes.items():
        if lane.stop_reason is not None:
            names.setdefault(words(lane.stop_reason), []).append(name)
    return [f"{', '.join(together)}: {reason}" for reason, together in names.items()]


def write_running(run: Path) -> None:
    """report.json tells a scheduler's sensor that figures are on their way; those in it are from before."""
    write_report(run, running_report(run))


def running_report(run: Path) -> Report:
    """That report; takes its time where a run of many rows has none."""
    from batchroute.report.build import build_report  # noqa: PLC0415 - imports polars, which a run does not need

    return replace(read_report(run) or _uninterrupted(partial(build_report, run)), state="running")


def close_books(directory: RunDirectory, budget: Budget | None, unconfirmed: Unconfirmed) -> None:
    """All rows in sealed parts, and on file what is unconfirmed."""
    directory.store.finish()
    if budget is not None:
        budget.close()
        return
    with saving(directory.layout.path):
        add_unconfirmed(directory.layout.ledger, *unconfirmed.take())


def write_end(run: Path, end: RunEnd, *, ok_if_refused: float, engine: EngineFigures | None = None) -> None:
    """report.json, and `_SUCCESS` where the state is `complete`; `engine` of a run by workers."""
    write_report(run, end_report(run, end, ok_if_refused=ok_if_refused, engine=engine))


def end_report(run: Path, end: RunEnd, *, ok_if_refused: float, engine: EngineFigures | None = None) -> Report:
    """What report.json is to say then."""
    from batchroute.report.build import build_report  # noqa: PLC0415 - the same

    embeddings = read_bill(*layouts_of(run))
    build = partial(
        build_report,
        run,
        wall_s=end.wall_s,
        state=end.state(ok_if_refused),
        router_cost_usd=float(embeddings.usd) if embeddings.complete else None,
        stopped=[*end.stopped, *end.by_signal],
        engine=engine,
    )
    return _uninterrupted(build)


def _uninterrupted(build: Callable[[], Report]) -> Report:
    """The report, which is built again where a signal cuts it off.

    polars ends the query that it works on for a Ctrl-C, with a KeyboardInterrupt, although the run is told of the
    signal as well, and has something else in mind.
    """
    while True:
        with suppress(KeyboardInterrupt):
            return build()
