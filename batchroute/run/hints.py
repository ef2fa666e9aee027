"""What the end of a run says of its input: none at all, rows that came since, columns that never had a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from batchroute.input.growing import appended

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.job.spec import InputSpec
    from batchroute.store.layout import RunLayout

NO_ROWS = "the input has no row, so that nothing is asked; input.min_rows = 1 makes that a fault, exit code 2"


def input_hints(source: Source, spec: InputSpec, run: RunLayout, rows: int | None) -> Iterator[str]:
    """Each in one sentence; `rows` as far as they are known. Reads the footers of the parts, no more."""
    if rows == 0:
        yield NO_ROWS
    if (words := appended(source.files)) is not None:
        yield f"{words}. Another --output with --set input.reuse={run.path} asks for that alone"
    named = [("id", "input.id", spec.id)] if spec.id is not None else []
    kept = zip(source.keep_schema.names, source.fields.keep.columns, strict=True)
    named += [(name, "input.keep", column) for name, column in kept]
    empty = columns_without_values(run.parts(), [name for name, _, _ in named])
    route = columns_without_values(run.score_parts(), [] if spec.route is None else ["forced"])
    for setting, column in [
        *((setting, column) for name, setting, column in named if name in empty),
        *(("input.route", spec.route) for _ in route),
    ]:
        yield f"{setting}: the column {column!r} is null in every row; is it the one that was meant?"


def columns_without_values(parts: Iterable[Path], names: Iterable[str]) -> set[str]:
    """Those of the columns that are null in all rows of these parts, as their footers say; none without rows."""
    empty, rows = set(names), 0
    for part in parts:
        if not empty:
            break
        footer = pq.read_metadata(part)
        rows += footer.num_rows
        for group in range(footer.num_row_groups):
            leaves = [footer.row_group(group).column(leaf) for leaf in range(footer.num_columns)]
            filled = [leaf.path_in_schema for leaf in leaves if _has_values(leaf)]
            empty -= {name for name in empty for path in filled if path == name or path.startswith(f"{name}.")}
    return empty if rows else set()


def _has_values(leaf: pq.ColumnChunkMetaData) -> bool:
    statistics = leaf.statistics
    return statistics is None or statistics.null_count is None or statistics.null_count < leaf.num_values
