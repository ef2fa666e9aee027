"""What an answer's Content-Encoding says was done to its bytes, undone.

Requests ask for none; proxies compress all the same, or name an encoding and send plain text. A whole body that is
not what it is said to be stays as it came: whether it is an answer is decided where answers are read.
"""

from __future__ import annotations

import zlib

import pyarrow as pa

_GZIP = frozenset({"gzip", "x-gzip"})
_INFLATED = _GZIP | {"deflate"}
_CODECS = {"br": "brotli", "zstd": "zstd"}  # as pyarrow names them
_MOST_LAYERS = 4
_MOST_MEMBERS = 1000  # each costs a copy of all that follows
_GZIP_MAGIC = b"\x1f\x8b"


class TooLarge(Exception):
    """More comes out than may."""


class Undecodable(Exception):
    """It is not what it is said to be, or cannot be read piece by piece."""


def decoded(named: str, body: bytes, most_bytes: int) -> bytes:
    """`body` without the encodings that are `named`, the last one first.

    Raises TooLarge where more than `most_bytes` come out.
    """
    plain = body
    try:
        for encoding in _layers(named):
            plain = _without(encoding, plain, most_bytes)
    except Undecodable:
        return body
    return plain


def stream_inflater(named: str) -> Inflater | None:
    """What undoes the encodings of a stream piece by piece; None where there is nothing to undo.

    Raises Undecodable where they allow no such reading.
    """
    layers = _layers(named)
    if not layers:
        return None
    if len(layers) > 1 or layers[0] in _CODECS:
        raise Undecodable
    return Inflater(layers[0])


def _layers(named: str) -> list[str]:
    """The encodings of a header, outermost first; what often stands there and is none ("utf-8") is left out."""
    layers = [layer.strip().lower() for layer in named.split(",", _MOST_LAYERS)]
    return [layer for layer in reversed(layers) if layer in _INFLATED or layer in _CODECS]


def _without(encoding: str, body: bytes, most_bytes: int) -> bytes:
    if encoding in _INFLATED:
        return Inflater(encoding).feed(body, most_bytes)
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), _CODECS[encoding]) as stream:
            plain: bytes = stream.read(most_bytes + 1)
    except OSError as error:
        raise Undecodable from error
    if len(plain) > most_bytes:
        raise TooLarge
    return plain


class Inflater:
    """Undoes gzip, of several members, too, and deflate, with its header or without."""

    def __init__(self, encoding: str) -> None:
        self._is_gzip = encoding in _GZIP
        self._member: zlib._Decompress | None = None
        self._members = 0

    def feed(self, piece: bytes, most_bytes: int) -> bytes:
        """What comes out of the next piece. Raises TooLarge beyond `most_bytes`, and Undecodable."""
        out: list[bytes] = []
        left = most_bytes + 1
        while piece and (member := self._member_of(piece)) is not None:
            try:
                out.append(member.decompress(piece, left))
            except zlib.error as error:
                raise Undecodable from error
            left -= len(out[-1])
            if left == 0:
                raise TooLarge
            piece = member.unused_data
        return b"".join(out)

    def _member_of(self, piece: bytes) -> zlib._Decompress | None:
        """That which `piece` goes on with or begins; None where it is only what stands behind the last one."""
        if self._member is not None and not self._member.eof:
            return self._member
        is_first = self._member is None
        if not is_first and not (self._is_gzip and piece.startswith(_GZIP_MAGIC)):
            return None
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise Undecodable
        self._member = zlib.decompressobj(self._window_bits(piece[0]))
        return self._member

    def _window_bits(self, first_byte: int) -> int:
        """As zlib wants them: gzip's header, zlib's, or none, which many servers take deflate for."""
        if self._is_gzip:
            return 16 + zlib.MAX_WBITS
        return zlib.MAX_WBITS if first_byte & 0x0F == 8 else -zlib.MAX_WBITS
