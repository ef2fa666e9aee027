"""One request over real sockets: every way an exchange can fail, and who is to blame."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from yarl import URL

from batchroute.errors import UsageFault
from batchroute.job.secrets import LEAK_CHARS, Scrubber
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Address, Transport, api_url, proxy_for
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.server import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from batchroute.send.classify import Answer
    from batchroute.simulate.traffic import Stats

KEY = "sk-canary-0123456789abcdef"
MIB = 2**20


def body(prompt: str = "Why is the sky blue?", *, stream: bool = False) -> bytes:
    asked = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": prompt}]}
    return json.dumps({**asked, "stream": True} if stream else asked).encode()


async def ask(
    base_url: str,
    prompt: str = "Why is the sky blue?",
    *,
    timeout_s: float = 60.0,
    max_response_bytes: int = MIB,
    proxy: str | None = None,
    keep_bodies: bool = False,
    receive: Callable[[bytes], Awaitable[None]] | None = None,
) -> Answer:
    """One attempt through a session of its own."""
    address = Address(
        url=api_url(base_url, "chat/completions"),
        headers={"Authorization": f"Bearer {KEY}"},
        timeout_s=timeout_s,
        max_response_bytes=max_response_bytes,
        proxy=proxy,
    )
    async with Transport(address) as transport:
        endpoint = Endpoint(transport, Scrubber([KEY]), keep_bodies=keep_bodies)
        return await endpoint.send(body(prompt, stream=receive is not None), receive)


def asked_of_simulator(prompt: str, behaviour: Behaviour | None = None, **options: Any) -> tuple[Answer, Stats]:
    """The answer, and what the provider counted at its own door."""

    async def work() -> tuple[Answer, Stats]:
        async with start(behaviour or Behaviour(keep_requests=10)) as simulator:
            return await ask(simulator.url, prompt, **options), simulator.stats()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("fault", "verdict", "error_type", "words"),
    [
        ("reset", "transient", "connection", "the connection broke"),
        ("cut", "transient", "cut", "the answer ended early"),
        ("hang", "transient", "timeout", "no complete answer within timeout_s"),
        ("stall", "transient", "timeout", "no complete answer within timeout_s"),
        ("slow", "transient", "timeout", "no complete answer within timeout_s"),
        ("endless", "refused", "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("oversize", "refused", "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("gzip_bomb", "refused", "answer_too_large", "larger than limits.max_response_mb (1 MiB)"),
        ("html", "malformed", "malformed", "not a JSON object"),
        ("truncated", "malformed", "malformed", "not a JSON object"),
        ("empty", "malformed", "malformed", "not a JSON object"),
        ("no_choices", "malformed", "malformed", "no choices"),
        ("500", "transient", "http_500", "HTTP 500"),
        ("503", "transient", "http_503", "HTTP 503"),
        ("slow_down", "rate_limited", "rate_limit", "HTTP 503"),
        ("ok_server_error", "transient", "http_500", "server_error"),
        ("insufficient_quota", "fatal", "quota", "insufficient_quota"),
        ("307", "fatal", "redirect", "/elsewhere"),
    ],
)
def test_faults(fault: str, verdict: str, error_type: str, words: str) -> None:
    behaviour = Behaviour(slow_s=20.0, oversize_mb=3.0)
    timeout_s = 0.3 if error_type == "timeout" else 60.0
    answer, stats = asked_of_simulator(f"[[fault:{fault}]]", behaviour, timeout_s=timeout_s)
    assert (answer.verdict, answer.error_type) == (verdict, error_type)
    assert words in (answer.error or "")
    assert answer.completion is None or answer.completion.response is None
    assert stats.requests == 1, "nothing is sent again, no redirect followed"


@pytest.mark.parametrize("fault", ["content_type", "null_content", "lone_surrogate", "no_usage", "usage_nulls"])
def test_oddities_that_are_answers(fault: str) -> None:
    answer, _ = asked_of_simulator(f"[[fault:{fault}]]")
    assert answer.verdict == "ok"
    assert answer.completion is not None
    assert (answer.completion.response is None) == (fault == "null_content")
    assert (answer.usage is None) == (fault in {"no_usage", "usage_nulls"})


def test_a_good_answer_with_its_latency_and_no_body() -> None:
    answer, stats = asked_of_simulator("Hello", Behaviour(latency_s=0.2, keep_requests=1))
    assert (answer.verdict, answer.error, answer.body) == ("ok", None, None)
    assert 0.2 <= answer.latency_s < 60
    assert stats.by_route == {"POST /v1/chat/completions": 1}
    (request,) = stats.recorded
    assert request.body.encode() == body("Hello")
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"


def test_a_prompt_of_megabytes_is_sent_whole() -> None:
    prompt = "long " * MIB
    _, stats = asked_of_simulator(prompt, Behaviour(keep_requests=1))
    assert stats.recorded[0].body.encode() == body(prompt)


def test_the_whole_body_where_it_is_wanted() -> None:
    answer, _ = asked_of_simulator("Hello", keep_bodies=True)
    assert answer.body is not None
    assert answer.completion is not None
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == answer.completion.response


@pytest.mark.parametrize("fault", ["422", "context_length_exceeded"])
def test_what_a_refusal_said_where_it_is_wanted(fault: str) -> None:
    answer, _ = asked_of_simulator(f"[[fault:{fault}]]", keep_bodies=True)
    assert (answer.verdict, answer.status) == ("refused", 422 if fault == "422" else 400)
    assert "error" in json.loads(answer.body or "")


@dataclass
class Reader:
    """What came of a stream, piece by piece."""

    pieces: list[bytes] = field(default_factory=list)

    async def __call__(self, piece: bytes) -> None:
        self.pieces.append(piece)


def streamed(prompt: str = "Hello", behaviour: Behaviour | None = None, **options: Any) -> tuple[Answer, bytes]:
    reader = Reader()
    answer, _ = asked_of_simulator(prompt, behaviour, receive=reader, **options)
    return answer, b"".join(reader.pieces)


def test_a_stream_is_passed_on_to_its_end() -> None:
    answer, text = streamed()
    assert (answer.verdict, answer.status, answer.completion) == ("ok", 200, None)
    assert text.startswith(b"data: {")
    assert text.endswith(b"data: [DONE]\n\n")


def test_a_stream_is_passed_on_while_it_comes() -> None:
    """The provider takes a second, the client gives up after half of one: what came until then is there."""
    answer, text = streamed(behaviour=Behaviour(chunk_s=0.05, response_tokens=400), timeout_s=0.5)
    assert (answer.verdict, answer.error_type) == ("refused", "timeout")
    assert text.startswith(b"data: {")


@pytest.mark.parametrize(
    ("fault", "verdict", "error_type"),
    [("cut", "refused", "cut"), ("503", "transient", "http_503"), ("empty", "malformed", "malformed")],
)
def test_a_stream_that_goes_wrong_is_tried_again_only_before_it_began(
    fault: str, verdict: str, error_type: str
) -> None:
    answer, text = streamed(f"[[fault:{fault}]]")
    assert (answer.verdict, answer.error_type) == (verdict, error_type)
    assert bool(text) == (verdict == "refused")


def test_a_stream_without_end_is_cut() -> None:
    answer, text = streamed("[[fault:endless]]")
    assert (answer.verdict, answer.error_type) == ("refused", "answer_too_large")
    assert len(text) <= MIB


def test_an_answer_as_large_as_allowed_is_read() -> None:
    answer, _ = asked_of_simulator("[[fault:oversize]]", Behaviour(oversize_mb=1.0), max_response_bytes=2 * MIB)
    assert answer.verdict == "ok"


# --- keys


def leaks(answer: Answer) -> bool:
    return any(KEY[i : i + LEAK_CHARS] in repr(answer) for i in range(len(KEY) - LEAK_CHARS + 1))


def test_a_key_echoed_in_a_401_is_scrubbed() -> None:
    answer, _ = asked_of_simulator("Hello", Behaviour(api_key="another"))
    assert (answer.verdict, answer.error_type) == ("fatal", "invalid_key")
    assert "Incorrect API key provided: [secret]" in (answer.error or "")
    assert not leaks(answer)


@pytest.mark.parametrize("keep_bodies", [False, True])
def test_a_key_echoed_in_a_good_answer_is_scrubbed(keep_bodies: bool) -> None:
    async def work() -> Answer:
        async with page(ECHO) as seen:
            return await ask(seen.url, keep_bodies=keep_bodies)

    answer = asyncio.run(work())
    assert answer.verdict == "ok"
    assert answer.completion is not None
    assert answer.completion.response == "You are [secret]"
    assert not leaks(answer)


def test_an_address_does_not_show_its_headers() -> None:
    address = Address(URL("http://127.0.0.1/"), {"api-key": KEY}, 1.0, MIB, proxy=f"http://me:{KEY}@proxy")
    assert KEY not in repr(address)


# --- the way there


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://host/v1", "https://host/v1/chat/completions"),
        ("https://host/v1/", "https://host/v1/chat/completions"),
        ("https://host", "https://host/chat/completions"),
        (
            "https://host/openai/deployments/a%20b?api-version=2024-06-01",
            "https://host/openai/deployments/a%20b/chat/completions?api-version=2024-06-01",
        ),
    ],
)
def test_completions_url(base_url: str, url: str) -> None:
    assert str(api_url(base_url, "chat/completions")) == url


def test_connection_refused() -> None:
    async def work() -> tuple[Answer, int]:
        async with start(Behaviour()) as simulator:
            await simulator.refuse()
            return await ask(simulator.url), simulator.port

    answer, port = asyncio.run(work())
    assert (answer.verdict, answer.error_type, answer.unsent) == ("transient", "connect", True)
    assert answer.error == f"connection refused (127.0.0.1:{port})"


def test_unknown_host() -> None:
    answer = asyncio.run(ask("http://no-such-host.invalid/v1"))
    assert (answer.verdict, answer.error_type, answer.unsent) == ("transient", "connect", True)
    assert "no-such-host.invalid" in (answer.error or "")


@pytest.mark.parametrize("fault", ["reset", "cut", "500", "422"])
def test_what_reached_the_provider_may_be_billed(fault: str) -> None:
    answer, _ = asked_of_simulator(f"[[fault:{fault}]]")
    assert not answer.unsent
    assert answer.turned_away == (fault == "422")


@asynccontextmanager
async def babbler(said: bytes) -> AsyncIterator[str]:
    """A server that says the same bytes to whoever comes, then hangs up; its host and port."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"", "transient"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
        (b"HTTP/1.1 \xff\xfe OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n", "malformed"),
    ],
)
def test_what_is_no_http_is_tried_again_and_shows_no_query(said: bytes, verdict: str) -> None:
    async def work() -> Answer:
        async with babbler(said) as place:
            return await ask(f"http://{place}/v1?token=query-canary")

    answer = asyncio.run(work())
    assert answer.verdict == verdict
    assert answer.error
    assert "query-canary" not in answer.error


