"""job.toml of a run directory that several processes have open: changed in a turn of one, to what stands there.

Also what it means to begin such a directory, to go on in it with another job, and to void it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from batchroute.errors import AnsweredOtherwise, Stopped
from batchroute.job.settings import changed_settings
from batchroute.store.columns import ResultColumns
from batchroute.store.files import saving
from batchroute.store.identity import find_identity, identity_of, merge, read_identity, write_identity
from batchroute.store.layout import layouts_of
from batchroute.store.lock import file_state, turn
from batchroute.store.parts import seal
from batchroute.store.tally import TALLIED, Tally
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.store.identity import Identity
    from batchroute.store.layout import RunLayout


def change_shared(run: RunLayout, known: Identity, change: Callable[[Identity], Identity]) -> Identity:
    """Writes what job.toml is to say by now; `known` is what it said when this process began.

    Stopped where another process has begun another job since.
    """
    with saving(run.path), turn(run):
        now = read_identity(run)
        refuse_another(run, known, now)
        changed = change(now)
        if changed != now:
            write_identity(run, changed)
    return changed


def check_shared(run: RunLayout, known: Identity) -> None:
    """Stopped where the directory is another job's by now; while a shard is locked none voids it from here on."""
    with turn(run):
        refuse_another(run, known, read_identity(run))


def refuse_another(run: RunLayout, known: Identity, now: Identity) -> None:
    """Stopped where the directory is held to something else than `known`."""
    if changed := changed_settings(known.frozen, now.frozen):
        raise Stopped(
            f"{run.job}: another process has begun with other settings ({', '.join(changed)}); "
            "give all processes the same job file, then run again"
        )


def settle_shared(run: RunLayout, job: Job, source: Source, mode: int, *, raw: bool) -> Identity:
    """What the directory is held to from now on; it is begun, or voided, where that is called for.

    RunFault where it holds anything else, AnsweredOtherwise where its answers are another job's, Stopped where it
    is void and a process works on a shard of it.
    """
    with saving(run.path), turn(run):
        old, new = find_identity(run), identity_of(job, source.fingerprint())
        has_changed = old is not None and changed_settings(old.frozen, new.frozen)
        try:
            identity, void = merge(old, new, _tally(run) if has_changed else Tally())
        except AnsweredOtherwise:
            if old is not None:
                _seal_free(run, ResultColumns(source.keep_schema, raw, old.format))
            raise
        if void:
            _clear(run)
        if identity != old:
            write_identity(run, identity)
        for folder in (run.scores, run.results, run.requests):
            folder.mkdir(mode=mode, exist_ok=True)
    return identity


def _tally(run: RunLayout) -> Tally:
    """Of all shards; reads them, which is only done where the job has changed."""
    tally = Tally()
    for part in run.parts():
        with pq.ParquetFile(part) as file:
            tally.add_part(file.read(list(TALLIED)))
    for result in read_unsealed(run).settled:
        tally.add(result)
    return tally


def _clear(run: RunLayout) -> None:
    """Removes rows and scores that say nothing about the job as it is now, unless somebody works on them."""
    shards = layouts_of(run.path)
    for shard in shards:
        if (state := file_state(shard.lock)).held is not False:
            whose = "another process" if state.holder is None else state.holder.words()
            raise Stopped(
                f"{run.path}: shard {shard.shard} is at work with other settings: {whose}; stop it first"
            )
    for layout in (*shards, run):
        for entry in layout.clearable():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _seal_free(run: RunLayout, columns: ResultColumns) -> None:
    """What stands in journals that nobody writes is sealed, so that another run can take it over."""
    sealed = set(run.parts())
    for shard in layouts_of(run.path):
        if file_state(shard.lock).held is False:
            for journal in shard.journals():
                if (part := shard.part_of(journal)) not in sealed:
                    seal(journal, part, columns)
