"""The simulated provider on a loopback port, within a running event loop or as a process of its own."""

from __future__ import annotations

import asyncio
import errno
import functools
import signal
import sys
from typing import TYPE_CHECKING, Self

import msgspec
import uvloop
from aiohttp import web

from batchroute.errors import UsageFault
from batchroute.simulate.delivery import deliver
from batchroute.simulate.provider import Provider
from batchroute.simulate.reply import error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.reply import Reply
    from batchroute.simulate.traffic import Stats

HOST = "127.0.0.1"
LARGEST_REQUEST = 256 * 2**20  # bytes: prompts of many megabytes are to be tried
BACKLOG = 16_384  # a lane opens all its connections at once
KEEPALIVE_S = 3600.0  # an idle connection is not closed under a client that is about to use it


class Simulator:
    """A running provider, an async context manager; `url` is what a job's `base_url` wants."""

    def __init__(self, provider: Provider, runner: web.ServerRunner, port: int) -> None:
        self._provider = provider
        self._runner = runner
        self.port = port
        self.url = f"http://{HOST}:{port}/v1"

    def stats(self) -> Stats:
        return self._provider.stats()

    def control(self, changes: dict[str, Any], reset: bool = False) -> None:
        """As `Provider.control`: changes settings while it runs."""
        self._provider.control(changes, reset)

    async def refuse(self) -> None:
        """Closes the port and resets what is still connected, until `listen`: an endpoint that is away."""
        self.control({"down": True})
        for site in list(self._runner.sites):
            await site.stop()

    async def listen(self) -> None:
        """Opens the port again after `refuse`."""
        self.control({"down": False})
        await _open(self._runner, self.port)

    async def aclose(self) -> None:
        """Stops at once; requests in flight are cut off."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def start(behaviour: Behaviour, port: int = 0) -> Simulator:
    """Starts a provider on the running loop, on 127.0.0.1 only; port 0 takes a free one.

    UsageFault where the port is taken or the behaviour names an unknown fault.
    """
    loop = asyncio.get_running_loop()
    provider = Provider(behaviour, loop.time())
    server = web.Server(
        functools.partial(_handle, provider, loop),
        request_factory=functools.partial(web.BaseRequest, loop=loop, client_max_size=LARGEST_REQUEST),
        handler_cancellation=True,  # a request in flight ends when its client hangs up
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
    )
    # Closing cuts off what is in flight, as a provider does that dies; nothing waits for a request that hangs.
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await _open(runner, port)
    return Simulator(provider, runner, runner.addresses[0][1])


async def _open(runner: web.ServerRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port, backlog=BACKLOG).start()
    except OSError as fault:
        if fault.errno != errno.EADDRINUSE:
            raise
        raise UsageFault(f"port {port} on {HOST} is taken; choose another, or 0 for a free one") from fault


async def _handle(
    provider: Provider, loop: asyncio.AbstractEventLoop, request: web.BaseRequest
) -> web.StreamResponse:
    route = f"{request.method} {request.path}"
    body = await request.read()
    if route in CONTROLS:
        return await deliver(request, CONTROLS[route](provider, body), provider.behaviour)
    reply = provider.receive(route, request.headers, body, loop.time())
    try:
        if reply.after_s:
            await asyncio.sleep(reply.after_s)
        return await deliver(request, reply, provider.behaviour)
    except ConnectionError:
        return web.Response()  # the client has gone; this is read by no one
    finally:
        provider.release()


def _health(provider: Provider, body: bytes) -> Reply:
    return json_reply({"status": "ok", "simulated": True})


def _stats(provider: Provider, body: bytes) -> Reply:
    return json_reply(provider.stats())


def _controlled(provider: Provider, body: bytes) -> Reply:
    """Settings as a JSON object, `reset` among them."""
    try:
        changes = msgspec.json.decode(body, type=dict[str, object])
        provider.control(changes, reset=bool(changes.pop("reset", False)))
    except (ValueError, UsageFault) as fault:
        return error_reply(400, "invalid_request_error", str(fault))
    return json_reply({"ok": True})


# Requests to the simulation itself: answered even while the provider is down, and counted nowhere.
CONTROLS: Mapping[str, Callable[[Provider, bytes], Reply]] = {
    "GET /health": _health,
    "GET /stats": _stats,
    "POST /control": _controlled,
}


def serve(behaviour: Behaviour, port: int = 0, refuse: tuple[float, float] | None = None) -> None:
    """Runs a provider until SIGINT or SIGTERM; its first line on stdout is `{"port": N}`.

    `refuse` is an outage: after so many seconds it takes no connections, for so many seconds. How many connections
    it can take is the process's limit of open files.
    """
    uvloop.run(_serve(behaviour, port, refuse))


async def _serve(behaviour: Behaviour, port: int, refuse: tuple[float, float] | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with await start(behaviour, port) as simulator:
        sys.stdout.write(f'{{"port": {simulator.port}}}\n')
        sys.stdout.flush()
        outage = asyncio.create_task(_outage(simulator, *refuse)) if refuse else None
        await stop.wait()
        if outage:
            outage.cancel()


async def _outage(simulator: Simulator, after_s: float, for_s: float) -> None:
    await asyncio.sleep(after_s)
    await simulator.refuse()
    await asyncio.sleep(for_s)
    await simulator.listen()
