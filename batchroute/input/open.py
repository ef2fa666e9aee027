"""An InputSpec -> a Source: every fault of the input at once found, then chunks from any place.

Puts the other modules of the package together; knows nothing of what is done with the rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from batchroute.errors import InputFault
from batchroute.input.chunk import Chunk, Fields, Position
from batchroute.input.delimited import read_header
from batchroute.input.file import JSON
from batchroute.input.files import find_files
from batchroute.input.forms import form_of, json_format
from batchroute.input.growing import as_begun, without_torn_ends
from batchroute.input.keep import WHOLE_LINE, make_keep
from batchroute.input.lines import Lines
from batchroute.input.parquet import ColumnRecords, check_columns, open_parquet, read_from
from batchroute.input.records import TextRecords
from batchroute.input.row import make_row_reader, prompt_column
from batchroute.input.split import ChunkLimits, Splitter
from batchroute.input.stream import open_bytes
from batchroute.input.text import Replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batchroute.input.file import Fingerprint, InputFile
    from batchroute.input.row import Kind, RowReader
    from batchroute.input.split import Place
    from batchroute.job.spec import InputSpec

SourceFormat = Literal["parquet", "jsonl", "csv", "json", "openai-batch"]

_BATCH_LINE_KEYS = ("custom_id", "url", "body")


@dataclass(frozen=True, slots=True)
class Source:
    """The input of a job: files in order, read as often as wanted, from any chunk's position.

    `keep_schema` has the kept columns under the names they have in the results. `format` is openai-batch where the
    input is, else that of the first file.
    """

    files: Sequence[InputFile]
    keep_schema: pa.Schema
    format: SourceFormat
    reader: RowReader
    fields: Fields
    limits: ChunkLimits
    counter: Replaced = field(default_factory=Replaced)
    first: Position | None = None
    stop: Position | None = None

    @property
    def replaced(self) -> int:
        """Lone surrogates that became U+FFFD in what `Chunk.questions` read so far; a second pass counts again."""
        return self.counter.count

    def chunks(self, start: Position | None = None, end: Position | None = None) -> Iterator[Chunk]:
        """The rows from `start` up to but not including `end`, in input order, in the same chunks every time.

        Both are positions or ends of chunks, or of a chunk's `head`; without them the input is read from its first
        row, to its last. The last chunk is cut at `end`, and what lies behind it is not read. Plain text is
        sought, Parquet row groups before `start` are not read, compressed text is read through. Raises Stopped
        when a file cannot be read any further, InputFault where a Parquet file is broken.
        """
        at = start or self.first or Position(0, 0, 0)
        stop = end or self.stop or Position(len(self.files), 0, 0)
        while at < stop and at.file < len(self.files):
            file = self.files[at.file]
            chunks = self._parquet_chunks(file, at) if file.format == "parquet" else self._text_chunks(file, at)
            yield from chunks if at.file < stop.file else _before(stop, chunks)
            at = Position(at.file + 1, 0, 0)

    def between(self, first: Position, stop: Position) -> Source:
        """A source of the rows from one position up to another, both as for `chunks`, that counts by itself."""
        return replace(self, first=first, stop=stop, counter=Replaced())

    def fingerprint(self) -> list[Fingerprint]:
        """What distinguishes this input from another: per file its name, size, and hashes of its two ends."""
        return [file.fingerprint() for file in self.files]

    def count(self, most: int) -> int:
        """How many rows there are, counted until they are so many; of Parquet only the footers are read."""
        rows = 0
        counts = self._row_counts()
        while rows < most and (more := next(counts, None)) is not None:
            rows += more
        return rows

    def _row_counts(self) -> Iterator[int]:
        for at, file in enumerate(self.files):
            if file.format == "parquet":
                with open_parquet(file) as opened:
                    yield opened.metadata.num_rows
            else:
                yield from (len(chunk.rows) for chunk in self._text_chunks(file, Position(at, 0, 0)))

    def _text_chunks(self, file: InputFile, start: Position) -> Iterator[Chunk]:
        form = form_of(file, self.fields)
        with open_bytes(file) as stream:
            stream.skip(start.offset)
            for block in Splitter(stream.read, self.limits, form.framing, start.row, start.line, start.offset):
                if block.records:
                    position, end = _position(start.file, block.start), _position(start.file, block.end)
                    records = TextRecords(form.decoder, block)
                    yield Chunk(file.name, position, end, block.rows, records, self.reader, self.counter)

    def _parquet_chunks(self, file: InputFile, start: Position) -> Iterator[Chunk]:
        with open_parquet(file) as opened:
            for first, batch in read_from(file, opened, start.row, self.fields, self.limits):
                behind = first + batch.num_rows
                position, end = Position(start.file, first, first), Position(start.file, behind, behind)
                records = ColumnRecords(self.fields, batch, first)
                rows = np.arange(first, behind)
                yield Chunk(file.name, position, end, rows, records, self.reader, self.counter)


def _position(file: int, place: Place | None) -> Position:
    """A place in a file; where nothing more can come of it, the beginning of the next one."""
    return Position(file + 1, 0, 0) if place is None else Position(file, place.row, place.offset, place.line)


def _before(stop: Position, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The rows of a file's chunks that come before this place, which may lie amid the blank lines behind them."""
    for chunk in chunks:
        if rows := int(np.searchsorted(chunk.rows, stop.row)):
            head = chunk.head(rows)
            yield replace(head, end=min(head.end, stop))
        if chunk.end.row >= stop.row:
            return


