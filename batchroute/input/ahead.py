"""Chunks that can be looked at before they are taken, so that what is to come decides how it is done."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from batchroute.errors import BatchrouteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.chunk import Chunk


class ChunksAhead:
    """The same chunks, and a fault of the input behind the same ones, however far one has looked."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._held: deque[Chunk] = deque()
        self._fault: BatchrouteError | None = None

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._held:
            return self._held.popleft()
        if self._fault is not None:
            raise self._fault
        return next(self._chunks)

    def have(self, size: int, rows: int | None) -> bool:
        """Whether the next `rows` rows, or all there are, have so many bytes; reads on until that is known."""
        held = sum(chunk.records.size for chunk in self._held)
        left = None if rows is None else rows - sum(len(chunk.rows) for chunk in self._held)
        while held < size and (left is None or left > 0) and (chunk := self._read()) is not None:
            self._held.append(chunk)
            held += chunk.records.size
            left = None if left is None else left - len(chunk.rows)
        return held >= size

    def _read(self) -> Chunk | None:
        try:
            return next(self._chunks, None)
        except BatchrouteError as fault:
            self._fault = fault
            return None
