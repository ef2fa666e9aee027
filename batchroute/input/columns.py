"""The rows of a Parquet batch, column by column; knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batchroute.input.arrow import list_lengths, matrix, to_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from batchroute.input.chunk import Fields
    from batchroute.input.content import Unreadable, Values
    from batchroute.input.text import Replaced
    from batchroute.types import Vectors


@dataclass(frozen=True, slots=True)
class ColumnRecords:
    """The rows of a batch, the first of which is row `first` of its file."""

    fields: Fields
    batch: pa.RecordBatch
    first: int

    def values(self, indices: NDArray[np.int64], _replaced: Replaced) -> Iterator[Values | Unreadable]:
        """See `chunk.Records`."""
        columns = [to_python(self._taken(name, indices)) for name in self.fields.columns]
        return zip(*columns, strict=True) if columns else iter([()] * len(indices))

    def vectors(self, indices: NDArray[np.int64]) -> Vectors | None:
        """See `chunk.Records`."""
        if self.fields.vector is None:
            return None
        array, dim = self._taken(self.fields.vector, indices), self.fields.dim
        usable = list_lengths(array) == dim
        if usable.all():
            return matrix(array, dim)
        vectors = np.full((len(array), dim), np.nan, np.float32)
        if usable.any():
            vectors[usable] = matrix(array.filter(pa.array(usable)), dim)
        return vectors

    def vector_length(self) -> int | None:
        """See `chunk.Records`."""
        lengths = list_lengths(self.batch.column(self.fields.vector))
        return next((int(length) for length in lengths if length > 0), None)

    def keep(self, indices: NDArray[np.int64]) -> list[bytes]:
        """See `chunk.Records`."""
        here = [name for name in self.fields.keep.columns if name in self.batch.schema.names]
        return self.fields.keep.messages({name: self._taken(name, indices) for name in here}, len(indices))

    def head(self, n: int) -> tuple[ColumnRecords, int]:
        """See `chunk.Records`."""
        return replace(self, batch=self.batch.slice(0, n)), self.first + n

    def row_label(self, row: int) -> str:
        """See `chunk.Records`."""
        return f"row {row}"

    def _taken(self, name: str, indices: NDArray[np.int64]) -> pa.Array:
        array = self.batch.column(name)
        return array if len(indices) == len(array) else array.take(pa.array(indices))
