"""Lines as records: they end at `\\n` and nowhere else.

Knows nothing of JSON but that an object ends with a brace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from batchroute.input.row import Unreadable
from batchroute.input.split import BOM, START, Cut, Record, State, past

_BLANK_LINES = re.compile(rb"(?:[ \t\r]*+\n)*+")


@dataclass(frozen=True, slots=True)
class Lines:
    """See `split.Framing`."""

    counts_lines: bool = True

    def opening(self, data: bytes) -> int:
        """See `split.Framing`."""
        return len(BOM) if data.startswith(BOM) else 0

    def gap(self, data: bytes, at: int) -> int:
        """See `split.Framing`: blank lines."""
        return past(_BLANK_LINES, data, at)

    def cut(self, data: bytes, most: int) -> Cut:
        """See `split.Framing`."""
        lines = data.split(b"\n", most)
        lines.pop()  # no line yet, or not asked for
        filled = [at for at, line in enumerate(lines) if line and not line.isspace()]
        records = lines if len(filled) == len(lines) else [lines[at] for at in filled]
        ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1)
        at = np.array(filled, np.int64)
        return Cut(records, at, ends[at], at + 1, int(ends[-1]) if lines else 0, len(lines))

    def end(self, data: bytes, state: State) -> tuple[int, State]:
        """See `split.Framing`."""
        newline = data.find(b"\n")
        return (newline + 1, START) if newline >= 0 else (-1, state)

    def last(self, data: bytes, fault: str | None) -> Record | None:
        """See `split.Framing`: a line without its newline; before a fault, it may be torn."""
        if fault is None:
            return data if data.strip() else None
        return data if data.rstrip().endswith(b"}") else Unreadable(f"{fault}; the lines from here on are lost")
