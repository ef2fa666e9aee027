"""The records of a block as the rows of a chunk, decoded only where they are asked for; knows no format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from batchroute.input.chunk import Fields
    from batchroute.input.row import Unreadable, Values
    from batchroute.input.split import Record, RecordBlock
    from batchroute.input.text import Replaced
    from batchroute.types import Vectors


class Decoder(Protocol):
    """What the records of a format hold of `fields`."""

    @property
    def fields(self) -> Fields: ...

    def values(self, record: Record, replaced: Replaced) -> Values | Unreadable:
        """The record's values in the order of the fields' columns, None where it has none."""
        ...

    def vector_of(self, record: Record) -> list[float] | None:
        """The record's vector; None where it has none that is a list of numbers."""
        ...

    def kept(self, record: Record) -> list[str | None]:
        """The record's kept values: strings as they are, null as None, anything else as its JSON text."""
        ...

    def label(self, row: int, line: int) -> str:
        """The record of this row, which begins on this physical line (from 0), as a message names it."""
        ...


@dataclass(frozen=True, slots=True)
class TextRecords:
    """See `chunk.Records`."""

    decoder: Decoder
    block: RecordBlock

    @property
    def size(self) -> int:
        """See `chunk.Records`."""
        return sum(len(record) for record in self.block.records if isinstance(record, bytes))

    def values(self, indices: NDArray[np.int64], replaced: Replaced) -> Iterator[Values | Unreadable]:
        """See `chunk.Records`."""
        return (self.decoder.values(record, replaced) for record in self._records(indices))

    def vectors(self, indices: NDArray[np.int64]) -> Vectors | None:
        """See `chunk.Records`."""
        if self.decoder.fields.vector is None:
            return None
        vectors = np.full((len(indices), self.decoder.fields.dim), np.nan, np.float32)
        for row, record in enumerate(self._records(indices)):
            found = self.decoder.vector_of(record)
            if found is not None and len(found) == self.decoder.fields.dim:
                vectors[row] = found
        return vectors

    def vector_length(self) -> int | None:
        """See `chunk.Records`."""
        found = (self.decoder.vector_of(record) for record in self.block.records)
        return next((len(vector) for vector in found if vector), None)

    def keep(self, indices: NDArray[np.int64]) -> list[bytes]:
        """See `chunk.Records`."""
        keep = self.decoder.fields.keep
        if not keep.columns:
            return [b""] * len(indices)
        rows = [self.decoder.kept(record) for record in self._records(indices)]
        columns = zip(*rows, strict=True) if rows else [()] * len(keep.columns)
        arrays = {
            name: pa.array(list(texts), pa.string()) for name, texts in zip(keep.columns, columns, strict=True)
        }
        return keep.messages(arrays, len(indices))

    def head(self, n: int) -> tuple[TextRecords, int, int]:
        """See `chunk.Records`."""
        block = replace(self.block, records=self.block.records[:n], rows=self.block.rows[:n])
        return replace(self, block=block), int(block.ends[n - 1]), int(block.lines_behind[n - 1])

    def row_label(self, row: int) -> str:
        """See `chunk.Records`."""
        return self.decoder.label(row, int(self.block.lines[np.searchsorted(self.block.rows, row)]))

    def _records(self, indices: NDArray[np.int64]) -> Iterator[Record]:
        records = self.block.records
        return (records[index] for index in indices.tolist())
