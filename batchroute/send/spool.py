"""Answers laid aside in a file without a name, which goes with the process, to be fetched in any order.

A group of answers lies there as records one after the other, then as the places where they begin. Memory: a place
a group.
"""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from batchroute.send.classify import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PLACE = np.dtype("<i8")


class Spool:
    """Groups of answers by number."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._groups: dict[int, int] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Answer).decode

    def close(self) -> None:
        """Nothing is left of it."""
        self._file.close()

    def __contains__(self, group: int) -> bool:
        return group in self._groups

    def add(self, group: int, answers: Iterable[Answer]) -> None:
        """Lays the answers of a group aside. Raises OSError where the disk does not take them."""
        places = [self._file.seek(0, os.SEEK_END)]
        for answer in answers:
            places.append(places[-1] + self._file.write(self._encode(answer)))
        self._file.write(np.array(places, _PLACE).tobytes())
        self._file.flush()
        self._groups[group] = places[-1]

    def fetch(self, group: int, numbers: Iterable[int]) -> Iterator[Answer]:
        """The answers of these numbers in a group, each in two small reads."""
        handle, places = self._file.fileno(), self._groups[group]
        size = _PLACE.itemsize
        for number in numbers:
            edges = np.frombuffer(os.pread(handle, 2 * size, places + number * size), _PLACE).tolist()
            for start, stop in pairwise(edges):
                yield self._decode(os.pread(handle, stop - start, start))
