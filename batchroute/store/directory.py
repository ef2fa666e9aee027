"""A run directory opened: which job it belongs to, the rows that are done, the scores that are kept.

Puts `identity`, `rows` and `scores` together for a run that has locked the directory. Sends and scores nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import AnsweredOtherwise, RunFault
from batchroute.store.columns import ResultColumns
from batchroute.store.files import saving, sync_file
from batchroute.store.identity import find_identity, identity_of, merge, write_identity
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotStore
from batchroute.store.rows import RunStore
from batchroute.store.scores import Scores
from batchroute.store.shared import change_shared
from batchroute.store.unsealed import reopen_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.store.identity import Identity


@dataclass(slots=True)
class RunDirectory:
    """A directory, or a shard of it, that this process has locked; `raw`: its results keep whole answers.

    `pilot` is there where the job has one, or where one was begun.
    """

    layout: RunLayout
    store: RunStore
    scores: Scores
    identity: Identity
    raw: bool
    pilot: PilotStore | None = None

    @property
    def spent_usd(self) -> Decimal:
        """What is known of the bill of all rows, and of what was asked beside them."""
        return self.store.spent_usd + (Decimal(0) if self.pilot is None else self.pilot.spent_usd)

    def close(self) -> None:
        """Leaves journals as they are."""
        self.store.close()
        if self.pilot is not None:
            self.pilot.close()

    def hold_to(self, scorer_identity: str) -> None:
        """Records what scores the rows; a conflict where the scores that stand here came from something else."""

        def held(known: Identity) -> Identity:
            if known.scorer not in {None, scorer_identity} and self.layout.has_scores():
                why = f"was scored by {known.scorer}, router.model now is {scorer_identity}; put it back"
                raise known.conflict(why)
            return replace(known, scorer=scorer_identity)

        self._change(held)

    def fix_threshold(self, threshold: float, rows: int, limit: int | None) -> None:
        """Records the threshold that holds from now on, how many rows have scores, and how many are wanted."""
        self._change(lambda known: replace(known, threshold=threshold, rows=rows, limit=limit))

    def route_by(self, router: str, scorer: str, threshold: float, rows: int, limit: int | None) -> None:
        """The same, where another router than the job's is to route: its scores take over."""
        self._change(
            lambda known: replace(known, router=router, scorer=scorer, threshold=threshold, rows=rows, limit=limit)
        )
        with saving(self.layout.path):
            settle_scores(self.layout, router)
        self.scores.read_again()

    def _change(self, change: Callable[[Identity], Identity]) -> None:
        if self.layout.shard is not None:
            self.identity = change_shared(self.layout, self.identity, change)
            return
        self.identity = change(self.identity)
        with saving(self.layout.path):
            write_identity(self.layout, self.identity)


def keeps_raw(job: Job, source: Source) -> bool:
    """Whether results hold whole answers: where asked for, and for what is to become batch output."""
    return job.output.raw or source.format == "openai-batch"


def open_run_directory(job: Job, source: Source, *, retry_refused: bool = False) -> RunDirectory:
    """Opens the job's locked directory, or begins it.

    RunFault where it holds anything else, AnsweredOtherwise where its answers are another job's. `retry_refused`:
    rows an endpoint refused are to be asked again.
    """
    path, mode = Path(job.output.path), int(job.output.mode, 8)
    layout, raw = RunLayout(path), keeps_raw(job, source)
    if layout.shards.exists():  # its parts have other names, and its rows are done shard by shard
        raise RunFault(f"{path}: is cut into shards; go on with `batchroute run`, or use another output.path")
    old, new = find_identity(layout), identity_of(job, source.fingerprint())
    if old is None:  # first of all: a directory with anything else in it, but no job.toml, is not a run's
        with saving(path):
            write_identity(layout, new)
    columns = ResultColumns(source.keep_schema, raw, new.format if old is None else old.format)
    store = RunStore(layout, columns, mode=mode)
    pilot = _open_pilot(job, layout, mode)
    try:
        identity, void = merge(old, new, store.tally, has_pilot_answers=pilot is not None and pilot.has_answers)
    except AnsweredOtherwise:
        store.finish()  # another run can take over what is sealed
        raise
    if void or retry_refused:
        store.finish()  # what is in the journals goes the same way as what is sealed
        clear_run(layout) if void else reopen_refused(layout, columns)
        store = RunStore(layout, columns, mode=mode)
    if void and pilot is not None:
        pilot.close()
        pilot = _open_pilot(job, layout, mode)
    with saving(path):
        write_identity(layout, identity)
        settle_scores(layout, identity.router)
        layout.scores.mkdir(mode=mode, exist_ok=True)
    return RunDirectory(layout, store, Scores(layout.scores), identity, raw, pilot)


def _open_pilot(job: Job, layout: RunLayout, mode: int) -> PilotStore | None:
    return PilotStore(layout, mode=mode) if job.pilot is not None or layout.pilot.exists() else None


def settle_scores(run: RunLayout, router: str | None) -> None:
    """Puts the scores of the router in use, None for the job's own, where scores stand.

    A crash may have come between any two steps of this, and the identity says what is to be:

        scores  pilot/scores  pilot/first-scores
        x       x                                  another router was chosen, and nothing is moved yet
                x             x                    the job's own were moved away, its own have not come yet
        x                     x                    done; back to the job's where the choice is void
    """
    if router is not None and run.other_scores.exists():
        if run.scores.exists():
            run.scores.rename(run.first_scores)
        run.other_scores.rename(run.scores)
    elif router is None and run.first_scores.exists():
        shutil.rmtree(run.scores, ignore_errors=True)
        run.first_scores.rename(run.scores)
    else:
        return
    sync_file(run.path)
    sync_file(run.pilot)


def clear_run(run: RunLayout) -> None:
    """Removes rows and scores that say nothing about the job as it is now."""
    with saving(run.path):
        for entry in run.clearable():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
