"""Texts of JSON objects -> the fields that a job needs; knows nothing of files or of what the fields mean."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from batchroute.input.keep import WHOLE_LINE
from batchroute.input.row import Unreadable
from batchroute.input.text import Replaced, loads, loads_slowly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batchroute.input.chunk import Fields
    from batchroute.input.row import Values
    from batchroute.input.split import Record

    Decode: TypeAlias = Callable[[bytes], Any]

_SPACE = re.compile(r"[ \t\n\r]*")
_UNFIT_NAME = re.compile(r'["\\\x00-\x1f]')


@dataclass(frozen=True, slots=True)
class ObjectDecoder:
    """Decodes exactly the fields that a job reads of a record; see `records.Decoder`."""

    fields: Fields
    in_array: bool
    decode: Decode
    decode_vector: Decode
    decode_kept: Decode

    def values(self, record: Record, replaced: Replaced) -> Values | Unreadable:
        """The record's fields in the order of `columns`, None where it has none."""
        if isinstance(record, Unreadable):
            return record
        try:
            if not record.isascii():
                record.decode()  # the fast parser does not look into the fields it skips
            return msgspec.structs.astuple(self.decode(record))
        except UnicodeDecodeError as error:
            return Unreadable(f"not UTF-8 at byte {error.start + 1}")
        except (ValueError, RecursionError):
            return self._values_slowly(record, replaced)

    def _values_slowly(self, record: bytes, replaced: Replaced) -> Values | Unreadable:
        try:
            found = loads_slowly(record, replaced)
        except ValueError as error:
            return Unreadable(f"not JSON: {error}")
        if not isinstance(found, dict):
            return Unreadable("not a JSON object")
        return [found.get(column) for column in self.fields.columns]

    def vector_of(self, record: Record) -> list[float] | None:
        """The record's vector; None where it has none that is a list of numbers."""
        if isinstance(record, Unreadable):
            return None
        try:
            found: list[float] | None = self.decode_vector(record).field_0
        except (ValueError, RecursionError):
            return self._vector_slowly(record)
        return found

    def _vector_slowly(self, record: bytes) -> list[float] | None:
        try:
            return msgspec.convert(loads_slowly(record, Replaced())[self.fields.vector], list[float])
        except (ValueError, LookupError, TypeError):
            return None

    def kept(self, record: Record) -> list[str | None]:
        """The record's kept fields: strings as they are, null as None, anything else as its JSON text."""
        if isinstance(record, Unreadable):
            return [None] * len(self.fields.keep.columns)
        if b"\n" in record:
            record = _on_one_line(record)
        try:
            texts = [bytes(raw) for raw in msgspec.structs.astuple(self.decode_kept(record))]
        except (ValueError, RecursionError):
            by_name = _json_texts(record)
            texts = [by_name.get(column, b"") for column in self.fields.keep.columns]
        return [
            record.decode("utf-8", "replace") if name == WHOLE_LINE else _kept_text(text)
            for name, text in zip(self.fields.keep.columns, texts, strict=True)
        ]

    def label(self, row: int, _line: int) -> str:
        """See `records.Decoder`: elements are counted from 0 as rows are, lines as editors do."""
        return f"element {row}" if self.in_array else f"line {row + 1}"


def object_decoder(fields: Fields, *, in_array: bool) -> ObjectDecoder:
    """The decoder for these fields of lines, or of the elements of an array."""
    vectors = () if fields.vector is None else (fields.vector,)
    return ObjectDecoder(
        fields,
        in_array,
        _decoder(fields.columns, Any, None),
        _decoder(vectors, list[float] | None, None),
        _decoder(fields.keep.columns, msgspec.Raw, msgspec.Raw()),
    )


def _decoder(columns: Iterable[str], kind: Any, default: object) -> Decode:
    """Decodes a record to a struct of these fields; any name will do for a column, but not for a field."""
    names = {f"field_{index}": column for index, column in enumerate(columns)}
    if any(_UNFIT_NAME.search(column) for column in names.values()):
        return _decode_slowly
    fields = [(name, kind, default) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Record", fields, rename=names, gc=False)).decode


def _decode_slowly(record: bytes) -> Any:
    """For names that the fast parser's structs cannot have: as for a record that it cannot read."""
    raise ValueError("left to the slow parser")


def _on_one_line(record: bytes) -> bytes:
    """An element that is printed over several lines as the line it would be in JSON lines."""
    try:
        return msgspec.json.format(record, indent=-1)
    except (ValueError, RecursionError):
        return record


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
