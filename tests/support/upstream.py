"""A provider that answers as a test says, on a loopback port: what `simulate` has no reason to do."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Say = Callable[[web.BaseRequest, dict[str, Any]], Awaitable[web.StreamResponse]]

STARTED_S = 60.0


@dataclass
class Upstream:
    """`seen` holds every request as (headers, body's bytes)."""

    url: str = ""
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)  # a client that hung up before its answer

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.seen]


@contextmanager
def upstream(say: Say) -> Iterator[Upstream]:
    """In a thread of its own, so that the test can block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
    thread.start()
    seen = Upstream()
    try:
        runner = asyncio.run_coroutine_threadsafe(_start(seen, say), loop).result(STARTED_S)
        try:
            yield seen
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(STARTED_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTED_S)
        loop.close()


async def _start(seen: Upstream, say: Say) -> web.ServerRunner:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        seen.seen.append((dict(request.headers), body))
        try:
            return await say(request, json.loads(body))
        except asyncio.CancelledError:
            seen.gone.set()
            raise

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    return runner


def completion(content: str | None = "Hello", **message: Any) -> dict[str, Any]:
    """A whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_795_000_000, "model": "served-model"}
    return {**head, "choices": [choice], "usage": usage}


async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
    """A plain good answer to anything."""
    return web.json_response(completion())
