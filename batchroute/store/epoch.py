"""Epochs: a number on disk that each writer raises before it writes, so that an earlier one finds itself over.

The lock keeps two writers apart. Where a lock is lost, as it is with a network that comes back, the epoch does:
whoever finds a higher one than its own stops. Knows neither shards nor drivers, which have one each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import Stopped
from batchroute.store.files import decoding, saving, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class StoredEpoch(msgspec.Struct, frozen=True):
    """What stands on disk; `closed`: whoever had this number ended in order, and all that worked for it.

    What it granted, a driver, lasts `ttl_s`.
    """

    number: int = 0
    closed: bool = True
    ttl_s: float = 0.0

    @property
    def leased_s(self) -> float:
        """How long what was granted may still be used: none of it where it was closed."""
        return 0.0 if self.closed else self.ttl_s


def read_epoch(path: Path) -> StoredEpoch:
    """What `write_epoch` wrote; number 0, closed, where nobody has yet."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return StoredEpoch()
    with decoding(path, "remove it where nothing is at work in the directory"):
        return msgspec.json.decode(content, type=StoredEpoch)


def write_epoch(path: Path, epoch: StoredEpoch) -> None:
    """Whole and durable, or not at all."""
    with saving(path):
        write_whole(path, msgspec.json.encode(epoch))


def raise_epoch(path: Path, seen: Iterable[int] = (), ttl_s: float = 0.0) -> int:
    """The next number, on disk when this returns; it is above all that were `seen` elsewhere, too.

    What the one before granted may last longer than what this one will, so the longer time stands there.
    """
    last = read_epoch(path)
    number = max(last.number, *seen, 0) + 1
    write_epoch(path, StoredEpoch(number, closed=False, ttl_s=max(ttl_s, last.leased_s)))
    return number


@dataclass(frozen=True, slots=True)
class Fence:
    """Of a writer that has raised the epoch in a file to `number`."""

    path: Path
    number: int

    def check(self) -> None:
        """Stopped where somebody has raised it since."""
        with saving(self.path):
            now = read_epoch(self.path).number
        if now > self.number:
            raise Stopped(
                f"{self.path}: another process has taken over, with epoch {now}; this one's was {self.number}"
            )
