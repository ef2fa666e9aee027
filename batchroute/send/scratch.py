"""Fingerprints of requests and their answers, more than memory holds: a SQLite file that goes with the process.

The file loses its name as soon as it is open, so that nothing is left behind, however the process ends. An answer
has a place, a number that the caller gives it: fingerprints lead to places, places to answers. Knows no runs.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.errors import Stopped
from batchroute.send.classify import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# Nothing in the file is ever rolled back or read by another process: a failed write ends the run.
SETUP = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -65536;  -- KiB: what the file takes of memory, whatever its size
CREATE TABLE places (fingerprint BLOB PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE answers (place INTEGER PRIMARY KEY, answer BLOB NOT NULL);
"""
ASKED_AT_ONCE = 500  # SQLite takes no more than 999 parameters everywhere


class Scratch:
    """For any thread, one at a time. Raises Stopped where the disk takes no more."""

    def __init__(self, folder: Path) -> None:
        """The file lies in `folder`, about 30 bytes a fingerprint and the size of the answers."""
        self._folder = folder
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Answer).decode
        with self._saving(), tempfile.NamedTemporaryFile(dir=folder) as file:
            self._base = sqlite3.connect(file.name, isolation_level=None, check_same_thread=False)
            self._base.executescript(SETUP)

    def close(self) -> None:
        self._base.close()

    def add_fingerprints(self, fingerprints: Iterable[bytes], first: int) -> None:
        """Puts them at the places from `first` on; of equal fingerprints the first one added counts."""
        # In order, so that neighbours in the tree are written together: random ones take twice the time.
        self._insert("INSERT OR IGNORE INTO places VALUES (?, ?)", sorted(zip(fingerprints, count(first))))

    def places(self, fingerprints: Sequence[bytes]) -> dict[bytes, int]:
        """The places of those among these fingerprints that were added."""
        return dict(self._select("SELECT * FROM places WHERE fingerprint", fingerprints))

    def add_answers(self, answers: Iterable[Answer], first: int) -> None:
        """Puts the answers at the places from `first` on."""
        self._insert("INSERT INTO answers VALUES (?, ?)", zip(count(first), map(self._encode, answers)))

    def answers(self, places: Sequence[int]) -> dict[int, Answer]:
        """The answers at these places, as far as they were added."""
        rows = self._select("SELECT * FROM answers WHERE place", places)
        return {place: self._decode(answer) for place, answer in rows}

    def _insert(self, statement: str, rows: Iterable[tuple[Any, Any]]) -> None:
        with self._saving():
            self._base.execute("BEGIN")
            self._base.executemany(statement, rows)
            self._base.execute("COMMIT")

    def _select(self, statement: str, keys: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(keys), ASKED_AT_ONCE):
            some = keys[start : start + ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            yield from self._base.execute(f"{statement} IN ({marks})", some)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.OperationalError) as fault:
            what = f"the answers of input.reuse cannot be saved: {fault}"
            raise Stopped(f"{self._folder}: {what}; fix that, then run again") from fault
