"""One request over HTTP: bytes in, a classified `Answer` out.

The only module that knows aiohttp's client. Every exception of it is translated here, by a table; an error of
our own (no file handles left, a bug) is no answer and passes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import ssl
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from batchroute.classify import Answer, Verdict, classify, read_completion
from batchroute.deadline import Deadlines
from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from batchroute.classify import Read
    from batchroute.job import EnvRef
    from batchroute.keys import EndpointSecrets
    from batchroute.scrub import Scrubber
    from batchroute.types import Completion

    Receive: TypeAlias = Callable[[bytes], Awaitable[None]]

CONNECT_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 16
_AT_ONCE_BYTES = 1 << 20  # aiohttp sends a larger body in pieces only from a file object
_TEXTS = ("response", "reasoning", "tool_calls", "served_model", "finish_reason")  # of a completion
_UNSENT = frozenset({"address", "certificate", "connect"})
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a lane sends its requests, and as whom; the headers hold keys and stay out of the repr.

    `proxy` comes from the usual variables, read explicitly: aiohttp's own reading would send `.netrc` along.
    """

    url: URL
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float
    max_response_bytes: int
    proxy: str | None = field(default=None, repr=False)


def api_url(base_url: str, path: str) -> URL:
    """`base_url` with `path` ("chat/completions") behind its own; a query stays."""
    base = URL(base_url)
    return base.with_path(f"{base.raw_path.rstrip('/')}/{path}", encoded=True, keep_query=True)


def request_headers(
    secrets: EndpointSecrets, key_header: str | None, plain: Mapping[str, str | EnvRef] | None = None
) -> dict[str, str]:
    """The job's headers, and the key as a bearer token or in the header the job names."""
    headers = {name: value for name, value in (plain or {}).items() if isinstance(value, str)}
    headers |= {name: secret.reveal() for name, secret in secrets.headers.items()}
    if secrets.api_key is not None:
        key = secrets.api_key.reveal()
        headers |= {key_header: key} if key_header else {"Authorization": f"Bearer {key}"}
    return headers


def proxy_for(url: URL) -> str | None:
    """The proxy that http_proxy, https_proxy and no_proxy name for this address; without a scheme it is http's.

    Raises UsageFault for one that cannot be used, which it does not quote: a password may stand in it.
    """
    named = urllib.request.getproxies_environment().get(url.scheme)
    if not named or urllib.request.proxy_bypass(url.host or ""):
        return None
    proxy = named if "://" in named else f"http://{named}"
    try:
        parts = urlsplit(proxy)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UsageFault(
            f"{url.scheme}_proxy: must be an http or https address such as http://proxy.example:3128; mend it"
        )
    return proxy


