"""POSTs to one address, over connections that are kept: where a lane sends, and the layer below `Endpoint`.

aiohttp does what is hard here: its connector resolves names, speaks TLS, goes through proxies and keeps
connections, its parser reads answers. `aiohttp.ClientSession` is left out: it prepares every request anew and
writes it in a task of its own, which takes three quarters of an exchange; all requests of a lane have one head.
"""

from __future__ import annotations

import asyncio
import functools
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from batchroute.errors import UsageFault
from batchroute.send.connection import ResponseProtocol, keepalive_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

    from batchroute.job.endpoint import EnvRef
    from batchroute.job.secrets import EndpointSecrets
    from batchroute.send.renewal import RenewedKey

CONNECT_TIMEOUT_S = 30.0
_SWITCHING_PROTOCOLS = 101
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "batchroute",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a lane sends its requests, with which headers; those hold keys and stay out of the repr.

    `proxy` comes from the usual variables, read explicitly: aiohttp's own reading would send `.netrc` along.
    `read_key` reads the key again, where it may expire; it may block.
    """

    url: URL
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float
    max_response_bytes: int
    proxy: str | None = field(default=None, repr=False)
    read_key: Callable[[], RenewedKey] | None = field(default=None, repr=False)


def api_url(base_url: str, path: str) -> URL:
    """`base_url` with `path` ("chat/completions") behind its own; a query stays."""
    base = URL(base_url)
    return base.with_path(f"{base.raw_path.rstrip('/')}/{path}", encoded=True, keep_query=True)


def request_headers(
    secrets: EndpointSecrets, key_header: str | None, plain: Mapping[str, str | EnvRef] | None = None
) -> Mapping[str, str]:
    """The job's headers, and the key as a bearer token or in the header the job names."""
    written = {name: value for name, value in (plain or {}).items() if isinstance(value, str)}
    hidden = {name: secret.reveal() for name, secret in secrets.headers.items()}
    if secrets.api_key is None:
        return _merged(written, hidden)
    key = secrets.api_key.reveal()
    return _merged(written, hidden, {key_header: key} if key_header else {"Authorization": f"Bearer {key}"})


def _merged(*headers: Mapping[str, str]) -> Mapping[str, str]:
    """Each header once, whatever the case of its name; the last value counts."""
    merged: CIMultiDict[str] = CIMultiDict()
    for some in headers:
        merged.update(some)
    return merged


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
            f"{url.scheme}_proxy: must be an http or https address such as http://proxy.example:3128; fix it"
        )
    return proxy


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose head has come; `content` may still be on its way."""

    status: int
    headers: Mapping[str, str]  # looked up without regard to case
    content: aiohttp.StreamReader


class Transport:
    """The connections to one address, without limits, cookies or a look at the environment: those are the lane's.

    Used inside a running event loop, as an asynchronous context manager. Raises what aiohttp's client raises, and
    HttpProcessingError for an answer that is no HTTP.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._timeout = aiohttp.ClientTimeout(sock_connect=min(CONNECT_TIMEOUT_S, address.timeout_s))
        self._connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=0, ttl_dns_cache=60, socket_factory=keepalive_socket
        )
        protocol = functools.partial(ResponseProtocol, loop=asyncio.get_running_loop())
        # aiohttp has no public way to choose the protocol.
        self._connector._factory = cast("functools.partial[ResponseHandler]", protocol)  # noqa: SLF001
        self.headers = address.headers

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the address, or what was set since."""
        return self._headers

    @headers.setter
    def headers(self, headers: Mapping[str, str]) -> None:
        """For every request that leaves from now on."""
        proxy = self.address.proxy
        self._headers = headers
        self._request = aiohttp.ClientRequest(
            "POST",
            self.address.url,
            headers=_merged(_HEADERS, headers),
            proxy=None if proxy is None else URL(proxy),
        )
        self._request.headers.pop("Content-Length", None)  # 0 where there is no body
        self._head: bytes | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connector.close()

    async def connect(self) -> Connection:
        """A connection for one exchange: `keep` it when the answer is read, `close` it after an error."""
        try:
            while True:
                connection = await self._connector.connect(self._request, traces=[], timeout=self._timeout)
                if connection.protocol is None or not connection.protocol.should_close:
                    return connection
                connection.close()  # it sent something unasked: that must not pass for an answer
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # Only a proxy is asked for anything here; nothing has reached the provider.
            raise aiohttp.ClientResponseError(self._request.request_info, (), message="it hung up") from error

    def keep(self, connection: Connection) -> None:
        """Gives it back for another exchange, unless part of this one is unread or unsent.

        A server may answer before it has read all of the request, and never read the rest.
        """
        transport = connection.transport
        if transport is not None and transport.get_write_buffer_size():
            connection.close()
        else:
            connection.release()

    async def post(self, connection: Connection, body: bytes) -> Response:
        """Sends `body` and waits for the head of the answer."""
        protocol, transport = cast("ResponseProtocol | None", connection.protocol), connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.begin()
        if self._head is None:  # a proxy's credentials are known only now
            self._head = _head(self._request)
        transport.writelines((self._head, b"%d\r\n\r\n" % len(body), body))
        message, content = await protocol.read()
        while message.code < 200:
            if message.code == _SWITCHING_PROTOCOLS:
                raise HttpProcessingError(message="it switches to another protocol")
            message, content = await protocol.read()
        return Response(message.code, message.headers, content)


def _head(request: aiohttp.ClientRequest) -> bytes:
    """All of a request that stands before its length."""
    through_proxy = request.proxy is not None and not request.is_ssl()
    target = str(request.url) if through_proxy else request.url.raw_path_qs
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {target} HTTP/1.1\r\n{headers}Content-Length: ".encode()
