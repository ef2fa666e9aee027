"""What servers and the boxes before them send beside plain answers: read, malformed, or cut; never a stall.

Each runs against a server by hand, which writes its pieces one by one, as a network may deliver them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from batchroute.job.secrets import Scrubber
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Address, Transport, api_url
from upstream import completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from batchroute.send.classify import Answer

    Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

KIB, MIB = 1 << 10, 1 << 20
A_MOMENT_S = 0.02
STALLED_S = 20.0  # a stall ends in a timeout, which is none of the answers expected here
LINE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = json.dumps(completion("fine")).encode()
SIZED = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
END = b"0\r\n\r\n"
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
PROMPT = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()


def fields(number: int, size: int = 1) -> bytes:
    return b"".join(b"x-h-%d: %b\r\n" % (count, b"a" * size) for count in range(number))


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[str]:
    async with await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 26) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def scripted(*pieces: bytes) -> Handle:
    """Answers each connection's first request with `pieces`, then hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(PROMPT)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(A_MOMENT_S if len(pieces) < 10 else 0)
            except (ConnectionError, asyncio.CancelledError):
                return

    return handle


def address_of(base_url: str, proxy: str | None = None) -> Address:
    return Address(api_url(base_url, "chat/completions"), {}, STALLED_S, MIB, proxy)


async def asked(transport: Transport, body: bytes = PROMPT) -> Answer:
    return await Endpoint(transport, Scrubber([])).send(body)


def answer_to(*pieces: bytes) -> Answer:
    async def work() -> Answer:
        async with serving(scripted(*pieces)) as base_url, Transport(address_of(base_url)) as transport:
            return await asked(transport)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


@pytest.mark.parametrize(
    "pieces",
    [
        (LINE + SIZED + BODY,),
        (LINE, SIZED, BODY[:9], BODY[9:]),
        (LINE + b"x-debug: " + b"a" * 40 * KIB + b"\r\n" + SIZED + BODY,),
        (LINE + b"x-debug: " + b"a" * 30 * KIB, b"a" * 30 * KIB + b"\r\n" + SIZED + BODY),
        (LINE + fields(200) + SIZED + BODY,),
        (LINE + fields(5_000) + SIZED + BODY,),
        (LINE + b"Content-Type: text/plain\r\n" + SIZED + BODY,),
        (LINE + b"x-note: caf\xe9\r\n" + SIZED + BODY,),
        (LINE.replace(b" OK", b"") + SIZED + BODY,),
        ((LINE + SIZED).replace(b"\r\n", b"\n") + BODY,),
        (CHUNKED + CHUNK + END,),
        (CHUNKED, CHUNK[:9], CHUNK[9:], END),
        (CHUNKED, *(b"1\r\n%c\r\n" % byte for byte in BODY), END),
        (CHUNKED + CHUNK + b"0\r\nx-sum: 1\r\n\r\n",),
        (CHUNKED + CHUNK, b"0\r\n", fields(100), b"\r\n"),
        (CHUNKED + CHUNK.replace(b"\r\n", b";name=value\r\n", 1) + END,),
        (CHUNKED, CHUNK + END + b"garbage"),
        (CHUNKED + CHUNK + END + b"garbage",),
        (LINE + SIZED + BODY + b"extra",),
        (INTERIM + LINE + SIZED + BODY,),
        (INTERIM, INTERIM * 600, LINE + SIZED + BODY),
        (b"\r\n\r\n" + LINE + SIZED + BODY,),
        (LINE + b"Connection: close\r\n\r\n", BODY),
        (LINE + SIZED + BODY, b"\x00 garbage"),
        (LINE + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(BODY),),
        (LINE + b"Content-Encoding: br\r\n" + SIZED + BODY,),
    ],
)
def test_an_odd_answer_is_an_answer(pieces: tuple[bytes, ...]) -> None:
    answer = answer_to(*pieces)
    assert (answer.verdict, answer.error) == ("ok", None)
    assert answer.completion is not None
    assert answer.completion.response == "fine"