def open_source(
    spec: InputSpec,
    *,
    score_text: str | None,
    vector_column: str | None,
    reserved: Sequence[str],
    output: Path | None,
    raw: bool = False,
    limits: ChunkLimits | None = None,
    begun: Mapping[str, Fingerprint] | None = None,
) -> Source:
    """The source of an [input] whose paths are absolute.

    `score_text` is the column that is scored instead of the prompt, `vector_column` one of ready embeddings,
    `reserved` are the names of the result columns, `output` the run's directory, which must not lie in the input.
    `raw`: whole answers are kept, so that a row may ask for several choices; of a batch file they always are.
    `begun`: the files by name as the run found them that goes on now, where one does.
    InputFault for what can be known to be wrong before the first row.
    """
    found = find_files(spec.path, spec.format, None if output is None else str(output))
    files = found if begun is None else as_begun(found, begun)
    if spec.format == "auto":
        files = [_of_its_format(file) for file in files]
    if begun is None:
        files = without_torn_ends(files)
    schemas = [(file, _schema(file)) for file in files]
    tables = [(file, schema) for file, schema in schemas if schema is not None]
    batch_lines = _has_batch_lines(spec, files)
    if batch_lines and (other := next((file for file in files if file.format != "jsonl"), None)) is not None:
        raise InputFault(f"{other.path}: openai-batch input is JSON lines only; take this file out")
    reader = make_row_reader(spec, batch_lines=batch_lines, score_text=score_text, raw=raw)
    named = [(file.path, schema) for file, schema in tables]
    _check_columns(spec, reader, tables, vector_column)
    keep = make_keep(spec.keep, named, lines=any(file.format in JSON for file in files), reserved=reserved)
    source = Source(
        files=files,
        keep_schema=keep.schema,
        format="openai-batch" if batch_lines else files[0].format,
        reader=reader,
        fields=Fields(reader.columns, vector_column, 0, keep),
        limits=limits or ChunkLimits(),
    )
    return source if vector_column is None else _with_vectors(source)


def _of_its_format(file: InputFile) -> InputFile:
    return replace(file, format=json_format(file)) if file.format in JSON else file


def _schema(file: InputFile) -> pa.Schema | None:
    """The columns of Parquet and CSV; None of JSON, and of an empty file. Each was opened, so it can be."""
    if file.format == "parquet":
        with open_parquet(file) as opened:
            return opened.schema_arrow
    if file.format == "csv":
        names = filter(None, read_header(file).names)
        schema = pa.schema([(name, pa.string()) for name in names])
        return schema if len(schema) else None
    file.open().close()
    return None


def _has_batch_lines(spec: InputSpec, files: Sequence[InputFile]) -> bool:
    """As the format says; where it is open, the first line does, as long as it has no prompt."""
    if spec.format != "auto" or spec.messages or spec.template:
        return spec.format == "openai-batch"
    first = next((file for file in files if file.format == "jsonl"), None)
    if first is None:
        return False
    try:
        line = json.loads(_first_line(first))
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and line.keys() >= set(_BATCH_LINE_KEYS) and prompt_column(spec) not in line


def _first_line(file: InputFile) -> bytes:
    with open_bytes(file) as stream:
        blocks = Splitter(stream.read, ChunkLimits(), Lines())
        line = next((block.records[0] for block in blocks if block.records), b"")
    return line if isinstance(line, bytes) else b""


def _check_columns(
    spec: InputSpec, reader: RowReader, tables: Sequence[tuple[InputFile, pa.Schema]], vector_column: str | None
) -> None:
    vectors: list[tuple[str, Kind]] = [] if vector_column is None else [(vector_column, "vector")]
    kept: list[tuple[str, Kind]] = [(name, "any") for name in spec.keep if name != WHOLE_LINE]
    for file, schema in tables:
        check_columns(file, schema, [*reader.needs, *vectors, *kept])


def _with_vectors(source: Source) -> Source:
    """The source with the length of its vectors, which is that of the first usable one."""
    lengths = (chunk.records.vector_length() for chunk in source.chunks())
    # Without any, every row lacks its vector, whatever the length.
    dim = next((length for length in lengths if length), 1)
    return replace(source, fields=replace(source.fields, dim=dim))
