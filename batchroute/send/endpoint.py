"""One request over HTTP: bytes in, a classified `Answer` out.

Every exception of aiohttp's client is translated here, by a table; an error of our own (no file handles left, a
bug) is no answer and passes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import msgspec
from aiohttp.http import HttpProcessingError

from batchroute.errors import JobFault
from batchroute.send.classify import Answer, classify
from batchroute.send.deadline import Deadlines
from batchroute.send.dialects.chat import read_chat
from batchroute.send.encoding import TooLarge, Undecodable, decoded, stream_inflater
from batchroute.send.fault import MESSAGE_CHARS
from batchroute.send.parse import json_text
from batchroute.send.renewal import KeyRenewal
from batchroute.send.verdict import Asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from batchroute.job.secrets import Scrubber
    from batchroute.send.classify import Read
    from batchroute.send.http import Response, Transport
    from batchroute.send.verdict import Verdict
    from batchroute.types import Completion

    Receive: TypeAlias = Callable[[bytes], Awaitable[None]]

_CHUNK_BYTES = 1 << 16
_LENGTH_DIGITS = 18  # of a length that is worth reading
_TEXTS = (
    "response",
    "reasoning",
    "refusal",
    "tool_calls",
    "served_model",
    "finish_reason",
    "service_tier",
    "request_id",
)  # of a completion
_UNSENT = frozenset({"address", "certificate", "connect"})
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@dataclass(slots=True)
class _Passing:
    """A stream on its way to whoever reads it."""

    receive: Receive
    begun: bool = False


class Endpoint:
    """Sends request bodies to one address."""

    def __init__(
        self,
        transport: Transport,
        scrub: Scrubber,
        *,
        keep_bodies: bool = False,
        had_success: Callable[[], bool] = lambda: False,
        read: Read = read_chat,
        key: KeyRenewal | None = None,
    ) -> None:
        """`read` takes the object of a 200; `key` is the one that it has in common with other addresses.

        `keep_bodies`: an answer that is ok or refused brings its text.
        `had_success`: it answered well in an earlier run, or another process, so a 403 is about a row rather than
        about the key.
        """
        self._transport = transport
        self._max_bytes = transport.address.max_response_bytes
        self._scrub = scrub
        self._keep_bodies = keep_bodies
        self._read = read
        self._deadlines = Deadlines(transport.address.timeout_s)
        self._had_success = had_success
        self._has_answered = False
        self._key = key or KeyRenewal([transport], scrub)

    async def send(self, body: bytes, receive: Receive | None = None, *, tokens: int = 0) -> Answer:
        """One attempt. Raises only errors of our own; what the provider says is free of known keys.

        `tokens` estimates the input of the request, 0 where that is not known.

        `receive` is given the pieces of an event stream as they arrive, uncleaned, where the answer is one; such
        an answer has no completion. It must not raise what a connection raises.
        """
        started = time.perf_counter()
        passing = None if receive is None else _Passing(receive)
        key = self._key.version
        try:
            answer = await self._in_time(body, tokens, passing)
        except (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError) as error:
            answer = translate(error)
            if passing is not None and passing.begun:  # whoever reads it has its beginning: there is no other try
                answer = msgspec.structs.replace(answer, verdict="refused")
        if answer.error_type == "invalid_key" and self._was_good:
            answer = await self._after_expiry(answer, key)
        self._has_answered = self._has_answered or answer.verdict == "ok"
        return self._clean(answer, time.perf_counter() - started)

    @property
    def _was_good(self) -> bool:
        return self._has_answered or self._had_success()

    async def _after_expiry(self, answer: Answer, key: int) -> Answer:
        """A key that was good is good no longer: where there is another one by now, the request is sent again."""
        try:
            renewed = await self._key.renewed(key)
        except JobFault as fault:
            return msgspec.structs.replace(answer, error=f"{answer.error} ({fault})")
        return msgspec.structs.replace(answer, verdict="expired") if renewed else answer

    async def _in_time(self, body: bytes, tokens: int, passing: _Passing | None) -> Answer:
        """Raises TimeoutError where the exchange takes longer than `timeout_s`."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._deadlines.begin(task)
        try:
            answer = await self._exchange(body, tokens, passing)
        except asyncio.CancelledError:
            if self._deadlines.end(task):
                raise TimeoutError from None
            raise
        except BaseException:
            self._deadlines.end(task)
            raise
        if self._deadlines.end(task):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # it came in time after all: the cancellation is met here, not further on
        return answer

    async def _exchange(self, body: bytes, tokens: int, passing: _Passing | None) -> Answer:
        connection = await self._transport.connect()
        try:
            response = await self._transport.post(connection, body)
            if passing is not None and response.status == 200 and _is_event_stream(response):
                answer = await _pass_on(response, passing, self._max_bytes)
            else:
                answer = await self._read_answer(response, body, tokens)
        except BaseException:
            connection.close()
            raise
        self._transport.keep(connection)
        return answer

    async def _read_answer(self, response: Response, body: bytes, tokens: int) -> Answer:
        text = await _read(response, self._max_bytes)
        if text is None:
            return _too_large(self._max_bytes)
        asked = Asked(body, tokens, self._was_good)
        answer = classify(response.status, response.headers, text, asked, self._read)
        kept = self._keep_bodies and answer.verdict in {"ok", "refused"}
        kept_text = json_text(text) if kept else None
        return msgspec.structs.replace(answer, status=response.status, body=kept_text)

    def _clean(self, answer: Answer, latency_s: float) -> Answer:
        """What a provider wrote, without our keys, and how long it took."""
        completion, scrub = answer.completion, self._scrub
        error = answer.error and _encodable(answer.error)
        if not scrub:
            return msgspec.structs.replace(answer, error=error, latency_s=latency_s)
        return msgspec.structs.replace(
            answer,
            error=error and scrub(error),
            body=answer.body and scrub(answer.body),
            completion=completion and _scrubbed(completion, scrub),
            latency_s=latency_s,
        )


