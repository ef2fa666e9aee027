"""A routing server, in a thread or as a process, and its clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai

import jobs
from batchroute.score.router import load_scorer
from batchroute.serve.access import access_policy
from batchroute.serve.server import RunningServer, ServeOptions, open_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchroute.job.secrets import Secret
    from batchroute.job.spec import Job

STARTED_S = 60.0
REACHED_S = 20.0

KEY = "sk-canary-8f3kQ71xZpL0vB6n"
LONG = "x" * 2000  # goes strong by the length router at 0.5, which anything short does not
SHORT = "Hi"


@dataclass
class Served:
    """A running server, and what it said."""

    server: RunningServer
    loop: asyncio.AbstractEventLoop
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"


@contextmanager
def serving(
    job: Job, environ: Mapping[str, str] | None = None, key: Secret | None = None, **flags: Any
) -> Iterator[Served]:
    """Serves until the end of the block; what is then under way is awaited as at a signal."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server", daemon=True)
    thread.start()
    stack = AsyncExitStack()
    said: list[str] = []
    options = ServeOptions(environ=environ or {}, announce=lambda *_: None, notify=said.append, port=0, **flags)
    opened = open_server(
        job, options, access_policy("127.0.0.1", options.allow_hosts, key), load_scorer(job.router)
    )
    try:
        server = asyncio.run_coroutine_threadsafe(stack.enter_async_context(opened), loop).result(STARTED_S)
        try:
            yield Served(server, loop, said)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(STARTED_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTED_S)
        loop.close()


@contextmanager
def serve(
    folder: Path, strong_url: str, weak_url: str, changes: dict[str, Any] | None = None, **options: Any
) -> Iterator[Served]:
    urls = {"endpoints.strong.base_url": strong_url, "endpoints.weak.base_url": weak_url}
    with serving(
        jobs.job_of(folder / "x.jsonl", folder / "run", {**urls, **(changes or {})}), **options
    ) as served:
        yield served


@contextmanager
def asking(
    folder: Path, url: str, changes: dict[str, Any] | None = None
) -> Iterator[tuple[Served, openai.OpenAI]]:
    """A server with one provider behind both sides, and a client of it."""
    with serve(folder, url, url, changes) as served, client(served) as ask:
        yield served, ask


def client(served: Served, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.url, api_key="anything", max_retries=0, **options)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def headers_of(response: Any) -> dict[str, str]:
    start = "x-batchroute-"
    return {name.removeprefix(start): text for name, text in response.headers.items() if name.startswith(start)}


def post(
    served: Served, body: bytes, path: str = "/v1/chat/completions", method: str = "POST", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Content-Type": "application/json", **given})
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]  # read before the connection goes
    connection.close()
    return response


def error_in(response: http.client.HTTPResponse) -> dict[str, Any]:
    """The error object of an answer, which has OpenAI's shape."""
    error: dict[str, Any] = json.loads(response.body)["error"]  # type: ignore[attr-defined]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + REACHED_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]


@contextmanager
def server_process(job: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`batchroute serve`, and the address it printed."""
    command = [*COMMAND, "serve", str(job), "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            yield process, first["base_url"]
        finally:
            process.kill()


def write_job(folder: Path, url: str, drain_s: float = 20) -> Path:
    models = {"endpoints.strong.model": "big-model", "endpoints.weak.model": "small-model"}
    return jobs.write_job(folder, models, jobs.on_both("base_url", url), {"limits.drain_s": drain_s})
