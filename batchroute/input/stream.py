"""A file of lines as one stream of bytes, unpacked where it is compressed; knows nothing of lines.

Offsets are those of the unpacked bytes: offset 19 of `a.jsonl.gz` is the same place as offset 19 of `a.jsonl`. A
plain file is sought. A compressed one cannot be: a run that goes on at byte 9 GB of 10 unpacks those 9 GB again,
and drops them block by block.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batchroute.errors import Stopped
from batchroute.input.lines import TornStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.files import InputFile

# A read that fails loses all that it had unpacked. Of a file whose download broke off after 1 GB of text, all but
# the last 64 KiB is read; with reads of 4 MiB, up to 4 MiB of good lines would be lost with the torn one.
_UNPACKED_AT_ONCE = 64 << 10


@contextmanager
def open_bytes(file: InputFile) -> Iterator[ByteStream]:
    """The file's stream, closed at the end."""
    with ExitStack() as stack:
        raw = stack.enter_context(file.open())
        codec = file.codec
        unpacked = raw if codec is None else stack.enter_context(pa.CompressedInputStream(raw, codec))
        yield ByteStream(file, unpacked)


@dataclass(frozen=True, slots=True)
class ByteStream:
    """The unpacked bytes of a file, in order."""

    file: InputFile
    unpacked: pa.NativeFile

    def skip(self, offset: int) -> None:
        """Goes to this byte of the unpacked file; a compressed one is read up to it."""
        if self.file.codec is None:
            self.unpacked.seek(offset)
            return
        while offset > 0 and (block := self.read(offset)):
            offset -= len(block)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. TornStream for what cannot be unpacked, Stopped for the rest."""
        try:
            block: bytes = self.unpacked.read(size if self.file.codec is None else min(size, _UNPACKED_AT_ONCE))
        except OSError as error:
            if self.file.codec is not None and error.errno is None:
                raise TornStream(f"the compressed file is damaged or ends early ({error})") from error
            raise Stopped(f"{self.file.path}: cannot be read any further: {error}; run again to go on") from error
        return block