def _encodable(text: str) -> str:
    """Without the surrogates that stand for the bytes of a header that are no UTF-8: no file could take them."""
    return text.encode("utf-8", "replace").decode()


def _scrubbed(completion: Completion, scrub: Scrubber) -> Completion:
    """The same object where there is nothing to take out, as nearly always."""
    texts = {name: text for name in _TEXTS if (text := getattr(completion, name))}
    clean = {name: scrubbed for name, text in texts.items() if (scrubbed := scrub(text)) is not text}
    return msgspec.structs.replace(completion, **clean) if clean else completion


def _is_event_stream(response: Response) -> bool:
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower() == "text/event-stream"


async def _read(response: Response, max_bytes: int) -> bytes | None:
    """The whole body without its encodings, None as soon as it is larger than `max_bytes`."""
    body: bytes | None
    length, encoding = response.headers.get("Content-Length"), response.headers.get("Content-Encoding")
    if length is not None and len(length) <= _LENGTH_DIGITS and int(length) <= max_bytes:
        body = await response.content.read()
    else:
        body = await _read_at_most(response, max_bytes)
    if body is None or encoding is None:
        return body
    try:
        return decoded(encoding, body, max_bytes)
    except TooLarge:
        return None


async def _read_at_most(response: Response, max_bytes: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(piece)
        if size > max_bytes:
            return None
        pieces.append(piece)
    return b"".join(pieces)


async def _pass_on(response: Response, passing: _Passing, max_bytes: int) -> Answer:
    """An event stream, piece by piece, without its encoding."""
    size = 0
    try:
        inflater = stream_inflater(response.headers.get("Content-Encoding", ""))
        async for piece in response.content.iter_any():
            plain = piece if inflater is None else inflater.feed(piece, max_bytes - size)
            size += len(plain)
            if size > max_bytes:
                return _too_large(max_bytes)
            passing.begun = passing.begun or bool(plain)
            await passing.receive(plain)
    except TooLarge:
        return _too_large(max_bytes)
    except Undecodable:
        verdict: Verdict = "refused" if passing.begun else "malformed"
        return Answer(verdict=verdict, error_type="malformed", error="HTTP 200, but the stream cannot be decoded")
    if not passing.begun:
        return Answer(verdict="malformed", error_type="malformed", error="HTTP 200, but the stream is empty")
    return Answer(verdict="ok", status=200)


def _too_large(max_bytes: int) -> Answer:
    message = f"larger than limits.max_response_mb ({max_bytes >> 20} MiB)"
    return Answer(verdict="refused", error_type="answer_too_large", error=message)


# First match wins, so subclasses stand before their parents.
_TRANSLATIONS: tuple[tuple[type[BaseException], Verdict, str, str], ...] = (
    (aiohttp.ConnectionTimeoutError, "transient", "connect", "no connection in time"),
    (TimeoutError, "transient", "timeout", "no complete answer within timeout_s"),
    (ssl.SSLCertVerificationError, "fatal", "certificate", "the server's certificate cannot be verified"),
    (
        aiohttp.ClientConnectorCertificateError,
        "fatal",
        "certificate",
        "the server's certificate cannot be verified",
    ),
    (aiohttp.InvalidURL, "fatal", "address", "the address is not one"),
    (aiohttp.ClientConnectorDNSError, "transient", "connect", "the host's name cannot be resolved"),
    (aiohttp.ClientConnectorError, "transient", "connect", "no connection"),
    (aiohttp.ClientResponseError, "transient", "connect", "the proxy gives no connection"),
    (HttpProcessingError, "malformed", "malformed", "the answer cannot be read as HTTP"),
    (aiohttp.ClientPayloadError, "transient", "cut", "the answer ended early"),
    (aiohttp.ServerDisconnectedError, "transient", "reset", "the server hung up without an answer"),
    (aiohttp.ClientError, "transient", "connection", "the connection broke"),
    (OSError, "transient", "connection", "the connection broke"),
)


# What the system says of a connection that it could not make.
_CONNECTING = {
    errno.ECONNREFUSED: "connection refused",
    errno.ETIMEDOUT: "no connection in time",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network cannot be reached",
}


def translate(error: BaseException) -> Answer:
    """The answer that a failed exchange amounts to; raises the error again where it is one of our own."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno in _OURS:
        raise error
    verdict, kind, words = next(row[1:] for row in _TRANSLATIONS if isinstance(error, row[0]))
    detail = _detail(error)
    message = f"{words}: {detail}" if detail else words
    if isinstance(error, aiohttp.ClientConnectorError) and verdict == "transient":
        message = _unconnected(error, words)
    return Answer(verdict=verdict, error_type=kind, error=message, unsent=kind in _UNSENT)


def _unconnected(error: aiohttp.ClientConnectorError, words: str) -> str:
    """Why there is no connection, and to where: "connection refused (127.0.0.1:7999)"."""
    host = f"[{error.host}]" if ":" in error.host else error.host
    told = _CONNECTING.get(error.os_error.errno or 0)
    if told is None:
        named = "" if isinstance(error, aiohttp.ClientConnectorDNSError) else error.os_error.strerror
        told = f"{words}: {named}" if named else words
    proxy = "the proxy: " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    return f"{proxy}{told} ({host}:{error.port})"


def _detail(error: BaseException) -> str:
    """What it adds, in one line; as text, an error about a response shows its address, which may hold a secret."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return ""  # at most the head as far as it came
    if isinstance(error, aiohttp.ClientPayloadError) and isinstance(error.__cause__, HttpProcessingError):
        error = error.__cause__
    text = error.message if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError) else str(error)
    return " ".join(text.split()).rstrip(" ^")[:MESSAGE_CHARS]
