"""A file of lines as one stream of bytes, unpacked where it is compressed; knows nothing of lines."""

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

# A read that fails takes down with it what it had unpacked: small reads lose little of a torn file.
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
    """The bytes of a file as its lines see them."""

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
