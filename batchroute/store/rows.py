"""The run directory: what is done, what failed, and who may write.

A row is done if and only if it stands in a sealed part or on a whole journal record. Journal N is sealed into
part N; the part's name is the commit, so a journal whose part exists is left over and goes. Rows that failed for
passing reasons stand in failed.jsonl and are asked again. Knows no network and no prices.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault, Stopped
from batchroute.store.done import DoneRows
from batchroute.store.files import make_directory, refuse_file_in_the_way, saving, sync_file, whole_file
from batchroute.store.journal import Journal, read_journal
from batchroute.store.parts import fingerprints_of, result_schema, seal, write_part
from batchroute.types import SIDES, Result, Side

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

SYNC_EVERY_S = 0.25
JOURNAL_ROWS = 20_000
JOURNAL_BYTES = 32 << 20


@dataclass(slots=True)
class Tally:
    """Done rows of the whole directory, by how they ended, and what they cost as far as is known."""

    refused: int = 0
    cost_usd: Decimal = Decimal(0)
    ok: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))

    @property
    def done(self) -> int:
        return self.refused + sum(self.ok.values())

    def add(self, status: str, route: str | None, cost_usd: float | None, rows: int = 1) -> None:
        self.cost_usd += Decimal(repr(cost_usd or 0.0))
        if status == "refused":
            self.refused += rows
        else:
            self.ok["strong" if route == "strong" else "weak"] += rows


@contextlib.contextmanager
def locked(path: Path, mode: int) -> Iterator[None]:
    """Makes the directory, and makes it this process's own; the lock dies with the process, however it ends."""
    refuse_file_in_the_way(path)
    with saving(path):
        make_directory(path, mode)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Stopped(f"{path}: another run is at work in this directory; wait for it, or stop it") from None


def parts_in(path: Path) -> list[Path]:
    """The sealed parts of a run directory, oldest first."""
    return sorted((path / "results").glob("part-*.parquet"))


def journals_in(path: Path) -> list[Path]:
    """The journals of a run directory, oldest first."""
    return sorted(path.glob("journal-*"))


def part_of(journal: Path) -> Path:
    """The part that a journal is sealed into."""
    return journal.parent / "results" / f"part-{_number(journal):05d}.parquet"


def clear(path: Path, spare: Collection[str]) -> None:
    """Removes all that a run wrote, but the lock and the files named."""
    with saving(path):
        for entry in path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in {"lock", *spare}:
                entry.unlink()


