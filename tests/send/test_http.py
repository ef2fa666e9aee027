"""Connections that are kept: each answer goes to who asked, whatever the exchange before it left behind."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme
import uvloop
from yarl import URL

from batchroute.job.secrets import EndpointSecrets, Scrubber, Secret
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Address, Transport, api_url, request_headers
from upstream import completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from batchroute.job.endpoint import EnvRef
    from batchroute.send.classify import Answer

    Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
MIB = 2**20
A_MOMENT_S = 0.1
SLOWER_THAN_WAITED_S = 4.0
WAITED_S = 1.0


def body(prompt: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode()


def address_of(base_url: str, proxy: str | None = None, *, timeout_s: float = 60.0) -> Address:
    url = api_url(base_url, "chat/completions")
    return Address(url, {"Authorization": "Bearer key"}, timeout_s, MIB, proxy)


class Echo:
    """An HTTP server by hand: answers with the prompt, in the manner that the prompt's first word asks for."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with closing(writer):
            while head := await head_of(reader):
                self.heads.append(head)
                manner = await self._answer(head, reader, writer)
                if manner in {"closing", "until_eof", "cut"}:
                    return

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        asked = await reader.readexactly(length_in(head))
        prompt = json.loads(asked)["messages"][0]["content"]
        manner, _, _ = prompt.partition(" ")
        said = json.dumps(completion(prompt)).encode()
        sized = b"Content-Length: %d\r\n\r\n" % len(said)
        if manner == "late":
            await asyncio.sleep(SLOWER_THAN_WAITED_S)
        if manner == "hints":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        if manner == "large":
            said = json.dumps(completion("x" * 2 * MIB)).encode()
            sized = b"Content-Length: %d\r\n\r\n" % len(said)
        ways = {
            "until_eof": b"Connection: close\r\n\r\n" + said,
            "closing": b"Connection: close\r\n" + sized + said,
            "cut": sized + said[:-1],
            "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(said) + said + b"\r\n0\r\n\r\n",
            "more": sized + said + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        }
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + ways.get(manner, sized + said))
        if manner == "twice":
            await asyncio.sleep(A_MOMENT_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + sized + said)
        return str(manner)


async def head_of(reader: asyncio.StreamReader) -> str:
    """Empty where the client has hung up."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""


def length_in(head: str) -> int:
    (line,) = (line for line in head.splitlines() if line.startswith("Content-Length: "))
    return int(line.rpartition(" ")[2])


@asynccontextmanager
async def serving(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """`handle` for every connection; the address it is at."""
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls) as server:
        scheme = "https" if tls else "http"
        yield f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"


def answers(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    prompts: list[str],
    *,
    timeout_s: float = 60.0,
    pause_s: float = 0.0,
) -> list[Answer]:
    """Those to prompts sent one after another over one transport, to an Echo."""

    async def work() -> list[Answer]:
        async with serving(Echo()) as base_url, Transport(address_of(base_url, timeout_s=timeout_s)) as transport:
            endpoint = Endpoint(transport, Scrubber([]))
            found = []
            for prompt in prompts:
                found.append(await endpoint.send(body(prompt)))
                await asyncio.sleep(pause_s)
            return found

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work())


def said(answer: Answer) -> str | None:
    return answer.completion.response if answer.completion else answer.error_type


@LOOPS
@pytest.mark.parametrize(
    ("first", "heard"),
    [
        ("plain", "plain 1"),
        ("chunked", "chunked 1"),
        ("hints", "hints 1"),
        ("closing", "closing 1"),
        ("until_eof", "until_eof 1"),
        ("more", "more 1"),
        ("cut", "cut"),
        ("large", "answer_too_large"),
    ],
)
def test_the_next_answer_is_its_own(
    new_loop: Callable[[], asyncio.AbstractEventLoop], first: str, heard: str
) -> None:
    found = answers(new_loop, [f"{first} 1", "plain 2", f"{first} 3", "plain 4"])
    assert [said(answer) for answer in found] == [heard, "plain 2", heard.replace("1", "3"), "plain 4"]


@LOOPS
def test_an_answer_that_came_too_late_is_nobody_elses(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    found = answers(new_loop, ["late 1", "plain 2", "late 3", "plain 4"], timeout_s=WAITED_S)
    assert [said(answer) for answer in found] == ["timeout", "plain 2", "timeout", "plain 4"]


@LOOPS
def test_what_a_server_says_unasked_is_no_answer(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    found = answers(new_loop, ["twice 1", "plain 2", "twice 3", "plain 4"], pause_s=3 * A_MOMENT_S)
    assert [said(answer) for answer in found] == ["twice 1", "plain 2", "twice 3", "plain 4"]


@LOOPS
def test_a_connection_is_kept(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> Echo:
        echo = Echo()
        async with serving(echo) as base_url, Transport(address_of(base_url)) as transport:
            endpoint = Endpoint(transport, Scrubber([]))
            for number in range(20):
                prompt = f"{number} " + "é" * number * 4_000  # larger than what a socket takes at once, too
                assert said(await endpoint.send(body(prompt))) == prompt
        return echo

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(work()).connections == 1


def test_what_a_request_says() -> None:
    async def work() -> str:
        echo = Echo()
        async with serving(echo) as base_url, Transport(address_of(f"{base_url}/v1?version=2")) as transport:
            await Endpoint(transport, Scrubber([])).send(body("plain"))
        return echo.heads[0]

    line, *headers = asyncio.run(work()).rstrip().split("\r\n")
    assert line == "POST /v1/chat/completions?version=2 HTTP/1.1"
    host, *others = sorted(headers, key=lambda header: not header.startswith("Host: localhost:"))
    assert host.startswith("Host: localhost:")
    assert sorted(others) == [
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Authorization: Bearer key",
        f"Content-Length: {len(body('plain'))}",
        "Content-Type: application/json",
        "User-Agent: batchroute",
    ]


def test_a_proxy_is_told_who_we_are_and_the_provider_is_not() -> None:
    async def work() -> str:
        echo = Echo()
        async with serving(echo) as proxy:
            named = str(URL(proxy).with_user("me").with_password("secret"))
            async with Transport(address_of("http://provider.example/v1", named)) as transport:
                assert (await Endpoint(transport, Scrubber([])).send(body("plain"))).verdict == "ok"
        return echo.heads[0]

    head = asyncio.run(work())
    assert head.startswith("POST http://provider.example/v1/chat/completions HTTP/1.1\r\n")
    assert "\r\nHost: provider.example\r\n" in head
    assert "\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head


def test_a_header_is_sent_once_in_whatever_case_the_job_writes_it() -> None:
    plain: dict[str, str | EnvRef] = {
        "user-agent": "ours/1",
        "content-type": "application/json; v=2",
        "X-Team": "a",
    }
    secrets = EndpointSecrets(Secret("key"), {"x-team": Secret("b"), "authorization": Secret("Bearer old")})

    async def work() -> str:
        async with serving(echo := Echo()) as base_url:
            address = replace(address_of(base_url), headers=request_headers(secrets, None, plain))
            async with Transport(address) as transport:
                assert (await Endpoint(transport, Scrubber([])).send(body("plain"))).verdict == "ok"
        return echo.heads[0]

    head = asyncio.run(work())
    sent = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
    assert len({name.lower() for name, _, _ in sent}) == len(sent), head
    found = {name.lower(): value for name, _, value in sent}
    assert (found["user-agent"], found["content-type"]) == ("ours/1", "application/json; v=2")
    assert (found["x-team"], found["authorization"]) == ("b", "Bearer key")


# --- TLS: in a process of its own, because trust is read once

ASK = """
import sys
from batchroute.send.endpoint import Endpoint
from batchroute.run.process import run_loop
from batchroute.job.secrets import Scrubber
from test_http import address_of, body, said
from batchroute.send.http import Transport, proxy_for