@pytest.mark.parametrize(
    "pieces",
    [
        # heads
        (LINE + b"x-debug: " + b"a" * 70 * KIB + b"\r\n" + SIZED + BODY,),
        (LINE + b"x-debug: " + b"a" * 40 * KIB, b"a" * 30 * KIB + b"\r\n" + SIZED + BODY),
        (LINE + fields(20_000) + SIZED + BODY,),
        (LINE, *(fields(64, size=KIB) for _ in range(80))),
        (LINE + b"X Bad: 1\r\n" + SIZED + BODY,),
        (LINE + b": 1\r\n" + SIZED + BODY,),
        (LINE + b"x: a\0b\r\n" + SIZED + BODY,),
        (LINE + b"Content-Length: 5\r\n" + SIZED + BODY,),
        (LINE + b"Content-Length: -5\r\n\r\n" + BODY,),
        (LINE + b"Content-Length: \r\n\r\n" + BODY,),
        (LINE + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n" + BODY,),
        (LINE + b"Transfer-Encoding: chunked\r\n" + SIZED + CHUNK + END,),
        (BODY,),
        (b"<html>Wi-Fi: please sign in</html>",),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"\x15\x03\x01\x00\x02\x02\x46",),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",),
        (b"HTTP/1.1 OK\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",),
        (INTERIM, *(INTERIM * 2_000 for _ in range(50))),
        # bodies
        (CHUNKED + b"zz\r\n",),
        (CHUNKED, CHUNK, b"zz\r\n"),
        (CHUNKED, b'5\r\n{"choices\r\n', END),
        (CHUNKED + CHUNK, b"0\r\n", *(fields(64, size=KIB) for _ in range(80))),
        (CHUNKED, b"4;", *(b"a" * 64 * KIB for _ in range(80))),
    ],
)
def test_what_cannot_be_parsed_is_malformed_at_once(pieces: tuple[bytes, ...]) -> None:
    answer = answer_to(*pieces)
    assert (answer.verdict, answer.error_type) == ("malformed", "malformed")
    assert (answer.error or "").startswith("the answer cannot be read as HTTP: ")
    assert len(answer.error or "") < 1_100
    assert not answer.unsent, "it may be billed"


@pytest.mark.parametrize(
    ("pieces", "error_type"),
    [
        ((), "reset"),
        ((b"HTTP/1.1 20",), "reset"),
        ((LINE + b"x-canary: 1\r\nContent-Le",), "reset"),
        ((INTERIM,), "reset"),
        ((LINE + b"Content-Length: 10000\r\n\r\n" + BODY,), "cut"),
        ((LINE + SIZED, BODY[:-1]), "cut"),
        ((CHUNKED + CHUNK,), "cut"),
        ((CHUNKED, CHUNK[:-30]), "cut"),
    ],
)
def test_a_connection_that_is_cut_is_tried_again(pieces: tuple[bytes, ...], error_type: str) -> None:
    answer = answer_to(*pieces)
    assert (answer.verdict, answer.error_type) == ("transient", error_type)
    assert not any(word in (answer.error or "") for word in ("canary", "<", "message="))


def test_a_message_with_bytes_that_are_no_text_can_be_written_down() -> None:
    answer = answer_to(b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n")
    assert answer.error_type == "redirect"
    assert "/caf" in (answer.error or "").encode().decode()


PIECES = [LINE, SIZED, BODY, CHUNKED, CHUNK, END, INTERIM, b"\r\n", b"zz\r\n", b"\0", fields(3), BODY[:20]]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=40), max_size=6))
def test_no_answer_stalls_or_raises(pieces: list[bytes]) -> None:
    """Whatever is said before the server hangs up."""
    answer = answer_to(*pieces)
    assert answer.verdict in {"ok", "malformed", "transient"}
    assert answer.error_type != "timeout"


READ = [
    *("Retry-After", "retry-after-ms", "Date", "Location", "Content-Type", "Content-Encoding", "x-request-id"),
    *("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-tokens"),
]
VALUES = st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\0"))


