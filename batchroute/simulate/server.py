"""The simulated provider on a loopback port, within a running event loop or as a process of its own.

Puts its replies on the wire, in one piece or badly, and knows nothing of why.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import signal
import socket
import struct
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import uvloop
from aiohttp import web

from batchroute.errors import UsageFault
from batchroute.simulate.answer import SimulatedError, json_reply
from batchroute.simulate.openai import openai_error
from batchroute.simulate.provider import Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Any, TypeAlias

    from batchroute.simulate.answer import Delivery, Reply
    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.traffic import Stats

    Deliver: TypeAlias = Callable[[web.BaseRequest, Reply, Behaviour], Awaitable[web.StreamResponse]]

PIECES = 20
FOREVER_S = 1e6
PADDING = b" " * 65536  # white space is JSON so far: only a cap on the size can end it
HOST = "127.0.0.1"
LARGEST_REQUEST = 256 * 2**20  # bytes: prompts of many megabytes are to be tried
BACKLOG = 16_384  # a lane opens all its connections at once
KEEPALIVE_S = 3600.0  # an idle connection is not closed under a client that is about to use it


async def deliver(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """Sends the reply as its `delivery` says; returns when it is sent, or the client has gone away."""
    return await DELIVERIES[reply.delivery](request, reply, behaviour)


async def _whole(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


async def _events(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """Each event by itself, `chunk_s` apart."""
    response = await _begun(request, reply, None)
    for event in reply.body.split(b"\n\n")[:-1]:
        await response.write(event + b"\n\n")
        if behaviour.chunk_s:
            await asyncio.sleep(behaviour.chunk_s)
    return response


async def _reset(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """A TCP reset in place of an answer."""
    if request.transport is not None:
        # Lingering for zero seconds is what makes the kernel send RST instead of an orderly end.
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        request.transport.abort()
    return web.Response()


async def _cut(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """Half of the promised body, then the connection ends."""
    response = await _begun(request, reply, len(reply.body))
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _stall(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """Half of the promised body, then silence until the client gives up."""
    response = await _begun(request, reply, len(reply.body))
    await response.write(reply.body[: len(reply.body) // 2])
    await asyncio.sleep(FOREVER_S)
    return response


async def _hang(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """Silence until the client gives up."""
    await asyncio.sleep(FOREVER_S)
    return web.Response()


async def _slow(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """The whole body in small pieces, over `slow_s`."""
    response = await _begun(request, reply, len(reply.body))
    size = len(reply.body) // PIECES + 1
    for start in range(0, len(reply.body), size):
        await asyncio.sleep(behaviour.slow_s / PIECES)
        await response.write(reply.body[start : start + size])
    return response


async def _endless(request: web.BaseRequest, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    """The body, then padding as fast as the client takes it."""
    response = await _begun(request, reply, None)
    await response.write(reply.body)
    while True:
        await response.write(PADDING)
        await asyncio.sleep(0)  # a client in the same loop must get its turn to stop this


async def _begun(request: web.BaseRequest, reply: Reply, length: int | None) -> web.StreamResponse:
    headers = {"Content-Type": reply.content_type, **reply.headers}
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_length = length
    await response.prepare(request)
    return response


DELIVERIES: Mapping[Delivery, Deliver] = {
    "whole": _whole,
    "events": _events,
    "reset": _reset,
    "cut": _cut,
    "stall": _stall,
    "hang": _hang,
    "slow": _slow,
    "endless": _endless,
}


class Simulator:
    """A running provider; `url` is what a job's `base_url` wants."""

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


@asynccontextmanager
async def start(behaviour: Behaviour, port: int = 0) -> AsyncIterator[Simulator]:
    """Runs a provider on the running loop, on 127.0.0.1 only; port 0 takes a free one.

    In the end it stops at once, and requests in flight are cut off. UsageFault where the port is taken or the
    behaviour names an unknown fault.
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
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await _open(runner, port)
        yield Simulator(provider, runner, runner.addresses[0][1])
    finally:
        await runner.cleanup()


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
        error = openai_error(SimulatedError(400, "invalid_request_error", str(fault)), "")
        return msgspec.structs.replace(json_reply(error), status=400)
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
    async with start(behaviour, port) as simulator:
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
