"""The rows of a locked run directory: which are done, which are to be asked again, what they cost.

A row is done if and only if it stands in a sealed part or on a whole journal record. Rows that failed for passing
reasons stand in failed.jsonl and are asked again. Knows no network and no prices.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.store.files import saving, sync_file
from batchroute.store.journal import SYNC_EVERY_S, Journal, read_journal, row_encoder
from batchroute.store.layout import number_of
from batchroute.store.parts import seal, write_part
from batchroute.store.tally import TALLIED, Tally, known_usd
from batchroute.store.unsealed import read_failed, write_failed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from batchroute.store.columns import ResultColumns
    from batchroute.store.epoch import Fence
    from batchroute.store.layout import RunLayout
    from batchroute.types import Result

JOURNAL_ROWS = 20_000
JOURNAL_BYTES = 32 << 20

_NONE = bytearray()


class DoneRows:
    """A set of rows by file and row number; memory is an eighth of a byte per row of the input.

    One thread adds while others may ask: bits that need more room are copied, never resized under a reader.
    """

    def __init__(self) -> None:
        self._bits: dict[str, bytearray] = {}

    def add_row(self, file: str, row: int) -> None:
        """Puts one row into the set: a tenth of what `add` takes for it."""
        bits = self._bits.get(file, _NONE)
        if row >> 3 >= len(bits):
            bits = self._room(file, row)
        bits[row >> 3] |= 1 << (row & 7)

    def add(self, file: str, rows: NDArray[np.int64]) -> None:
        """Puts [n] rows of one file into the set."""
        if len(rows):
            bits = np.frombuffer(self._room(file, int(rows.max())), np.uint8)
            np.bitwise_or.at(bits, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))

    def mask(self, file: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[n] for n rows of one file, whether each is in the set."""
        bits = np.frombuffer(self._bits.get(file, _NONE), np.uint8)
        inside = rows < 8 * len(bits)
        found = np.zeros(len(rows), np.bool_)
        known = rows[inside]
        found[inside] = (bits[known >> 3] >> (known & 7).astype(np.uint8)) & 1 == 1
        return found

    def copy(self) -> DoneRows:
        """The set as it is now."""
        copied = DoneRows()
        copied._bits = {file: bytearray(bits) for file, bits in self._bits.items()}
        return copied

    def _room(self, file: str, row: int) -> bytearray:
        """The bits of a file, with room for a row."""
        bits, size = self._bits.get(file, _NONE), row // 8 + 1
        if size > len(bits):
            # At least twice the room, so that adding rows one by one copies each bit a bounded number of times.
            bits = self._bits[file] = bits + bytes(max(size, 2 * len(bits)) - len(bits))
        return bits


# What a crash can leave, and how the next run recovers. Say journal 3 is full; on it row 64 has failed, and row 66
# is open: begun by an earlier run, which a stop cut short after an attempt that cost something.
#
#   roll    journal 4 begins, and the record of row 66 is copied into it: nothing but a journal has it.
#           Killed before the copy: journal 3 still stands. It is read, row 66 is copied again.
#   sync    Both journals are forced onto the disk, then failed.jsonl is written anew, with row 64.
#           Killed between the two: row 64 still stands on journal 3.
#   seal    results/part-00003.parquet gets its name. This is the commit.
#           Killed before it: an unfinished part, which is removed; journal 3 is sealed again, to the same rows.
#   unlink  journal 3 goes.
#           Killed before it: journal 3 stands beside its part and is removed unread, or rows would count twice.
#
# failed.jsonl may be long, so it is written at a seal only. When row 64 is answered, on journal 4, it still stands
# in failed.jsonl until journal 4 is sealed: a reader drops from the failed rows those that are done.


