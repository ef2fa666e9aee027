"""Chat completions over HTTP: reads a request, has it scored, decision and answered, and writes the response.

Knows HTTP and the order of these steps; what each of them decides is a plain function elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from aiohttp import web

from batchroute.errors import BatchrouteError, ModelFault, RoutingError
from batchroute.input.row import Refusal
from batchroute.serve.batch.files import ApiError
from batchroute.serve.chat import decide_route, read_chat_request
from batchroute.serve.chunks.open import open_translator
from batchroute.serve.forward import failure_of
from batchroute.serve.metrics import MEDIA_TYPE, Metrics, exposition
from batchroute.serve.stream import EventRelay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.typedefs import Middleware

    from batchroute.job.spec import Endpoints
    from batchroute.serve.access import AccessPolicy
    from batchroute.serve.chat import ModelNames, RouteDecision
    from batchroute.serve.forward import LiveEndpoints, LiveResult
    from batchroute.serve.scoring import JointScoring

    Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_REQUEST = 64 << 20  # bytes
MOST_OPEN_BYTES = 512 << 20  # of bodies under way: beyond it a request gets a 503
RETRY_AFTER_S = 5
_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


@dataclass(slots=True)
class ChatApi:
    """Handlers of chat completions, and the state of a server while it runs."""

    names: ModelNames
    endpoints: Endpoints
    scoring: JointScoring
    live: LiveEndpoints
    metrics: Metrics
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
            self.metrics.disconnected += 1
            raise
        finally:
            self.open_bytes -= size

    async def _answer(self, request: web.Request, received_at: float) -> web.StreamResponse:
        chat = read_chat_request(await request.read())
        selection = self.names.read(chat.model)
        score = None if isinstance(selection, str) else await self.scoring.score(chat.text)
        decision = decide_route(selection, score, chat.chars, self.endpoints)
        headers = _decision_headers(decision, self.endpoints[decision.endpoint].model)
        response = web.StreamResponse(headers={**_EVENT_STREAM, **headers})

        async def write(events: bytes) -> None:
            try:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(events)
            except ConnectionError:
                """The client hung up; this request is about to be cancelled for that."""

        relay = None
        if chat.stream:
            translate = open_translator(self.live.apis[decision.endpoint])
            relay = EventRelay(write, self.live.scrub, keep_usage=chat.wants_usage, translate=translate)
        ended = await self.live.ask(chat, decision, relay)
        self.metrics.add(ended.result, time.perf_counter() - received_at)
        if relay is None or not relay.begun:
            return _whole(ended, headers)
        if ended.outcome.status == "ok":
            await relay.finish()
        else:
            await write(_error_event(ended))
        return response

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "batchroute"} for name in self.names.listed()
        ]
        return json_response({"object": "list", "data": listed})

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        return json_response({"status": "online"})

    async def counters(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        gauges = {"scored_texts": self.scoring.texts, "scored_batches": self.scoring.batches}
        in_flight = {name: lane.in_flight for name, lane in self.live.lanes.items()}
        text = exposition(self.metrics, gauges, in_flight)
        return web.Response(body=text.encode(), headers={"Content-Type": MEDIA_TYPE})


def make_app(chat_api: ChatApi, access: AccessPolicy, batch_routes: list[web.RouteDef]) -> web.Application:
    middlewares = [_checked(access, chat_api.metrics)]
    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=middlewares)
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat_api.complete),
            web.get("/v1/models", chat_api.models),
            web.get("/health", chat_api.health),
            web.get("/metrics", chat_api.counters),
            *batch_routes,
        ]
    )
    return app


def _checked(access: AccessPolicy, metrics: Metrics) -> Middleware:
    """Serves what the policy allows; every error of a request gets OpenAI's shape."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        denied = access.denies(request.method, request.path, request.headers)
        if denied is not None:
            metrics.denied[denied.code] += 1
            return failure(denied.status, denied.message, denied.code)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return failure(error.status, error.reason, None)
        except ApiError as error:
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


def json_response(value: object) -> web.Response:
    return _response(200, msgspec.json.encode(value))


def failure(status: int, message: str, code: str | None, param: str | None = None) -> web.Response:
    """An error response of the server's own."""
    return _response(status, _error_body(status, message, code, param))


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Tells clients whether to retry. What failed was tried as often as the job allows, so only a 503 may help."""
    waiting = {}
    if status == 503:
        waiting = {"Retry-After": str(RETRY_AFTER_S)}
    elif status >= 400:
        waiting = {"x-should-retry": "false"}  # OpenAI's clients would retry a 429 or 502
    headers = {**(headers or {}), **waiting}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _error_body(status: int, message: str, code: str | None, param: str | None = None) -> bytes:
    """An error object as OpenAI shapes it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _whole(ended: LiveResult, headers: dict[str, str]) -> web.Response:
    """An answer or a refusal as the endpoint gave it, anything else in our words; with its cost, where known."""
    answer, result = ended.outcome.answer, ended.result
    if answer.verdict == "ok":
        status, body = 200, (answer.body or "").encode()
    elif answer.body is not None and answer.status is not None and answer.status >= 400:
        status, body = answer.status, answer.body.encode()
    else:
        status, code = failure_of(answer)
        body = _error_body(status, f"the {result.route} endpoint: {answer.error}", code)
    if result.cost_usd is not None:
        headers = {**headers, "x-batchroute-cost-usd": format(Decimal(repr(result.cost_usd)), "f")}
    return _response(status, body, headers)


def _decision_headers(decision: RouteDecision, model: str) -> dict[str, str]:
    """What is known before there is an answer; no score where none was needed."""
    known = {"route": decision.endpoint, "model": model, "score": decision.score, "threshold": decision.threshold}
    return {f"x-batchroute-{name}": _header_text(value) for name, value in known.items() if value is not None}


def _header_text(value: str | float) -> str:
    """A value that a header can carry: models may be named in any characters."""
    return value.encode("ascii", "backslashreplace").decode() if isinstance(value, str) else repr(value)


def _error_event(ended: LiveResult) -> bytes:
    """The last event of a stream that broke off."""
    answer = ended.outcome.answer
    status, code = failure_of(answer)
    return b"data: " + _error_body(status, answer.error or "the stream broke off", code) + b"\n\n"
