"""A run directory that is cut into shards, for the processes that work in it: who may do what, and when.

    DriverRole     has the run's lock to itself, raises the run's epoch; alone, it may go on with another job file
    WorkerRole     works for a driver, and has the epoch that it was given; it writes in its shards only
    Share(0, 3)    one of three processes without a driver: has the lock together with others of its kind

What is a shard's own is written by whoever has the shard's lock. What is everybody's, job.toml, is written in a
turn (store/lock): read again, changed, written. A process that begins a shard looks there whose job the directory
has; whoever voids the directory holds its turn, and looks whether a shard is locked. So nobody works on beside it:

    A has shard 4's lock, then takes its turn: reads its own job.   B, in its turn, finds shard 4 locked: exit 4
    B, in its turn, finds no lock, clears, writes another job.      A, in its turn, reads that: exit 4

Sends and scores nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from batchroute.errors import PoisonShard, ShardTaken, Stopped
from batchroute.store.columns import ResultColumns
from batchroute.store.directory import RunDirectory, keeps_raw
from batchroute.store.ended import ShardDone, begin_attempt, end_attempt, place_of, read_done, write_done
from batchroute.store.epoch import Fence, StoredEpoch, raise_epoch, read_epoch, write_epoch
from batchroute.store.files import decoding, make_directory, saving, sync_file, write_whole
from batchroute.store.identity import read_identity
from batchroute.store.journal import read_epoch_of
from batchroute.store.layout import RunLayout, layouts_of
from batchroute.store.lock import file_state, forget_killed, held, joined, locked, turn
from batchroute.store.rows import RunStore
from batchroute.store.scores import Scores
from batchroute.store.shards import open_shards
from batchroute.store.shared import change_shared, check_shared, settle_shared
from batchroute.store.unsealed import reopen_refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchroute.input.cut import Shard
    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.store.identity import Identity
    from batchroute.store.layout import ShareLayout


@dataclass(frozen=True, slots=True)
class DriverRole:
    """Hands out shards to workers; alone in the directory. What it grants lasts `ttl_s`."""

    ttl_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerRole:
    """Works for the driver whose epoch this is."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Share:
    """One of `of` processes that divide the shards, the limits and the money; `index` from 0."""

    index: int
    of: int

    @property
    def words(self) -> str:
        """As the user writes it: 0/3."""
        return f"{self.index}/{self.of}"


Role: TypeAlias = DriverRole | WorkerRole | Share


@contextlib.contextmanager
def open_sharded(
    job: Job, source: Source, role: Role, *, senders: int = 1, retry_refused: bool = False
) -> Iterator[ShardedDirectory]:
    """Opens the job's directory for such a process, or begins it: a new one is cut for so many senders.

    Raises what `open_run_directory` does, and Stopped where the directory is another process's, or where it has
    the same share already. `retry_refused`: rows an endpoint refused are to be asked again. Shards that are still
    open when the block ends are left as they are.
    """
    run = RunLayout(Path(job.output.path))
    with _entered(run, int(job.output.mode, 8), role):
        directory = ShardedDirectory(job, source, role, senders=senders, retry_refused=retry_refused)
        try:
            yield directory
        finally:
            directory.let_go()


@contextlib.contextmanager
def _entered(run: RunLayout, mode: int, role: Role) -> Iterator[None]:
    """The locks of a process that is not at work on a shard."""
    match role:
        case DriverRole():
            with locked(run.path, mode):
                _take_over_from(run.shares(), run)
                yield
        case Share(index, of):
            share = run.share(index, of)
            taken = f"{run.path}: share {role.words} is at work here"
            with joined(run.path, mode):
                with saving(share.folder):
                    make_directory(share.folder, mode)
                with held(share.lock, mode, lambda whose: Stopped(f"{taken}: {whose}; wait for it, or stop it")):
                    _take_over_from([each for each in run.shares() if each.of != of], run)
                    with saving(share.folder):
                        share.ended.unlink(missing_ok=True)
                    yield
        case WorkerRole(epoch):
            if (now := read_epoch(run.epoch).number) != epoch:
                raise Stopped(f"{run.path}: driver {now} is at work here, this worker's was {epoch}")
            yield


