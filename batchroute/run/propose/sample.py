"""The first rows of some data with all their columns, as plain values, whatever the format. Knows no job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchroute.errors import InputFault
from batchroute.input.keep import WHOLE_LINE, unpack
from batchroute.input.text import Replaced, loads_slowly
from batchroute.job.spec import InputSpec, RouterSpec
from batchroute.run.open import open_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source

SAMPLE_ROWS = 1000
_MOST_FILES = 8

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of the data; `unreadable` of those looked at are not among them."""

    rows: list[Row]
    unreadable: int

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order in which they come up."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def read_sample(path: str, most: int = SAMPLE_ROWS) -> Sample:
    """The first `most` rows of what an input.path may name. InputFault where it cannot be read, or has no row."""
    # A template without a column asks nothing of the data, so that any can be opened.
    files = open_input(InputSpec(path=[path], template="-"), RouterSpec(), None).files
    # All columns are kept of files of one format only; what others hold, `check` will say.
    alike = [file.path for file in files if file.format == files[0].format][:_MOST_FILES]
    source = open_input(InputSpec(path=alike, template="-", keep=[WHOLE_LINE]), RouterSpec(), None)
    rows: list[Row] = []
    looked_at = 0
    for chunk in source.chunks():
        part = chunk.head(most - looked_at)
        looked_at += len(part.rows)
        rows += _rows(source, part)
        if looked_at >= most:
            break
    if not rows:
        raise InputFault(f"{path}: has no rows to look at; name data that has some")
    return Sample(rows, looked_at - len(rows))


def _rows(source: Source, chunk: Chunk) -> Iterator[Row]:
    readable = [prompt for prompt in chunk.prompts(np.arange(len(chunk.rows))) if prompt.refusal is None]
    table = unpack([prompt.keep for prompt in readable], source.keep_schema)
    columns = source.fields.keep.columns
    if columns == (WHOLE_LINE,):
        yield from (loads_slowly(line, Replaced()) for line in table.column(0).to_pylist())
        return
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield dict(zip(columns, values, strict=True))
