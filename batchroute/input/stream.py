"""The bytes of an input file in order, unpacked where it is packed; knows nothing of what they say.

Offsets are those of the unpacked bytes: offset 19 of `a.jsonl.gz` is the same place as offset 19 of `a.jsonl`. A
plain file is sought. A compressed one cannot be: a run that goes on at byte 9 GB of 10 unpacks those 9 GB again,
and drops them block by block.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.input.unpack import MAGIC_BYTES, Unpacked, packing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.file import FileHead, InputFile


@contextmanager
def open_bytes(file: InputFile) -> Iterator[ByteStream]:
    """The file's stream, closed at the end."""
    with file.open() as raw:
        packing = packing_of(raw.read(MAGIC_BYTES))
        raw.seek(0)
        yield ByteStream(raw, None if packing is None else Unpacked(raw, packing))


@dataclass(frozen=True, slots=True)
class ByteStream:
    """The bytes of a file in order, unpacked where it is packed."""

    raw: FileHead
    unpacked: Unpacked | None

    def skip(self, offset: int) -> None:
        """Goes to this byte of the unpacked file; a compressed one is read up to it."""
        if self.unpacked is None:
            self.raw.seek(offset)
            return
        while offset > 0 and (block := self.read(offset)):
            offset -= len(block)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end; TornStream for what cannot be unpacked."""
        return self.raw.read(size) if self.unpacked is None else self.unpacked.read(size)