@settings(max_examples=60)
@given(
    st.sampled_from([b"200 OK", b"302 Found", b"400 Bad", b"429 Slow down", b"503 Busy"]),
    st.lists(st.tuples(st.sampled_from(READ), VALUES | st.sampled_from([b"0", b"1", b"gzip"])), max_size=6),
)
def test_no_header_that_is_read_raises_or_cannot_be_written_down(
    status: bytes, headers: list[tuple[str, bytes]]
) -> None:
    lines = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in headers)
    answer = answer_to(b"HTTP/1.1 " + status + b"\r\n" + lines + SIZED + BODY)
    assert msgspec.json.encode(answer)


# --- streams

EVENTS = b'data: {"choices": []}\n\n' * 50 + b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("encoding", "body", "verdict"),
    [
        (b"identity", EVENTS, "ok"),
        (b"gzip", gzip.compress(EVENTS, mtime=0), "ok"),
        (b"deflate", zlib.compress(EVENTS), "ok"),
        (b"gzip", EVENTS, "malformed"),
        (b"br", EVENTS, "malformed"),
        (b"gzip", gzip.compress(b"data: a\n\n" * 1_000_000, mtime=0), "refused"),
        (b"gzip", b"", "malformed"),
    ],
)
def test_a_stream_is_passed_on_without_its_encoding(encoding: bytes, body: bytes, verdict: str) -> None:
    passed: list[bytes] = []

    async def receive(piece: bytes) -> None:
        passed.append(piece)

    async def work() -> Answer:
        head = STREAM + b"Content-Encoding: " + encoding + b"\r\n\r\n"
        handle = scripted(head, body[:20], body[20:])
        async with serving(handle) as base_url, Transport(address_of(base_url)) as transport:
            return await Endpoint(transport, Scrubber([])).send(PROMPT, receive)

    assert asyncio.run(work()).verdict == verdict
    assert (b"".join(passed) == EVENTS) == (verdict == "ok")
    assert len(b"".join(passed)) <= MIB


# --- connections


def test_an_answer_before_its_request_is_read_holds_up_no_other() -> None:
    """The server reads no more of the first request: what is left of it must not stand before the second one."""

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LINE + SIZED + BODY)
        await gone.wait()
        writer.close()

    async def work() -> list[str]:
        async with serving(hasty) as base_url, Transport(address_of(base_url)) as transport:
            large = json.dumps({"messages": [{"role": "user", "content": "x" * (32 << 20)}]}).encode()
            answers = [await asked(transport, large), await asked(transport)]
            gone.set()
            return [answer.verdict for answer in answers]

    gone = asyncio.Event()
    assert asyncio.run(work()) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "it hung up"),
        (b"HTTP/1.1 20", "it hung up"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Bad status line"),
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "Who are you"),
        (b"HTTP/1.1 502 caf\xe9\r\nContent-Length: 0\r\n\r\n", "caf"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 20 * KIB + b"\r\n\r\n", "more than"),
    ],
)
def test_a_proxy_that_gives_no_connection_sent_nothing(said: bytes, words: str) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)

    async def work() -> Answer:
        async with serving(proxy) as base_url:
            address = address_of("https://provider.example/v1", str(URL(base_url).origin()))
            async with Transport(address) as transport:
                return await asked(transport)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answer = runner.run(work())
    assert (answer.verdict, answer.error_type, answer.unsent) == ("transient", "connect", True)
    assert words in (answer.error or "").encode().decode()


class Peek(Transport):
    """A transport that shows the socket of its connection."""

    async def socket(self) -> socket.socket:
        connection = await self.connect()
        transport = connection.transport
        assert transport is not None
        found: socket.socket = transport.get_extra_info("socket")
        self.keep(connection)
        return found


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_silent_connection_is_probed_within_a_minute(
    new_loop: Callable[[], asyncio.AbstractEventLoop], by_proxy: bool
) -> None:
    async def work() -> list[int]:
        async with serving(scripted()) as base_url:
            proxy = str(URL(base_url).origin()) if by_proxy else None
            address = address_of("http://provider.example/v1" if by_proxy else base_url, proxy)
            async with Peek(address) as transport:
                opened = await transport.socket()
                options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
                options += [(socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", socket.TCP_KEEPINTVL))]
                return [opened.getsockopt(*option) for option in options]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        on, idle_s = runner.run(work())
    assert on
    assert 0 < idle_s <= 60
