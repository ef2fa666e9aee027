"""Which input rows need no more asking, in a bit a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
