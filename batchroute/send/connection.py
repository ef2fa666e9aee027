"""One connection to a provider: a socket that a silent answer keeps alive, and what may be read from it.

The reading itself is aiohttp's; mended here is where it would wait for ever or read without bound. Knows nothing
of requests and answers.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType

MOST_FIELD_BYTES = 1 << 16  # of one header, and of the status line
MOST_FIELDS = 1 << 13  # headers of eight bytes fill as much
MOST_OVERHEAD_BYTES = 1 << 20
_HEAD_ENDS = b"\r\n\r\n"
_FRAMING_PER_BYTE = 8  # a chunk of one byte is six bytes on the wire

# Gateways forget a connection that is silent for as little as four minutes, and an answer may take ten. A peer
# that is gone is noticed after about as long; macOS names the first option in its own way.
_KEEPALIVE_S = 30
_KEEPALIVE_PROBES = 8
_KEEPALIVE = tuple(
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_S),
        ("TCP_KEEPALIVE", _KEEPALIVE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
    )
    if hasattr(socket, name)
)


def keepalive_socket(address: AddrInfoType) -> socket.socket:
    """A socket for `address` that probes a silent peer; the system says which of the options it has."""
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened


class ResponseProtocol(ResponseHandler):
    """Reads the answers of one connection, one after another.

    Its base tells only who waits for a head when what comes cannot be parsed: whoever reads a body would wait for
    ever. It gives nothing of a piece in which its parser fails, so that what stands behind a whole answer would
    take the answer along. And it bounds each header, but not what else a server may send beside a body: interim
    answers without end, trailers, extensions of chunks. All that may be 1 MiB and eight times the body.

    Worked example: a body of 10 MiB in chunks of one byte is 60 MiB on the wire and read, as 81 are allowed; the
    same interim answer of 29 bytes again and again is cut off soon after its 36,157th time, as there is no body.
    """

    _has_begun = False  # before, it is a proxy's answer to CONNECT
    _received = 0
    _piece = b""  # that which is being parsed

    def begin(self) -> None:
        """The next answer is that to a request which is about to be sent."""
        self._has_begun = True
        self._received = 0
        self._payload = None
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MOST_FIELD_BYTES,
            max_field_size=MOST_FIELD_BYTES,
            max_headers=MOST_FIELDS,
        )

    def data_received(self, data: bytes) -> None:
        if self._received > MOST_OVERHEAD_BYTES and self._is_overhead():
            self._received = 0
            self.set_exception(HttpProcessingError(message="it is nothing but headers and framing"))
            if self.transport is not None:
                self.transport.close()
            return
        self._received += len(data)
        self._piece = data
        super().data_received(data)
        self._piece = b""

    def _is_overhead(self) -> bool:
        body_bytes = 0 if self._payload is None else self._payload.total_bytes
        return self._received > MOST_OVERHEAD_BYTES + _FRAMING_PER_BYTE * body_bytes

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        piece, self._piece = self._piece, b""
        is_first = self._payload is None and 0 < len(piece) == self._received
        if self._has_begun and is_first and isinstance(exc, HttpProcessingError):
            self._receive_in_two(piece)
            return
        super().set_exception(exc, *(() if exc_cause is None else (exc_cause,)))
        payload = self._payload
        if payload is not None and payload.exception() is None and not payload.is_eof():
            payload.set_exception(exc)

    def _receive_in_two(self, piece: bytes) -> None:
        """The head, and what is behind it; whichever cannot be parsed sets the exception."""
        end = piece.find(_HEAD_ENDS) + len(_HEAD_ENDS)
        self.begin()
        super().data_received(piece[:end])
        if self.exception() is None:
            super().data_received(piece[end:])
