"""A routing server in a thread, for synchronous clients."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchroute.run.engine import load_scorer
from batchroute.serve.door import make_door
from batchroute.serve.server import Running, ServeOptions, open_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.job.secrets import Secret
    from batchroute.job.spec import Job

STARTED_S = 30.0


@dataclass
class Served:
    """A running server, and what it said."""

    server: Running
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
    options = ServeOptions(environ=environ or {}, announce=lambda *_: None, say=said.append, port=0, **flags)
    opened = open_server(job, options, make_door("127.0.0.1", options.allow_hosts, key), load_scorer(job.router))
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
