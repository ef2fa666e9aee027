"""Servers for as long as a block lasts, in a thread with an event loop of its own: a fake provider, a router.

Knows no requests; what the servers do is said in simulate and serve.
"""
# ruff: noqa: PLC0415  # a provider needs no router, and a router no provider

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchroute.python.jobs import job_for
from batchroute.show.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchroute.job.spec import Job
    from batchroute.python.jobs import StrPath
    from batchroute.simulate.server import Simulator
    from batchroute.simulate.traffic import Stats

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class SimulatedProvider:
    """A fake provider at work; `url` is what a job's base_url wants."""

    url: str
    port: int
    _simulator: Simulator
    _loop: asyncio.AbstractEventLoop

    def stats(self) -> Stats:
        """What it was asked and what it billed so far."""

        async def there() -> Stats:
            return self._simulator.stats()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result()


@contextmanager
def simulate(*, port: int = 0, **behaviour: Any) -> Iterator[SimulatedProvider]:
    """A fake OpenAI-compatible provider on loopback, until the block ends; port 0 takes a free one.

        with br.simulate(latency_s=0.2, faults={"500": 0.02}) as provider:
            br.run(df, prompt="text", base_url=provider.url, ...)

    `behaviour` is what `batchroute simulate --help` lists, with underscores. UsageFault for what it does not know.
    """
    from batchroute.errors import UsageFault
    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.server import start

    try:
        wanted = Behaviour(**behaviour)
    except TypeError as error:
        raise UsageFault(f"a simulated provider has no such setting ({error})") from error
    with _hosted(start(wanted, port)) as (simulator, loop):
        yield SimulatedProvider(simulator.url, simulator.port, simulator, loop)


@dataclass(frozen=True, slots=True)
class RoutingServer:
    """A routing server at work; `base_url` is what an OpenAI client wants."""

    base_url: str
    port: int


@contextmanager
def serve(
    job: Job | StrPath,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key_env: str | None = None,
    allow_hosts: Sequence[str] = (),
    state: StrPath | None = None,
    batch_share: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[RoutingServer]:
    """A job's two endpoints as one OpenAI-compatible API, until the block ends; port 0 takes a free one.

        with br.serve("nightly.toml") as server:
            openai.OpenAI(base_url=server.base_url, api_key="any").chat.completions.create(model="router", ...)

    At the end requests under way are awaited up to limits.drain_s. UsageFault where the job cannot be served.
    """
    from batchroute.run.kept import served_job
    from batchroute.serve.server import ServeOptions, open_server, prepare

    options = ServeOptions(
        environ=os.environ,
        announce=lambda _host, _port: None,
        notify=log.warning,
        host=host,
        port=port,
        api_key_env=api_key_env,
        allow_hosts=tuple(allow_hosts),
        state=None if state is None else Path(state),
        batch_share=batch_share,
    )
    loaded = served_job(job_for(job, None, settings, variables, {}, require_keys=True))
    with _hosted(open_server(loaded, options, *prepare(loaded, options))) as (server, _):
        shown = f"[{host}]" if ":" in host else host
        yield RoutingServer(f"http://{shown}:{server.port}/v1", server.port)


@contextmanager
def _hosted(
    opening: AbstractAsyncContextManager[Value],
) -> Iterator[tuple[Value, asyncio.AbstractEventLoop]]:
    """What an asynchronous context gives, which lives in a thread and a loop of its own until the block ends."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever, name="batchroute", daemon=True)
    thread.start()
    try:
        entered = asyncio.run_coroutine_threadsafe(stack.enter_async_context(opening), loop).result()
        try:
            yield entered, loop
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
