"""The server's requests: what comes in over HTTP, what goes out. Decides nothing that a function elsewhere can."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from aiohttp import web

from batchroute.errors import BatchrouteError, ModelFault, RoutingError
from batchroute.input.content import Refusal
from batchroute.serve.batch.files import NotStored
from batchroute.serve.chat import Chat, Routed, place, read_chat
from batchroute.serve.metrics import MEDIA_TYPE, Metrics, exposition
from batchroute.serve.replies import error_body, head_start, reply_of, route_headers, told, wait_headers
from batchroute.serve.stream import EventRelay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from batchroute.job.spec import Endpoints
    from batchroute.serve.door import Door
    from batchroute.serve.forward import Ended, Live
    from batchroute.serve.names import Names
    from batchroute.serve.scoring import JointScoring

    Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_REQUEST = 64 << 20  # bytes
MOST_OPEN_BYTES = 512 << 20  # of requests under way: what comes beyond is told to come again
_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


@dataclass(slots=True)
class Desk:
    """Answers chat completions; all there is of a server's state while it runs."""

    names: Names
    endpoints: Endpoints
    scoring: JointScoring
    live: Live
    metrics: Metrics = field(default_factory=Metrics)
    open_bytes: int = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        size = LARGEST_REQUEST if request.content_length is None else request.content_length
        if size > LARGEST_REQUEST:
            raise web.HTTPRequestEntityTooLarge(LARGEST_REQUEST, size)
        if self.open_bytes + size > MOST_OPEN_BYTES:
            return failure(503, "too many requests are under way", "overloaded")
        self.open_bytes += size
        try:
            return await self._answer(request, time.perf_counter())
        except asyncio.CancelledError:
            self.metrics.gone += 1
            raise
        finally:
            self.open_bytes -= size

    async def _answer(self, request: web.Request, came_at: float) -> web.StreamResponse:
        chat = read_chat(await request.read())
        wanted = self.names.read(chat.model)
        score = None if isinstance(wanted, str) else await self.scoring.score(chat.text)
        routed = place(wanted, score, chat.chars, self.endpoints)
        if chat.stream:
            return await self._stream(request, chat, routed, came_at)
        ended = await self.live.ask(chat, routed)
        self.metrics.add(ended.result, time.perf_counter() - came_at)
        return _whole(ended)

    async def _stream(
        self, request: web.Request, chat: Chat, routed: Routed, came_at: float
    ) -> web.StreamResponse:
        model = self.live.asked[routed.side].model
        headers = {**_STREAM, **head_start(routed.side, model, routed.score, routed.threshold)}
        response = web.StreamResponse(headers=headers)

        async def write(events: bytes) -> None:
            try:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(events)
            except ConnectionError:
                """The client is gone; this request is about to be cancelled for it."""

        relay = EventRelay(write, self.live.scrub, keep_usage=chat.wants_usage)
        ended = await self.live.ask(chat, routed, relay)
        self.metrics.add(ended.result, time.perf_counter() - came_at)
        if not relay.begun:
            return _whole(ended)
        if ended.outcome.status == "ok":
            await relay.finish()
        else:
            await write(_broken_off(ended))
        return response

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "batchroute"} for name in self.names.listed()
        ]
        return ok({"object": "list", "data": listed})

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        return ok({"status": "online"})

    async def counters(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        gauges = {"scored_texts": self.scoring.texts, "scored_batches": self.scoring.batches}
        in_flight = {side: lane.in_flight for side, lane in self.live.lanes.items()}
        text = exposition(self.metrics, gauges, in_flight)
        return web.Response(body=text.encode(), headers={"Content-Type": MEDIA_TYPE})


def make_app(desk: Desk, door: Door, more: list[web.RouteDef]) -> web.Application:
    """The whole application; `more` are routes beside those of chat completions."""
    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_at_the_door(door, desk.metrics)])
    app.add_routes(
        [
            web.post("/v1/chat/completions", desk.complete),
            web.get("/v1/models", desk.models),
            web.get("/health", desk.health),
            web.get("/metrics", desk.counters),
            *more,
        ]
    )
    return app


def _at_the_door(door: Door, metrics: Metrics) -> Middleware:
    """Lets in who may, and tells whoever goes wrong so in OpenAI's shape."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        away = door.turned_away(request.method, request.path, request.headers)
        if away is not None:
            metrics.turned_away[away.code] += 1
            return failure(away.status, away.message, away.code)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return failure(error.status, error.reason, None)
        except NotStored as error:
            return failure(error.status, str(error), error.code)
        except RoutingError as error:
            return failure(404, str(error), "model_not_found", "model")
        except Refusal as error:
            return failure(400, str(error), None)
        except ModelFault as error:
            return failure(500, str(error), "router")
        except BatchrouteError as error:
            return failure(503, str(error), "unavailable")

    return middleware


def ok(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def failure(status: int, message: str, code: str | None, param: str | None = None) -> web.Response:
    """An error of the server's own."""
    body = error_body(status, message, code, param)
    return web.Response(status=status, body=body, content_type="application/json", headers=wait_headers(status))


def _whole(ended: Ended) -> web.Response:
    status, body = reply_of(ended)
    headers = {**route_headers(ended), **wait_headers(status)}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _broken_off(ended: Ended) -> bytes:
    """The last event of a stream that did not come to its end."""
    status, code = told(ended.outcome.answer)
    return b"data: " + error_body(status, ended.outcome.answer.error or "the stream broke off", code) + b"\n\n"
