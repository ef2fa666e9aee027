"""An InputSpec -> a Source: every fault of the input at once found, then chunks from any place.

Puts the other modules of the package together; knows nothing of what is done with the rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from batchroute.errors import InputFault
from batchroute.input.chunk import Chunk, Position
from batchroute.input.columns import ColumnFields, ColumnRecords
from batchroute.input.jsonl import LineFields, line_fields, records_of
from batchroute.input.keep import WHOLE_LINE, make_keep
from batchroute.input.lines import Extent, LineSplitter
from batchroute.input.parquet import check_columns, open_parquet, read_from
from batchroute.input.place import find_files
from batchroute.input.recipe import make_recipe, prompt_column
from batchroute.input.stream import open_bytes
from batchroute.input.text import Replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from batchroute.input.chunk import Records
    from batchroute.input.place import Fingerprint, InputFile, Place
    from batchroute.input.recipe import Kind, Recipe
    from batchroute.job.spec import InputSpec

SourceFormat = Literal["parquet", "jsonl", "openai-batch"]

_TELLING = ("custom_id", "url", "body")


@dataclass(frozen=True, slots=True)
class Source:
    """The input of a job: files in order, read as often as wanted, from any chunk's position.

    `keep_schema` has the kept columns under the names they have in the results. `format` is openai-batch where the
    input is, else that of the first file.
    """

    files: Sequence[InputFile]
    keep_schema: pa.Schema
    format: SourceFormat
    places: Sequence[Place]
    recipe: Recipe
    lines: LineFields
    columns: ColumnFields
    extent: Extent
    counter: Replaced = field(default_factory=Replaced)

    @property
    def replaced(self) -> int:
        """Lone surrogates that became U+FFFD in what `Chunk.questions` read so far; a second pass counts again."""
        return self.counter.count

    def chunks(self, start: Position | None = None, end: Position | None = None) -> Iterator[Chunk]:
        """The rows from `start` up to but not including `end`, in input order, in the same chunks every time.

        Both are positions or ends of chunks, or of a chunk's `head`; without them the input is read from its first
        row, to its last. The last chunk is cut at `end`, and what lies behind it is not read. Plain JSONL is
        sought, Parquet row groups before `start` are not read, compressed lines are read through. Raises Stopped
        when a file cannot be read any further, InputFault where a Parquet file is broken.
        """
        at = start or Position(0, 0, 0)
        stop = end or Position(len(self.places), 0, 0)
        while at < stop and at.file < len(self.places):
            place = self.places[at.file]
            chunks = self._parquet_chunks(place, at) if place.format == "parquet" else self._line_chunks(place, at)
            yield from chunks if at.file < stop.file else _before_row(stop.row, chunks)
            at = Position(at.file + 1, 0, 0)

    def fingerprint(self) -> list[Fingerprint]:
        """What tells this input from another: per file its name, size, and hashes of its two ends."""
        return [place.fingerprint() for place in self.places]

    def _line_chunks(self, place: Place, start: Position) -> Iterator[Chunk]:
        with open_bytes(place) as stream:
            stream.skip(start.offset)
            for run in LineSplitter(stream.read, self.extent, start.row, start.offset):
                records = records_of(run, self.lines)
                if len(records.at):
                    span = (start.file, run.first, run.offset), (start.file, run.first + len(run.lines), run.end)
                    yield self._chunk(place, *span, records.at + run.first, records)

    def _parquet_chunks(self, place: Place, start: Position) -> Iterator[Chunk]:
        with open_parquet(place) as file:
            for first, batch in read_from(place, file, start.row, self.columns, self.extent):
                rows = np.arange(first, first + batch.num_rows)
                span = (start.file, first, first), (start.file, first + len(rows), first + len(rows))
                yield self._chunk(place, *span, rows, ColumnRecords(self.columns, batch, first))

    def _chunk(
        self,
        place: Place,
        start: tuple[int, int, int],
        end: tuple[int, int, int],
        rows: NDArray[np.int64],
        records: Records,
    ) -> Chunk:
        name = place.file.name
        return Chunk(name, Position(*start), Position(*end), rows, records, self.recipe, self.counter)


def _before_row(row: int, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The rows of a file's chunks that come before this row."""
    for chunk in chunks:
        if rows := int(np.searchsorted(chunk.rows, row)):
            yield chunk.head(rows)
        if chunk.end.row >= row:
            return