class RunStore:
    """The rows of one locked run directory. All methods but `keep_sealed` and `keep_synced` are synchronous."""

    def __init__(self, path: Path, keep: pa.Schema, *, raw: bool, mode: int) -> None:
        """Takes up what earlier runs left, whatever state they died in."""
        self.path = path
        self.tally = Tally()
        self.done = DoneRows()
        self.unsettled: dict[tuple[str, int], Result] = {}
        self._keep, self._raw = keep, raw
        self._full: asyncio.Queue[tuple[Journal, int, list[Result]]] = asyncio.Queue()
        self._results = path / "results"
        with saving(path):
            for folder in (self._results, fingerprints_of(self._part_path(0)).parent):
                folder.mkdir(mode=mode, exist_ok=True)
            self._number = self._recover()
            self._journal = self._new_journal()
            self._load()

    def record(self, result: Result) -> None:
        """Puts a row's end on file; once this returns the row is not asked again, unless it failed."""
        with saving(self._journal.path):
            self._journal.append(result)
        place = (result.file, result.row)
        if result.status in {"ok", "refused"}:
            self.unsettled.pop(place, None)
            self.tally.add(result.status, result.route, result.cost_usd)
        else:
            self.unsettled[place] = result
        if self._full.empty() and (self._journal.records >= JOURNAL_ROWS or self._journal.bytes >= JOURNAL_BYTES):
            self._roll()

    @property
    def spent_usd(self) -> Decimal:
        """What is known of the bill of all rows, those failed or left open among them."""
        known = (result.cost_usd for result in self.unsettled.values() if result.cost_usd is not None)
        return self.tally.cost_usd + sum((Decimal(repr(cost)) for cost in known), Decimal(0))

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.unsettled.values() if result.status == "failed"]

    async def keep_synced(self) -> None:
        """Forces the journal onto the disk a few times a second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            with saving(self._journal.path):
                await asyncio.to_thread(self._journal.sync)

    async def keep_sealed(self) -> None:
        """Seals each journal that is full, until cancelled."""
        while True:
            await asyncio.to_thread(self._seal, *await self._full.get())
            self._full.task_done()

    async def sealed(self) -> None:
        """Waits until no full journal is left."""
        await self._full.join()

    def finish(self) -> None:
        """Seals what is left and writes failed.jsonl; other programs may then read the directory."""
        self._roll()
        while not self._full.empty():
            self._seal(*self._full.get_nowait())
        with saving(self.path):
            if not parts_in(self.path):
                empty = result_schema(self._keep, raw=self._raw).empty_table()
                write_part(self._part_path(self._number - 1), empty)
            self._journal.close()
            if not self._journal.records:
                self._journal.path.unlink()

    def close(self) -> None:
        """Lets go of the journal as it is: for a run that ends because it can no longer save."""
        self._journal.close()

    def _roll(self) -> None:
        """Starts a new journal. What is open, and only told by the old one, goes over into it."""
        old, number = self._journal, self._number
        self._number += 1
        with saving(self.path):
            self._journal = self._new_journal()
            self._carry_open()
        self._full.put_nowait((old, number, self.failed))

    def _new_journal(self) -> Journal:
        """The journal of the current number; its name, too, has to survive a power cut."""
        journal = Journal(self._journal_path(self._number))
        sync_file(self.path)
        return journal

    def _carry_open(self) -> None:
        for result in self.unsettled.values():
            if result.status == "open":
                self._journal.append(result)

    def _seal(self, journal: Journal, number: int, failed: list[Result]) -> None:
        with saving(self._results):
            journal.sync()
            journal.close()
            self._journal.sync()
            write_failed(self.path / "failed.jsonl", failed)
            seal(journal.path, self._part_path(number), self._keep, raw=self._raw)
            journal.path.unlink()
        pa.default_memory_pool().release_unused()  # else the pieces that rows leave behind add up, part by part

    def _journal_path(self, number: int) -> Path:
        return self.path / f"journal-{number:05d}"

    def _part_path(self, number: int) -> Path:
        return self._results / f"part-{number:05d}.parquet"

    def _recover(self) -> int:
        """Finishes what a crash left half done; returns the number of the journal to go on with."""
        for unfinished in self.path.glob(".part-*.unfinished"):
            unfinished.unlink()
        for journal in journals_in(self.path):
            if part_of(journal).exists():
                journal.unlink()
        journals = journals_in(self.path)
        numbers = [_number(path) for path in (*journals, *parts_in(self.path))]
        return max(numbers, default=0) if journals else max(numbers, default=-1) + 1

    def _load(self) -> None:
        for part in parts_in(self.path):
            self._load_part(part)
        for result in read_failed(self.path / "failed.jsonl"):
            self.unsettled[result.file, result.row] = result
        for journal in journals_in(self.path):
            for result in read_journal(journal):
                self._load_record(result)
        self._forget_settled()
        older = [journal for journal in journals_in(self.path) if journal != self._journal.path]
        for journal in older:
            self._full.put_nowait((Journal(journal), _number(journal), self.failed))
        if older:  # the crash may have come before what is open had gone over into the newest
            self._carry_open()

    def _load_record(self, result: Result) -> None:
        if result.status in {"ok", "refused"}:
            self.tally.add(result.status, result.route, result.cost_usd)
            self.done.add(result.file, np.array([result.row], np.int64))
        else:
            self.unsettled[result.file, result.row] = result

    def _load_part(self, part: Path) -> None:
        try:
            with pq.ParquetFile(part) as file:  # `read_table` takes twice as long for a part of this size
                table = file.read(["file", "row", "status", "route", "cost_usd"])
        except (OSError, pa.ArrowInvalid) as error:
            raise RunFault(f"{part}: cannot be read ({error}); it belongs to the results, restore it") from error
        rows = table["row"].to_numpy()
        files = table["file"].dictionary_encode().combine_chunks()
        for code, name in enumerate(files.dictionary.to_pylist()):
            self.done.add(name, rows[files.indices.to_numpy() == code])
        totals: list[Any] = [([], "count_all"), ("cost_usd", "sum")]
        for group in table.group_by(["status", "route"]).aggregate(totals).to_pylist():
            self.tally.add(group["status"], group["route"], group["cost_usd_sum"], group["count_all"])

    def _forget_settled(self) -> None:
        """failed.jsonl is rewritten only now and then: rows settled since still stand in it."""
        for file, row in list(self.unsettled):
            if self.done.mask(file, np.array([row], np.int64))[0]:
                del self.unsettled[file, row]


def reopen_refused(path: Path) -> None:
    """Turns refused rows that were or might have been asked into failed ones, so that the next run asks them.

    For a directory that is finished. They stand in failed.jsonl before they leave their part, so a crash between
    the two loses none. Rows that the input itself made unusable stay as they are.
    """
    failed_file = path / "failed.jsonl"
    for part in parts_in(path):
        table = pq.read_table(part)
        again = pc.and_(pc.equal(table["status"], "refused"), pc.not_equal(table["error_type"], "bad_row"))
        again = pc.fill_null(again, fill_value=False)
        rows = table.filter(again).select([*_FailedRow.__struct_fields__]).to_pylist()
        if not rows:
            continue
        with saving(path):
            write_failed(failed_file, [*read_failed(failed_file), *(_as_failed(row) for row in rows)])
            write_part(part, table.filter(pc.invert(again)))


def _as_failed(row: dict[str, Any]) -> Result:
    finished_at = int(row.pop("finished_at").timestamp() * 1e6)
    return Result(**row, status="failed", finished_at=finished_at)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


class _FailedRow(msgspec.Struct, kw_only=True):
    """A line of failed.jsonl: the result columns but those only an answer has."""

    file: str
    row: int
    id: str | None
    score: float | None
    route: str | None
    route_reason: str | None
    model: str | None
    attempts: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    error_type: str | None = None
    error: str | None = None
    finished_at: int = 0


def write_failed(path: Path, failed: list[Result]) -> None:
    """All failed rows, in input order as far as names tell; the file appears whole or not at all."""
    encode = msgspec.json.Encoder().encode
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        for result in sorted(failed, key=lambda result: (result.file, result.row)):
            fields = {name: getattr(result, name) for name in _FailedRow.__struct_fields__}
            file.write(encode(fields) + b"\n")


def read_failed(path: Path) -> list[Result]:
    """What `write_failed` wrote; nothing where there is no file."""
    if not path.exists():
        return []
    try:
        rows = msgspec.json.Decoder(_FailedRow).decode_lines(path.read_bytes())
        return [Result(**msgspec.structs.asdict(row), status="failed") for row in rows]
    except msgspec.DecodeError as error:
        raise RunFault(f"{path}: not as a run wrote it ({error}); remove it to ask its rows anew") from error
