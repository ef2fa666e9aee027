"""Which input rows need no more asking, in a bit a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DoneRows:
    """A set of rows by file and row number; memory is an eighth of a byte per row of the input."""

    def __init__(self) -> None:
        self._bits: dict[str, NDArray[np.uint8]] = {}

    def add(self, file: str, rows: NDArray[np.int64]) -> None:
        """Puts [n] rows of one file into the set."""
        if not len(rows):
            return
        bits = self._bits.get(file, np.zeros(0, np.uint8))
        size = int(rows.max()) // 8 + 1
        if size > len(bits):
            bits = np.concatenate([bits, np.zeros(max(size, 2 * len(bits)) - len(bits), np.uint8)])
        np.bitwise_or.at(bits, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))
        self._bits[file] = bits

    def mask(self, file: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[n] for n rows of one file, whether each is in the set."""
        bits = self._bits.get(file, np.zeros(0, np.uint8))
        inside = rows < 8 * len(bits)
        found = np.zeros(len(rows), np.bool_)
        known = rows[inside]
        found[inside] = (bits[known >> 3] >> (known & 7).astype(np.uint8)) & 1 == 1
        return found
