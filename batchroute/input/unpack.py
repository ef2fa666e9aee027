"""gzip and zstd -> what was packed, in bounded memory, and up to the very byte where it is damaged.

Knows nothing of lines, nor what a file is called: how it is packed its first bytes say.

A file may be several packed ones, one behind the other, each a member (gzip) or a frame (zstd). Zeros between them
and behind the last are padding, as tar, tapes and some uploaders leave it. Anything else there is a fault:

    [member][member]                  both
    [member][member][512 zeros]       both
    [member]["<html>..."]             the first, then TornStream
    [member][member cut short]        the first, what there is of the second, then TornStream
"""

from __future__ import annotations

import re
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.input.file import FileHead

_AT_ONCE = 64 << 10  # of what is packed, and of what comes out of it
_FIRST_PIECE = 512
_GZIP = re.compile(rb"\x1f\x8b")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to be skipped
MAGIC_BYTES = 4
# What zstd says of a frame made with --long. Several readers of a file may be at work, each with its own window.
_LONG_WINDOW = "requires too much memory"
_DAMAGED = "the compressed file is damaged or ends early"


class TornStream(Exception):
    """What is packed ends before its end, or turns into what cannot be unpacked."""


class Member(Protocol):
    """The decompressor of one member, with the face that those of the standard library have."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    """See `Member`; zlib's own has another face."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


@dataclass(frozen=True, slots=True)
class Packing:
    """How a file is packed: what unpacks a member, and what that raises."""

    open: Callable[[], Member]
    error: type[Exception]


def packing_of(head: bytes) -> Packing | None:
    """How a file that begins with these MAGIC_BYTES is packed; None for a plain one."""
    if _GZIP.match(head):
        return Packing(_GzipMember, zlib.error)
    return _zstd() if _ZSTD.match(head) else None


def _zstd() -> Packing:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - few inputs are packed so
    else:
        from backports import zstd  # noqa: PLC0415 - the same
    return Packing(zstd.ZstdDecompressor, zstd.ZstdError)


class Unpacked:
    """The unpacked bytes of a file, in order."""

    def __init__(self, packed: FileHead, packing: Packing) -> None:
        self._packed = packed
        self._packing = packing
        self._members = _Members(packed, packing)
        self._at = 0
        self._fault: TornStream | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end; TornStream behind the last that can be unpacked."""
        if self._fault is not None:
            raise self._fault
        try:
            block = self._members.read(min(size, _AT_ONCE))
        except TornStream as fault:
            self._fault = fault
            block = self._up_to_fault()
            if not block:
                raise
        self._at += len(block)
        return block

    def _up_to_fault(self) -> bytes:
        """A call that fails loses what it had unpacked: unpacks the file again, the end of it byte by byte."""
        careful_from = self._packed.tell() - 2 * _AT_ONCE  # what was read last, and what the member had left
        self._packed.seek(0)
        members = _Members(self._packed, self._packing, careful_from)
        known, found = self._at, bytearray()
        try:
            while block := members.read(_AT_ONCE):
                found += block[known:]
                known -= min(known, len(block))
        except TornStream:
            pass
        return bytes(found)


class _Members:
    """Unpacks one member after the other; from byte `careful_from` of the file on, a byte at a time."""

    def __init__(self, packed: FileHead, packing: Packing, careful_from: int = sys.maxsize) -> None:
        self._packed = packed
        self._packing = packing
        self._careful_from = careful_from
        self._member: Member | None = None
        self._chunk = b""
        self._at = 0  # in the chunk
        self._piece_bytes = _FIRST_PIECE

    def read(self, size: int) -> bytes:
        while (member := self._member or self._next_member()) is not None:
            is_hungry = member.needs_input
            packed = self._next_piece() if is_hungry else b""
            block = self._unpack(member, packed, size)
            if member.eof:
                self._member = None
                self._at -= len(member.unused_data)
            elif is_hungry and not packed and not block:
                raise TornStream(f"{_DAMAGED}; write or fetch it again")
            if block:
                return block
        return b""

    def _has_more(self) -> bool:
        if self._at == len(self._chunk):
            self._chunk, self._at = self._packed.read(_AT_ONCE), 0
        return bool(self._chunk)

    def _next_piece(self) -> bytes:
        """What a member gets at a time grows with it: it keeps a copy of what is not its own."""
        if not self._has_more():
            return b""
        is_careful = self._packed.tell() - len(self._chunk) + self._at >= self._careful_from
        piece = self._chunk[self._at : self._at + (1 if is_careful else self._piece_bytes)]
        self._at += len(piece)
        self._piece_bytes = min(2 * self._piece_bytes, _AT_ONCE)
        return piece

    def _unpack(self, member: Member, packed: bytes, size: int) -> bytes:
        try:
            return member.decompress(packed, size)
        except self._packing.error as error:
            if _LONG_WINDOW in str(error):
                raise TornStream(
                    "it was packed with a longer window than the 128 MiB that are read; "
                    "pack it again without --long: zstd -dc --long=31 OLD | zstd -o NEW"
                ) from error
            raise TornStream(f"{_DAMAGED} ({error}); write or fetch it again") from error

    def _next_member(self) -> Member | None:
        """The next one, behind any zeros; None at the end."""
        while self._has_more():
            if self._chunk[self._at]:
                self._member, self._piece_bytes = self._packing.open(), _FIRST_PIECE
                return self._member
            rest = self._chunk[self._at :]
            self._at += len(rest) - len(rest.lstrip(b"\0"))
        return None
