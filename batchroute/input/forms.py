"""How the rows of a file of text are written: where each begins and ends, and what reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.input.delimited import cell_decoder, delimited, read_header
from batchroute.input.elements import Elements
from batchroute.input.lines import Lines
from batchroute.input.objects import object_decoder
from batchroute.input.split import BOM
from batchroute.input.stream import open_bytes
from batchroute.input.text import is_json
from batchroute.input.unpack import TornStream

if TYPE_CHECKING:
    from batchroute.input.chunk import Fields
    from batchroute.input.file import Format, InputFile
    from batchroute.input.records import Decoder
    from batchroute.input.split import Framing

_LOOKED_AT = 64 << 10
_ARRAY = re.compile(rb"\s*+\[")
_ARRAY_OF_OBJECTS = re.compile(rb"\s*+\[\s*+\{")


@dataclass(frozen=True, slots=True)
class Form:
    """Where the records of a file begin and end, and what reads the fields that a job wants of them."""

    framing: Framing
    decoder: Decoder


def form_of(file: InputFile, fields: Fields) -> Form:
    """The form of a file that is not Parquet; InputFault for CSV whose header cannot be read."""
    if file.format == "csv":
        header = read_header(file)
        return Form(delimited(header.delimiter, header.size), cell_decoder(fields, header))
    if file.format == "json":
        return Form(Elements(), object_decoder(fields, in_array=True))
    return Form(Lines(), object_decoder(fields, in_array=False))


def json_format(file: InputFile) -> Format:
    """Whether a file of JSON holds lines or one array, by how it begins: its ending often does not say it.

    By example, a file called .json or .jsonl is an array where it begins `[{"prompt":`, whatever follows; lines
    where it begins `{"prompt":`; and lines, none of which is a row, where it begins `[{"role":...}]` and goes on
    with another line. An array of anything but objects is taken for one only where the file is called .json.
    """
    try:
        with open_bytes(file) as stream:
            head = stream.read(_LOOKED_AT).removeprefix(BOM)
    except TornStream:
        return file.format
    array = _ARRAY if file.format == "json" else _ARRAY_OF_OBJECTS
    if not array.match(head):
        return "jsonl"
    first, _, rest = head.lstrip().partition(b"\n")
    return "jsonl" if rest.strip() and is_json(first) else "json"
