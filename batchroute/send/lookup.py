"""Fingerprints -> where they stand, for more of them than memory holds.

They are sorted on disk in files without a name, which go with the process, and looked up by bisection. Knows
nothing of runs or requests.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SORTED_AT_ONCE = 1 << 20  # records, of 24 bytes
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<i8")])


class Lookup:
    """128-bit fingerprints, numbered in the order in which `parts` brings them; of equal ones the first counts."""

    def __init__(
        self, parts: Iterable[NDArray[np.uint8]], folder: Path, *, sorted_at_once: int = SORTED_AT_ONCE
    ) -> None:
        """`parts` are [n, 16] each and iterated three times; `folder` holds 48 bytes a fingerprint meanwhile."""
        self._count = sum(len(part) for part in parts)
        bits = max(0, int(np.ceil(np.log2(max(1, self._count / sorted_at_once)))))
        with tempfile.TemporaryFile(dir=folder) as dealt, tempfile.TemporaryFile(dir=folder) as in_order:
            edges = _deal_out(parts, bits, dealt)
            _sort(dealt, edges, in_order)
            # A mapped file needs neither its name nor its handle.
            self._high, self._low, self._place = (self._column(in_order, number) for number in range(3))

    def find(self, fingerprints: Sequence[bytes]) -> NDArray[np.int64]:
        """[n] the number of each, -1 where it is not known."""
        high, low = _halves(np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, 16))
        found = np.full(len(high), -1, np.int64)
        if not self._count:
            return found
        # Two known ones with the same first half are less likely than a broken disk; a miss would only cost money.
        at = np.minimum(np.searchsorted(self._high, high), self._count - 1)
        known = (self._high[at] == high) & (self._low[at] == low)
        found[known] = self._place[at[known]]
        return found

    def _column(self, file: IO[bytes], number: int) -> NDArray[np.uint64] | NDArray[np.int64]:
        dtype = _RECORD[number]
        if not self._count:
            return np.zeros(0, dtype)
        return np.memmap(file, dtype, "r", 8 * self._count * number, self._count)


def _halves(fingerprints: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    words = np.ascontiguousarray(fingerprints).view("<u8")
    return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])


def _buckets(high: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """[n] the first bits as numbers; shifted twice, since a shift by all 64 is no shift."""
    return (high >> np.uint64(32) >> np.uint64(32 - bits)).astype(np.int64)


def _deal_out(parts: Iterable[NDArray[np.uint8]], bits: int, to: IO[bytes]) -> NDArray[np.int64]:
    """Writes the records into buckets by their first bits; returns the buckets' edges."""
    counts = np.zeros(1 << bits, np.int64)
    for part in parts:
        counts += np.bincount(_buckets(_halves(part)[0], bits), minlength=len(counts))
    edges = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
    ends, place = edges[:-1].copy(), 0
    for part in parts:
        records = np.empty(len(part), _RECORD)
        records["high"], records["low"] = _halves(part)
        records["place"] = np.arange(place, place + len(part))
        place += len(part)
        bucket = _buckets(records["high"], bits)
        records = records[np.argsort(bucket, kind="stable")]
        sizes = np.bincount(bucket, minlength=len(counts))
        for number, block in enumerate(np.split(records, sizes.cumsum()[:-1])):
            to.seek(int(ends[number]) * _RECORD.itemsize)
            to.write(block.tobytes())
        ends += sizes
    return edges


def _sort(dealt: IO[bytes], edges: NDArray[np.int64], to: IO[bytes]) -> None:
    """Writes the three columns one after the other, sorted by fingerprint, then by place."""
    total = int(edges[-1])
    dealt.seek(0)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        records = np.frombuffer(dealt.read((stop - start) * _RECORD.itemsize), _RECORD)
        order = np.lexsort((records["place"], records["low"], records["high"]))
        for number, name in enumerate(_RECORD.names or ()):
            to.seek(8 * (total * number + start))
            to.write(records[name][order].tobytes())
    to.flush()
