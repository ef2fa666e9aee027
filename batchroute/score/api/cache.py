"""Vectors that several jobs share: a SQLite file per model and length of its vectors.

Any number of processes may read and write it at a time; what one has put there no other has to fetch. float32 as
it came, so that a cached vector gives the same score. Knows texts and vectors only.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import Stopped, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchroute.types import Vectors

LOCK_WAIT_S = 60.0  # another process's write takes milliseconds
KEYS_AT_A_TIME = 500  # SQLite takes no more than 999 parameters everywhere
DIGEST_BYTES = 16


def digest(text: str) -> bytes:
    """What stands for a text on disk."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


class VectorCache:
    """The vectors of one model, for any thread."""

    def __init__(self, directory: Path, model: str, dimensions: int | None) -> None:
        """Makes what is missing. UsageFault where something else stands in the file's place."""
        name = re.sub(r"[^\w.-]+", "_", model)
        self.path = directory / f"{name}-{digest(model).hex()[:8]}-{dimensions or 'full'}.sqlite"
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UsageFault(f"router.embedder.cache: {directory}: {fault.strerror}; name a directory") from fault
        with self._saving():
            self._connection = sqlite3.connect(
                self.path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost vectors, never the file
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL)"
            )

    def get(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """The vectors that are there, by text."""
        by_digest = {digest(text): text for text in texts}
        keys = list(by_digest)
        found: dict[str, Vectors] = {}
        with self._saving():
            for start in range(0, len(keys), KEYS_AT_A_TIME):
                some = keys[start : start + KEYS_AT_A_TIME]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(f"SELECT * FROM vectors WHERE digest IN ({marks})", some)  # noqa: S608 - marks
                found |= {by_digest[key]: np.frombuffer(vector, "<f4") for key, vector in rows}
        return found

    def put(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keeps `vectors` [n, dim]; one that is there already stays as it is."""
        rows = [(digest(text), row.astype("<f4").tobytes()) for text, row in zip(texts, vectors, strict=True)]
        with self._saving(), self._connection:  # which commits, or rolls back what failed
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as fault:
            raise Stopped(f"{self.path}: {fault}; fix that, or remove router.embedder.cache") from fault
        except sqlite3.DatabaseError as fault:
            raise UsageFault(f"{self.path}: {fault}; move it away, and its vectors are fetched again") from fault