def open_session(address: Address) -> aiohttp.ClientSession:
    """A session for one address, without limits, cookies or a look at the environment: those are the lane's.

    What all requests have in common stands here: aiohttp would prepare it for every single one otherwise.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "batchroute",
            **address.headers,
        },
        timeout=aiohttp.ClientTimeout(sock_connect=min(CONNECT_TIMEOUT_S, address.timeout_s)),
        trust_env=False,
    )


@dataclass(slots=True)
class _Passing:
    """A stream on its way to whoever reads it."""

    receive: Receive
    begun: bool = False


class Endpoint:
    """Sends request bodies to one address."""

    def __init__(
        self,
        address: Address,
        session: aiohttp.ClientSession,
        scrub: Scrubber,
        *,
        keep_bodies: bool = False,
        had_success: bool = False,
        read: Read = read_completion,
    ) -> None:
        """`session` is the address's own, `read` takes the object of a 200.

        `keep_bodies`: an answer that is ok or refused brings its text.
        `had_success`: it answered well in an earlier run, so a 403 is about a row rather than about the key.
        """
        self._address = address
        self._session = session
        self._scrub = scrub
        self._keep_bodies = keep_bodies
        self._read = read
        self._deadlines = Deadlines(address.timeout_s)
        self._had_success = had_success

    async def send(self, body: bytes, receive: Receive | None = None) -> Answer:
        """One attempt. Raises only errors of our own; what the provider says is free of known keys.

        `receive` is given the pieces of an event stream as they arrive, uncleaned, where the answer is one; such
        an answer has no completion. It must not raise what a connection raises.
        """
        started = time.perf_counter()
        passing = None if receive is None else _Passing(receive)
        try:
            answer = await self._in_time(body, passing)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            answer = translate(error)
            if passing is not None and passing.begun:  # whoever reads it has its beginning: there is no other try
                answer = msgspec.structs.replace(answer, verdict="refused")
        self._had_success = self._had_success or answer.verdict == "ok"
        return self._clean(answer, time.perf_counter() - started)

    async def _in_time(self, body: bytes, passing: _Passing | None) -> Answer:
        """Raises TimeoutError where the exchange takes longer than `timeout_s`."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._deadlines.begin(task)
        try:
            answer = await self._exchange(body, passing)
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

    async def _exchange(self, body: bytes, passing: _Passing | None) -> Answer:
        address = self._address
        async with self._session.post(
            address.url,
            data=body if len(body) <= _AT_ONCE_BYTES else io.BytesIO(body),
            allow_redirects=False,
            proxy=address.proxy,
        ) as response:
            if passing is not None and response.status == 200 and response.content_type == "text/event-stream":
                return await _pass_on(response, passing, address.max_response_bytes)
            text = await _read(response, address.max_response_bytes)
            if text is None:
                return _too_large(address.max_response_bytes)
            answer = classify(
                response.status, response.headers, text, had_success=self._had_success, read=self._read
            )
            kept = self._keep_bodies and answer.verdict in {"ok", "refused"}
            kept_text = text.decode("utf-8", "replace") if kept else None
            return msgspec.structs.replace(answer, status=response.status, body=kept_text)

    def _clean(self, answer: Answer, latency_s: float) -> Answer:
        """What a provider wrote, without our keys, and how long it took."""
        completion, scrub = answer.completion, self._scrub
        if not scrub:
            return msgspec.structs.replace(answer, latency_s=latency_s)
        return msgspec.structs.replace(
            answer,
            error=answer.error and scrub(answer.error),
            body=answer.body and scrub(answer.body),
            completion=completion and _scrubbed(completion, scrub),
            latency_s=latency_s,
        )


def _scrubbed(completion: Completion, scrub: Scrubber) -> Completion:
    """The same object where there is nothing to take out, as nearly always."""
    texts = {name: text for name in _TEXTS if (text := getattr(completion, name))}
    clean = {name: scrubbed for name, text in texts.items() if (scrubbed := scrub(text)) is not text}
    return msgspec.structs.replace(completion, **clean) if clean else completion


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The whole body, None as soon as it is larger than `max_bytes` (decompressed)."""
    length = response.content_length
    if length is not None and length <= max_bytes and "Content-Encoding" not in response.headers:
        return await response.read()
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(piece)
        if size > max_bytes:
            response.close()
            return None
        pieces.append(piece)
    return b"".join(pieces)


async def _pass_on(response: aiohttp.ClientResponse, passing: _Passing, max_bytes: int) -> Answer:
    """An event stream, piece by piece."""
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > max_bytes:
            response.close()
            return _too_large(max_bytes)
        passing.begun = True
        await passing.receive(piece)
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
    (aiohttp.ClientPayloadError, "transient", "cut", "the answer ended early"),
    (aiohttp.ServerDisconnectedError, "transient", "reset", "the server hung up without an answer"),
    (aiohttp.ClientResponseError, "transient", "protocol", "the answer is not HTTP"),
    (aiohttp.ClientError, "transient", "connection", "the connection broke"),
    (OSError, "transient", "connection", "the connection broke"),
)


def translate(error: BaseException) -> Answer:
    """The answer that a failed exchange amounts to; raises the error again where it is one of our own."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno in _OURS:
        raise error
    verdict, kind, words = next(row[1:] for row in _TRANSLATIONS if isinstance(error, row[0]))
    # As text, an error about a response shows its address: a query, or a proxy's password, may be secret.
    detail = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    message = f"{words}: {detail}" if detail else words
    return Answer(verdict=verdict, error_type=kind, error=message, unsent=kind in _UNSENT)