def _take_over_from(others: Iterable[ShareLayout], run: RunLayout) -> None:
    """Limits are divided by the number of processes, so all that are at work must have the same."""
    for share in others:
        state = file_state(share.lock)
        if state.held:
            whose = "" if state.holder is None else f" ({state.holder.words()})"
            raise Stopped(
                f"{run.path}: share {share.words}{whose} is at work here; wait for it, or stop it: "
                "all processes at work on a run have the same N in --shard I/N"
            )
        if state.holder is not None:
            forget_killed(share.lock)


@dataclass(frozen=True, slots=True)
class _OpenShard:
    """A shard that is this process's own until `held` is closed."""

    layout: RunLayout
    fence: Fence
    held: contextlib.ExitStack


class ShardedDirectory:
    """The directory as one process has it open. All methods are synchronous, and none is for two threads at once.

    `shards` are all of the run, cut from `source`. `raw`: its results keep whole answers. `share` has the names of
    a process without a driver. `epoch` is the driver's, 0 where there is none. `leased_s`: an earlier
    driver did not end in order, and its workers may live so long on what it granted them.
    """

    def __init__(self, job: Job, source: Source, role: Role, *, senders: int, retry_refused: bool) -> None:
        self.layout = RunLayout(Path(job.output.path))
        self.raw = keeps_raw(job, source)
        self.share = self.layout.share(role.index, role.of) if isinstance(role, Share) else None
        self.epoch, self.leased_s = role.epoch if isinstance(role, WorkerRole) else 0, 0.0
        self._mode = int(job.output.mode, 8)
        self._retry_refused = retry_refused
        self._reopened: set[int] = set()  # shards whose refused rows were
        self._at_first: dict[int, int | None] = {}  # the epoch in which a shard was done, at the first look
        self._open: dict[Path, _OpenShard] = {}
        if isinstance(role, WorkerRole):
            self._known = self.identity
        else:
            self._known = settle_shared(self.layout, job, source, self._mode, raw=self.raw)
        self.shards, self.source = open_shards(self.layout, source, job.engine, senders)
        self.columns = ResultColumns(source.keep_schema, self.raw, self._known.format)
        if isinstance(role, DriverRole):
            self.leased_s = read_epoch(self.layout.epoch).leased_s
            self.epoch = raise_epoch(self.layout.epoch, ttl_s=role.ttl_s)

    @property
    def status(self) -> Path:
        """Where this process says what its lanes do."""
        return self.layout.status if self.share is None else self.share.status

    @property
    def identity(self) -> Identity:
        """As job.toml has it now: whoever finds the threshold, say, writes it there."""
        return read_identity(self.layout)

    def open(self, shard: Shard) -> RunDirectory:
        """Makes a shard this process's own, and finishes what a crash left half done there.

        ShardTaken where another process has it, PoisonShard where too many have died of it, Stopped where the
        directory is another job's by now, or another driver's.
        """
        layout = RunLayout(self.layout.path, shard.number)
        with contextlib.ExitStack() as stack:
            with saving(layout.own):
                make_directory(layout.own, self._mode)
            stack.enter_context(held(layout.lock, self._mode, lambda whose: _taken(shard, whose)))
            check_shared(self.layout, self._known)
            self._refuse_later_driver()
            fence = Fence(layout.epoch, raise_epoch(layout.epoch, map(read_epoch_of, layout.journals())))
            with saving(layout.own):
                layout.done.unlink(missing_ok=True)
                sync_file(layout.own)
            store = self._open_store(layout, fence)
            stack.callback(store.close)
            scores = Scores(layout.scores, shard.number)
            try:
                begin_attempt(shard, store, scores.rows, self.epoch)
            except PoisonShard:
                store.finish()
                raise
            self._open[layout.own] = _OpenShard(layout, fence, stack.pop_all())
        return RunDirectory(layout, store, scores, self._known, self.raw)

    def close(self, directory: RunDirectory, *, rows: int | None) -> None:
        """Seals what is left and gives the shard back.

        `rows` is how many are wanted of it, where all of these have come to an end; None where some have not.
        """
        shard = self._open[directory.layout.own]
        directory.store.finish()
        if rows is not None:
            write_done(directory.store, rows, shard.fence.number)
        end_attempt(shard.layout)
        self._open.pop(shard.layout.own).held.close()

    def done(self, number: int) -> ShardDone | None:
        """What came of a shard; None where it is to be worked on.

        So is one whose refused rows are asked again: until somebody has been at work on it since the first look.
        """
        done = read_done(RunLayout(self.layout.path, number))
        if not self._retry_refused:
            return done
        at_first = self._at_first.setdefault(number, None if done is None else done.epoch)
        return None if done is not None and done.refused and done.epoch == at_first else done

    def fix_threshold(self, threshold: float, rows: int, limit: int | None) -> None:
        """As of a shard's `RunDirectory`: the threshold of the whole run, once all scores are known."""
        change_shared(
            self.layout, self._known, lambda known: replace(known, threshold=threshold, rows=rows, limit=limit)
        )

    def scores_of(self, shard: Shard) -> Scores:
        """The scores of one shard, as they are on disk now."""
        return Scores(self.layout.scores, shard.number)

    def has_answers_of(self, endpoint: str) -> bool:
        """Whether an endpoint has answered a row of a shard that is done."""
        ended = (read_done(layout) for layout in layouts_of(self.layout.path))
        return any(done is not None and done.ok.get(endpoint, 0) > 0 for done in ended)

    def leave(self, why: Sequence[str]) -> bool:
        """Of a share that has ended, and `why` early: whether no other one is at work.

        Each says in its turn that it has ended, and then looks: so of two that look, the second finds both ended.
        """
        own = self.share
        if own is None:
            return True
        with saving(own.folder), turn(self.layout):
            write_whole(own.ended, msgspec.json.encode(why))
            write_whole(self.layout.last_share, own.words.encode())
            return not self._others_at_work(own)

    @contextlib.contextmanager
    def last_word(self) -> Iterator[bool]:
        """Its turn to say how the run ended; False where that is another's, which began or ended after it.

        A leaves as the last one and reads all rows for its report. Meanwhile B begins, asks the rest, leaves as
        the last one as well, and reports. What A has read is of before: it must not take that report's place.
        """
        own = self.share
        with saving(self.layout.path), turn(self.layout):
            if own is None:
                yield True
            else:
                is_last = self.layout.last_share.read_text() == own.words
                yield is_last and not self._others_at_work(own)

    def why_others_ended(self) -> dict[str, list[str]]:
        """Why the other shares of the same division ended early, by share, as "0/3"."""
        own = self.share
        if own is None:
            return {}
        others = [share for share in self._other_shares(own) if share.of == own.of and share.ended.exists()]
        return {share.words: _read_why(share) for share in others}

    def _others_at_work(self, own: ShareLayout) -> bool:
        return any(file_state(share.lock).held and not share.ended.exists() for share in self._other_shares(own))

    def _other_shares(self, own: ShareLayout) -> list[ShareLayout]:
        return [share for share in self.layout.shares() if share.folder != own.folder]

    def end_epoch(self) -> None:
        """Of a driver, all of whose workers have ended: the next one may grant leases at once."""
        write_epoch(self.layout.epoch, StoredEpoch(self.epoch, closed=True))

    def let_go(self) -> None:
        """Leaves open shards as they are, for a process that ends because it can no longer save."""
        for shard in self._open.values():
            with contextlib.suppress(Stopped):  # on a disk that is full, say, the attempt counts
                end_attempt(shard.layout)
            shard.held.close()
        self._open.clear()

    def _open_store(self, layout: RunLayout, fence: Fence) -> RunStore:
        """The rows of a shard; those that were refused are to be asked again, where this is wanted, but once."""
        store = RunStore(layout, self.columns, mode=self._mode, fence=fence)
        if not self._retry_refused or layout.shard in self._reopened:
            return store
        store.finish()
        reopen_refused(layout, self.columns)
        self._reopened.add(layout.shard or 0)
        return RunStore(layout, self.columns, mode=self._mode, fence=fence)

    def _refuse_later_driver(self) -> None:
        if self.epoch:
            Fence(self.layout.epoch, self.epoch).check()


def _read_why(share: ShareLayout) -> list[str]:
    with decoding(share.ended, "remove it"):
        return msgspec.json.decode(share.ended.read_bytes(), type=list[str])


def _taken(shard: Shard, whose: str) -> ShardTaken:
    return ShardTaken(f"shard {shard.number} ({place_of(shard)}): another process is at work on it: {whose}")
