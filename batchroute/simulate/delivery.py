"""Puts a reply on the wire, in one piece or badly. Knows nothing of why."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.reply import Delivery, Reply

    Deliver: TypeAlias = Callable[[web.BaseRequest, Reply, Behaviour], Awaitable[web.StreamResponse]]

PIECES = 20
FOREVER_S = 1e6
PADDING = b" " * 65536  # white space is JSON so far: only a cap on the size can end it


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