def test_a_proxy_that_turns_us_away_does_not_get_its_password_written_down() -> None:
    async def work() -> Answer:
        async with babbler(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n") as place:
            return await ask("https://provider.example/v1", proxy=f"http://me:proxy-canary@{place}")

    answer = asyncio.run(work())
    assert (answer.verdict, answer.error_type, answer.unsent) == ("transient", "connect", True)
    assert "Who are you" in (answer.error or "")
    assert "canary" not in (answer.error or "")


GOOD = {"choices": [{"message": {"content": "Hello"}}]}
ECHO = {"choices": [{"message": {"content": f"You are {KEY}"}, "finish_reason": "stop"}]}


@dataclass
class Seen:
    """A tiny server that says the same to everyone, and what it was asked."""

    url: str = ""
    targets: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def page(value: dict[str, Any]) -> AsyncIterator[Seen]:
    seen = Seen()

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.targets.append(request.raw_path)
        seen.authorizations.append(request.headers.get("Authorization"))
        return web.json_response(value)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield seen
    finally:
        await runner.cleanup()


def test_a_proxy_is_asked_for_the_whole_address() -> None:
    async def work() -> tuple[Answer, Seen]:
        async with page(GOOD) as seen:
            return await ask("http://provider.example/v1", proxy=seen.url), seen

    answer, seen = asyncio.run(work())
    assert answer.verdict == "ok"
    assert seen.targets == ["http://provider.example/v1/chat/completions"]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxy variables, to set some."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_without_a_scheme_is_asked_over_http(proxies: pytest.MonkeyPatch) -> None:
    proxies.setenv("https_proxy", "me:secret@proxy.example:3128")
    assert proxy_for(URL("https://provider.example/v1")) == "http://me:secret@proxy.example:3128"


@pytest.mark.parametrize("named", ["socks5://proxy.example:1080", "http://", "http://proxy.example:secret"])
def test_a_proxy_that_cannot_be_used_is_the_users_fault(proxies: pytest.MonkeyPatch, named: str) -> None:
    proxies.setenv("https_proxy", named)
    with pytest.raises(UsageFault, match="https_proxy: must be an http or https address") as fault:
        proxy_for(URL("https://provider.example/v1"))
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://provider.example/v1", "http://plain:1"),
        ("https://provider.example/v1", "http://tls:2"),
        ("https://inside.corp/v1", None),
        ("https://deep.inside.corp/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_proxies_come_from_the_usual_variables(proxies: pytest.MonkeyPatch, url: str, proxy: str | None) -> None:
    proxies.setenv("http_proxy", "http://plain:1")
    proxies.setenv("HTTPS_PROXY", "http://tls:2")
    proxies.setenv("no_proxy", "inside.corp,127.0.0.1")
    assert proxy_for(URL(url)) == proxy


def test_without_variables_there_is_no_proxy(proxies: pytest.MonkeyPatch) -> None:
    assert proxy_for(URL("https://provider.example/v1")) is None


@pytest.mark.usefixtures("proxies")
def test_only_the_address_names_a_proxy_or_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor .netrc changes what one request sends."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def work() -> tuple[Answer, Seen]:
        async with page(GOOD) as seen:
            return await ask(seen.url), seen

    answer, seen = asyncio.run(work())
    assert answer.verdict == "ok"
    assert seen.authorizations == [f"Bearer {KEY}"]


# --- errors of our own


@contextmanager
def no_file_handles_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_file_handles_is_not_the_endpoints_fault() -> None:
    async def work() -> None:
        async with start(Behaviour()) as simulator:
            with no_file_handles_left():
                await ask(simulator.url)

    with pytest.raises(OSError, match="Too many open files") as raised:
        asyncio.run(work())
    assert raised.value.errno == errno.EMFILE