async def work(base_url):
    address = address_of(base_url)
    address = address_of(base_url, proxy_for(address.url))
    async with Transport(address) as transport:
        endpoint = Endpoint(transport, Scrubber([]))
        print(*[said(await endpoint.send(body(f"plain {number}"))) for number in range(3)], sep=", ")

run_loop(work(sys.argv[1]))
"""


class Tunnel:
    """A proxy that knows CONNECT alone."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        self.heads.append(head)
        host, _, port = head.split(" ")[1].rpartition(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, to_writer))
            group.create_task(pump(to_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while piece := await reader.read(1 << 16):
            writer.write(piece)


async def asked_by_tls(base_url: str, trusted: Path | None, proxy: str | None = None) -> str:
    """What another process hears to three questions."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    if trusted:
        environ["SSL_CERT_FILE"] = str(trusted)
    if proxy:
        environ["https_proxy"] = proxy
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK, base_url, env=environ, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip()


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server at localhost shows, and the file of whoever vouches for it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return context, trusted


def test_tls_where_the_certificate_is_trusted_and_where_not(tmp_path: Path) -> None:
    context, trusted = certified(tmp_path)

    async def work() -> tuple[str, str]:
        async with serving(Echo(), context) as base_url:
            return await asked_by_tls(base_url, trusted), await asked_by_tls(base_url, None)

    assert asyncio.run(work()) == ("plain 0, plain 1, plain 2", "certificate, certificate, certificate")


def test_tls_through_a_proxy(tmp_path: Path) -> None:
    context, trusted = certified(tmp_path)

    async def work() -> tuple[str, Tunnel, Echo]:
        echo, tunnel = Echo(), Tunnel()
        async with serving(echo, context) as base_url, serving(tunnel) as proxy:
            named = str(URL(proxy).with_user("me").with_password("secret"))
            return await asked_by_tls(base_url, trusted, named), tunnel, echo

    heard, tunnel, echo = asyncio.run(work())
    assert heard == "plain 0, plain 1, plain 2"
    (head,) = tunnel.heads  # one connection for all three
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in head
    assert "Bearer key" not in head
    assert all("Proxy-Authorization" not in head for head in echo.heads)
    assert all(head.startswith("POST /chat/completions HTTP/1.1\r\n") for head in echo.heads)
