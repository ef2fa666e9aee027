"""A row on one record of a journal, in any format there has been.

    2   [2, "prompts.jsonl", 7, "ok", "id-7", 0.25, "weak", ...]   its number, then the fields of `Result`
    1   ["prompts.jsonl", 7, "ok", "id-7", 0.25, "weak", ...]      the fields that there were then

Both are msgpack arrays. What stands first tells them apart: a file's name is format 1, a whole number the format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from batchroute.errors import RunFault
from batchroute.store.columns import COLUMNS, FORMAT
from batchroute.types import Result, RowEnd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

End = TypeVar("End", bound=RowEnd)

_LATER = {column.name for column in COLUMNS if column.since > 1}
_FORMAT_1 = tuple(name for name in Result.__struct_fields__ if name not in _LATER)


def row_encoder(format: int) -> Callable[[Any], bytes]:  # noqa: A002  # the directory's
    """What writes a `Result` as a directory of this format has it."""
    encode = msgspec.msgpack.Encoder().encode
    if format == FORMAT:
        return encode
    return lambda result: encode([getattr(result, name) for name in _FORMAT_1])


def row_decoder(path: Path, kind: type[End]) -> Callable[[bytes], End]:
    """What reads rows, or how they ended, from records of the journal `path`, whichever format each has."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decode_any(record: bytes) -> End:
        try:
            return decode(record)
        except ValueError:  # what msgspec raises, and bytes that are no UTF-8
            return _decode_other(record, kind, path)

    return decode_any


def _decode_other(record: bytes, kind: type[End], path: Path) -> End:
    """A record that is not of the present format."""
    try:
        first, *others = msgspec.msgpack.decode(record, type=list)
        if isinstance(first, int) and first > FORMAT:
            raise RunFault(
                f"{path}: has records of format {first}, this version reads up to {FORMAT}; "
                "go on with the version of batchroute that wrote them"
            )
        if isinstance(first, str):
            # A row's end is the beginning of a row, so this finds its fields, too.
            known = dict(zip(_FORMAT_1, (first, *others), strict=True))
            return msgspec.convert([FORMAT, *(known.get(name) for name in kind.__struct_fields__)], kind)
        return msgspec.msgpack.decode(record, type=kind)  # it fails again, and says why
    except ValueError as error:
        raise RunFault(f"{path}: not as a run wrote it ({error}); move it away to ask its rows again") from error