def open_source(
    spec: InputSpec,
    *,
    score_text: str | None,
    vector_column: str | None,
    reserved: Sequence[str],
    output: Path | None,
    raw: bool = False,
    extent: Extent | None = None,
) -> Source:
    """The source of an [input] whose paths are absolute.

    `score_text` is the column that is scored instead of the prompt, `vector_column` one of ready embeddings,
    `reserved` are the names of the result columns, `output` the run's directory, which must not lie in the input.
    `raw`: whole answers are kept, so that a row may ask for several choices; of a batch file they always are.
    InputFault for what can be known to be wrong before the first row.
    """
    places = find_files(spec.path, spec.format, None if output is None else str(output))
    schemas = [(place, _schema(place)) for place in places]
    parquet = [(place, schema) for place, schema in schemas if schema is not None]
    batch_lines = _has_batch_lines(spec, places)
    if batch_lines and parquet:
        raise InputFault(f"{parquet[0][0].file.path}: openai-batch input is JSON lines only; take this file out")
    recipe = make_recipe(spec, batch_lines=batch_lines, score_text=score_text, raw=raw)
    named = [(place.file.path, schema) for place, schema in parquet]
    _check_columns(spec, recipe, parquet, vector_column)
    keep = make_keep(spec.keep, named, lines=len(parquet) < len(places), reserved=reserved)
    source = Source(
        files=[place.file for place in places],
        keep_schema=keep.schema,
        format="openai-batch" if batch_lines else places[0].format,
        places=places,
        recipe=recipe,
        lines=line_fields(recipe.columns, vector_column, keep),
        columns=ColumnFields(recipe.columns, vector_column, 0, keep),
        extent=extent or Extent(),
    )
    return source if vector_column is None else _with_vectors(source)


def _schema(place: Place) -> pa.Schema | None:
    """A Parquet file's schema; None for lines. Either way the file was opened, so it can be."""
    if place.format == "parquet":
        with open_parquet(place) as file:
            return file.schema_arrow
    place.open().close()
    return None


def _has_batch_lines(spec: InputSpec, places: Sequence[Place]) -> bool:
    """Asked for; or, where the format is open, told by the first line, as long as it has no prompt."""
    if spec.format != "auto" or spec.messages or spec.template:
        return spec.format == "openai-batch"
    first = next((place for place in places if place.format == "jsonl"), None)
    if first is None:
        return False
    try:
        line = json.loads(_first_line(first))
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and line.keys() >= set(_TELLING) and prompt_column(spec) not in line


def _first_line(place: Place) -> bytes:
    with open_bytes(place) as stream:
        run = next(iter(LineSplitter(stream.read, Extent())), None)
    line = b"" if run is None else run.lines[0]
    return line if isinstance(line, bytes) else b""


def _check_columns(
    spec: InputSpec, recipe: Recipe, parquet: Sequence[tuple[Place, pa.Schema]], vector_column: str | None
) -> None:
    vectors: list[tuple[str, Kind]] = [] if vector_column is None else [(vector_column, "vector")]
    kept: list[tuple[str, Kind]] = [(name, "any") for name in spec.keep if name != WHOLE_LINE]
    for place, schema in parquet:
        check_columns(place, schema, [*recipe.needs, *vectors, *kept])


def _with_vectors(source: Source) -> Source:
    """The source with the length of its vectors, which the first usable one tells."""
    lengths = (chunk.records.vector_length() for chunk in source.chunks())
    # Without any, every row lacks its vector, whatever the length.
    dim = next((length for length in lengths if length), 1)
    return replace(source, lines=replace(source.lines, dim=dim), columns=replace(source.columns, dim=dim))
