"""Lines of JSON -> the fields that a job needs; knows nothing of files or of what the fields mean."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from batchroute.input.keep import WHOLE_LINE
from batchroute.input.row import Unreadable
from batchroute.input.text import Replaced, loads, loads_slowly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from batchroute.input.chunk import Fields
    from batchroute.input.lines import Line, LineBlock
    from batchroute.input.row import Values
    from batchroute.types import Vectors

    Decode: TypeAlias = Callable[[bytes], Any]

_SPACE = re.compile(r"[ \t\n\r]*")
_UNFIT_NAME = re.compile(r'["\\\x00-\x1f]')


@dataclass(frozen=True, slots=True)
class LineDecoder:
    """Decodes exactly the fields that a job reads of a line."""

    fields: Fields
    decode: Decode
    decode_vector: Decode
    decode_kept: Decode

    def values(self, line: Line, replaced: Replaced) -> Values | Unreadable:
        """The line's fields in the order of `columns`, None where it has none."""
        if isinstance(line, Unreadable):
            return line
        try:
            if not line.isascii():
                line.decode()  # the fast parser does not look into the fields it skips
            return msgspec.structs.astuple(self.decode(line))
        except UnicodeDecodeError as error:
            return Unreadable(f"not UTF-8 at byte {error.start + 1}")
        except (ValueError, RecursionError):
            return self._values_slowly(line, replaced)

    def _values_slowly(self, line: bytes, replaced: Replaced) -> Values | Unreadable:
        try:
            found = loads_slowly(line, replaced)
        except ValueError as error:
            return Unreadable(f"not JSON: {error}")
        if not isinstance(found, dict):
            return Unreadable("not a JSON object")
        return [found.get(column) for column in self.fields.columns]

    def vector_of(self, line: Line) -> list[float] | None:
        """The line's vector; None where it has none that is a list of numbers."""
        if isinstance(line, Unreadable):
            return None
        try:
            found: list[float] | None = self.decode_vector(line).field_0
        except (ValueError, RecursionError):
            return self._vector_slowly(line)
        return found

    def _vector_slowly(self, line: bytes) -> list[float] | None:
        try:
            return msgspec.convert(loads_slowly(line, Replaced())[self.fields.vector], list[float])
        except (ValueError, LookupError, TypeError):
            return None

    def kept(self, line: Line) -> list[str | None]:
        """The line's kept fields: strings as they are, null as None, anything else as its JSON text."""
        if isinstance(line, Unreadable):
            return [None] * len(self.fields.keep.columns)
        try:
            texts = [bytes(raw) for raw in msgspec.structs.astuple(self.decode_kept(line))]
        except (ValueError, RecursionError):
            by_name = _json_texts(line)
            texts = [by_name.get(column, b"") for column in self.fields.keep.columns]
        return [
            line.decode("utf-8", "replace") if name == WHOLE_LINE else _kept_text(text)
            for name, text in zip(self.fields.keep.columns, texts, strict=True)
        ]


def line_decoder(fields: Fields) -> LineDecoder:
    """The decoder for these fields."""
    vectors = () if fields.vector is None else (fields.vector,)
    return LineDecoder(
        fields,
        _decoder(fields.columns, Any, None),
        _decoder(vectors, list[float] | None, None),
        _decoder(fields.keep.columns, msgspec.Raw, msgspec.Raw()),
    )


def _decoder(columns: Iterable[str], kind: Any, default: object) -> Decode:
    """Decodes a line to a struct of these fields; any name will do for a column, but not for a field."""
    names = {f"field_{index}": column for index, column in enumerate(columns)}
    if any(_UNFIT_NAME.search(column) for column in names.values()):
        return _decode_slowly
    fields = [(name, kind, default) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=names, gc=False)).decode


def _decode_slowly(line: bytes) -> Any:
    """For names that the fast parser's structs cannot have: as for a line that it cannot read."""
    raise ValueError("left to the slow parser")


def _kept_text(text: bytes) -> str | None:
    """JSON text as it is kept; b"" stands for a field that is not there."""
    if text in {b"", b"null"}:
        return None
    if text.startswith(b'"'):
        return str(loads(text, Replaced()))
    return text.decode("utf-8", "replace")


def _json_texts(line: bytes) -> dict[str, bytes]:
    """The JSON text of each field of a line that the fast parser refuses; none where the line is no object."""
    try:
        text = line.decode()
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return dict(_spans(text)) if isinstance(fields, dict) else {}


def _spans(text: str) -> Iterator[tuple[str, bytes]]:
    """The fields' names and JSON texts in a text that is known to be a JSON object."""
    decoder = json.JSONDecoder()
    at = _past_space(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = _past_space(text, text.index(":", at) + 1)
        _, at = decoder.raw_decode(text, start)
        yield name, text[start:at].encode()
        at = _past_space(text, at)
        if text[at] == ",":
            at = _past_space(text, at + 1)


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


@dataclass(frozen=True, slots=True)
class LineRecords:
    """The rows of a block of lines; `at` [n] are their indices among its lines."""

    decoder: LineDecoder
    block: LineBlock
    at: NDArray[np.int64]

    def values(self, indices: NDArray[np.int64], replaced: Replaced) -> Iterator[Values | Unreadable]:
        """See `chunk.Records`."""
        return (self.decoder.values(line, replaced) for line in self._lines(indices))

    def vectors(self, indices: NDArray[np.int64]) -> Vectors | None:
        """See `chunk.Records`."""
        if self.decoder.fields.vector is None:
            return None
        vectors = np.full((len(indices), self.decoder.fields.dim), np.nan, np.float32)
        for row, line in enumerate(self._lines(indices)):
            found = self.decoder.vector_of(line)
            if found is not None and len(found) == self.decoder.fields.dim:
                vectors[row] = found
        return vectors

    def vector_length(self) -> int | None:
        """See `chunk.Records`."""
        found = (self.decoder.vector_of(line) for line in self._lines(np.arange(len(self.at))))
        return next((len(vector) for vector in found if vector), None)

    def keep(self, indices: NDArray[np.int64]) -> list[bytes]:
        """See `chunk.Records`."""
        keep = self.decoder.fields.keep
        if not keep.columns:
            return [b""] * len(indices)
        rows = [self.decoder.kept(line) for line in self._lines(indices)]
        columns = zip(*rows, strict=True) if rows else [()] * len(keep.columns)
        arrays = {
            name: pa.array(list(texts), pa.string()) for name, texts in zip(keep.columns, columns, strict=True)
        }
        return keep.messages(arrays, len(indices))

    def head(self, n: int) -> tuple[LineRecords, int]:
        """See `chunk.Records`."""
        lines = self.block.lines[: int(self.at[n - 1]) + 1]
        # A block with a line that could not be read holds that line alone, so all of these are bytes.
        size = sum(len(line) + 1 for line in lines if isinstance(line, bytes))
        end = min(self.block.offset + size, self.block.end)
        return replace(self, block=replace(self.block, lines=lines, end=end), at=self.at[:n]), end

    def row_label(self, row: int) -> str:
        """See `chunk.Records`."""
        return f"line {row + 1}"

    def _lines(self, indices: NDArray[np.int64]) -> Iterator[Line]:
        lines = self.block.lines
        return (lines[index] for index in self.at[indices].tolist())


def records_of(block: LineBlock, decoder: LineDecoder) -> LineRecords:
    """The block's rows: all its lines but the blank ones."""
    lines = enumerate(block.lines)
    at = [i for i, line in lines if isinstance(line, Unreadable) or (line and not line.isspace())]
    return LineRecords(decoder, block, np.array(at, np.int64))