class RunStore:
    """The rows of one locked run directory, or of one of its shards.

    All methods but `keep_sealed` and `keep_synced` are synchronous.
    """

    def __init__(
        self, layout: RunLayout, columns: ResultColumns, *, mode: int, fence: Fence | None = None
    ) -> None:
        """Reads what earlier runs left, whatever state they died in.

        `fence`, of a shard: no journal but new ones, with its epoch, is appended to, and this ends where it falls.
        """
        self.layout = layout
        self.tally = Tally()
        self.done = DoneRows()
        self.unsettled: dict[tuple[str, int], Result] = {}
        self.handed_over: dict[str, DoneRows] = {}
        self._unsettled_usd = Decimal(0)
        self._columns = columns
        self._fence = fence
        self._encode = row_encoder(columns.format)
        self._is_finished = False
        self._full: asyncio.Queue[tuple[Journal, int, list[Result]]] = asyncio.Queue()
        with saving(layout.path):
            for folder in (self.layout.results, self.layout.requests):
                folder.mkdir(mode=mode, exist_ok=True)
            self._number = self._recover()
            self._journal = self._new_journal()
            self._load()

    def record(self, result: Result) -> Result | None:
        """Puts a row's end on file; once this returns the row is not asked again, unless it failed.

        Returns what stood there of the row before, which failed or was left open; the new result has that, too.
        """
        with saving(self._journal.path):
            self._journal.append(result)
        place = (result.file, result.row)
        earlier = self.unsettled.pop(place, None)
        self._unsettled_usd -= known_usd(earlier)
        if result.status in {"ok", "refused"}:
            self.tally.add(result)
            self.done.add_row(*place)
        else:
            self.unsettled[place] = result
            self._unsettled_usd += known_usd(result)
        if self._full.empty() and (self._journal.records >= JOURNAL_ROWS or self._journal.bytes >= JOURNAL_BYTES):
            self._roll()
        return earlier

    @property
    def spent_usd(self) -> Decimal:
        """What is known of the bill of all rows, those failed or left open among them."""
        return self.tally.cost_usd + self._unsettled_usd

    def failed(self) -> list[Result]:
        """The rows that the next run asks again, gone through at each call."""
        return [result for result in self.unsettled.values() if result.status == "failed"]

    async def keep_synced(self) -> None:
        """Forces the journal onto the disk a few times a second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            with saving(self._journal.path):
                await asyncio.to_thread(self._sync)

    def _sync(self) -> None:
        if self._journal.sync() and self._fence is not None:
            self._fence.check()

    async def keep_sealed(self) -> None:
        """Seals each journal that is full, until cancelled."""
        while True:
            await asyncio.to_thread(self._seal, *await self._full.get())
            self._full.task_done()

    async def sealed(self) -> None:
        """Waits until no full journal is left."""
        await self._full.join()

    def finish(self) -> None:
        """Seals what is left and writes failed.jsonl; other programs may then read the directory. Idempotent."""
        if self._is_finished:
            return
        self._roll()
        while not self._full.empty():
            self._seal(*self._full.get_nowait())
        with saving(self.layout.path):
            if self.layout.shard is None and not self.layout.parts():
                write_part(self.layout.part(self._number - 1), self._columns.schema.empty_table())
            self._journal.close()
            if not self._journal.records:
                self._journal.path.unlink()
        self._is_finished = True

    def close(self) -> None:
        """Leaves the journal as it is: for a run that ends because it can no longer save."""
        self._journal.close()

    def _roll(self) -> None:
        """Starts a new journal and copies open rows into it; the old one is to be sealed."""
        old, number = self._journal, self._number
        self._number += 1
        with saving(self.layout.path):
            self._journal = self._new_journal()
            self._carry_open()
        self._full.put_nowait((old, number, self.failed()))

    def _new_journal(self) -> Journal:
        """The journal of the current number; its name, too, has to survive a power cut."""
        epoch = None if self._fence is None else self._fence.number
        journal = Journal(self.layout.journal(self._number), self._encode, epoch=epoch)
        sync_file(self.layout.own)
        return journal

    def _carry_open(self) -> None:
        for result in self.unsettled.values():
            if result.status == "open":
                self._journal.append(result)

    def _seal(self, journal: Journal, number: int, failed: list[Result]) -> None:
        with saving(self.layout.results):
            journal.sync()
            journal.close()
            self._journal.sync()  # it has the open rows now
            if self._fence is not None:
                self._fence.check()
            write_failed(self.layout.failed, failed)
            seal(journal.path, self.layout.part(number), self._columns)
            journal.path.unlink()
        pa.default_memory_pool().release_unused()  # else the pieces that rows leave behind add up, part by part

    def _recover(self) -> int:
        """Finishes what a crash left half done; returns the number of the journal to go on with."""
        for unfinished in self.layout.unfinished_parts():
            unfinished.unlink()
        for journal in self.layout.journals():
            if self.layout.part_of(journal).exists():
                journal.unlink()
        journals = self.layout.journals()
        numbers = [number_of(path) for path in (*journals, *self.layout.parts())]
        goes_on = journals and self._fence is None
        return max(numbers, default=0) if goes_on else max(numbers, default=-1) + 1

    def _load(self) -> None:
        for part in self.layout.parts():
            self._load_part(part)
        for result in read_failed(self.layout.failed):
            self.unsettled[result.file, result.row] = result
        for journal in self.layout.journals():
            for result in read_journal(journal):
                self._load_record(result)
        self._forget_settled()
        self._unsettled_usd = sum(map(known_usd, self.unsettled.values()), Decimal(0))
        self._find_handed_over()
        older = [journal for journal in self.layout.journals() if journal != self._journal.path]
        for journal in older:
            self._full.put_nowait((Journal(journal), number_of(journal), self.failed()))
        if older:  # a crash may have come before open rows were copied into the newest
            self._carry_open()

    def _load_record(self, result: Result) -> None:
        if result.status in {"ok", "refused"}:
            self.tally.add(result)
            self.done.add_row(result.file, result.row)
        else:
            self.unsettled[result.file, result.row] = result

    def _find_handed_over(self) -> None:
        """Rows that an earlier run's answer sent on to another endpoint, by that: they go on there."""
        for result in self.unsettled.values():
            if result.route_reason == "finish" and result.route is not None:
                self.handed_over.setdefault(result.route, DoneRows()).add_row(result.file, result.row)

    def _load_part(self, part: Path) -> None:
        try:
            with pq.ParquetFile(part) as file:  # `read_table` takes twice as long for a part of this size
                table = file.read(["file", "row", *TALLIED])
        except (OSError, pa.ArrowInvalid) as error:
            raise RunFault(f"{part}: cannot be read ({error}); it belongs to the results, restore it") from error
        rows = table["row"].to_numpy()
        files = table["file"].dictionary_encode().combine_chunks()
        for code, name in enumerate(files.dictionary.to_pylist()):
            self.done.add(name, rows[files.indices.to_numpy() == code])
        self.tally.add_part(table)

    def _forget_settled(self) -> None:
        """Drops rows that are done by now, though failed.jsonl or an older record lists them."""
        for file, row in list(self.unsettled):
            if self.done.mask(file, np.array([row], np.int64))[0]:
                del self.unsettled[file, row]
