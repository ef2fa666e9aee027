"""The routing server, asked by the official client, in front of real endpoints."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web

from batchroute.serve import forward
from batchroute.serve.app import LARGEST_REQUEST
from serving import KEY, LONG, SHORT, asking, client, error_in, headers_of, post, serve, user, wait_for
from upstream import answer, completion, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import ThreadedSimulator
    from serving import Served

    Both = tuple[ThreadedSimulator, ThreadedSimulator]


@pytest.fixture
def served(tmp_path: Path, servers: Both) -> Iterator[Served]:
    with serve(tmp_path, servers[0].url, servers[1].url) as served:
        yield served


# --- whole answers


@pytest.mark.parametrize(
    ("text", "side", "model"), [(LONG, "strong", "big-model"), (SHORT, "weak", "small-model")]
)
def test_a_request_goes_where_its_score_says(served: Served, text: str, side: str, model: str) -> None:
    with client(served) as ask:
        raw = ask.chat.completions.with_raw_response.create(model="router", messages=user(text))
    said, headers = raw.parse(), headers_of(raw)
    assert said.choices[0].message.content is not None
    assert said.choices[0].message.content.startswith("[simulated]")
    assert said.usage is not None
    score = len(text) / (len(text) + 500)
    assert (headers["route"], headers["model"]) == (side, model)
    assert (float(headers["score"]), float(headers["threshold"])) == (score, 0.5)
    cost = (2 * Decimal(said.usage.prompt_tokens) + 10 * Decimal(said.usage.completion_tokens)) / 1_000_000
    assert Decimal(headers["cost-usd"]) == cost


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("router-length-0.9", "weak"),
        ("router-length-0.0", "strong"),
        ("router-length", "strong"),
        ("big-model", "strong"),
        ("small-model", "weak"),
        ("strong", "strong"),
        ("weak", "weak"),
    ],
)
def test_what_a_model_may_say(served: Served, model: str, side: str) -> None:
    with client(served) as ask:
        raw = ask.chat.completions.with_raw_response.create(model=model, messages=user(LONG))
    headers = headers_of(raw)
    assert headers["route"] == side
    assert ("score" in headers) == ("threshold" in headers) == model.startswith("router")


@pytest.mark.parametrize("model", ["gpt-9", "router-mf-0.5", "router-length-2", "router-length-nan"])
def test_a_model_that_is_not_there(served: Served, servers: Both, model: str) -> None:
    with client(served) as ask, pytest.raises(openai.NotFoundError) as raised:
        ask.chat.completions.create(model=model, messages=user(SHORT))
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert [server.stats().requests for server in servers] == [0, 0]


def test_only_the_last_message_is_scored_and_of_its_parts_the_text(served: Served) -> None:
    parts = [{"type": "text", "text": SHORT}, {"type": "image_url", "image_url": {"url": "data:," + LONG}}]
    messages = [*user(LONG), {"role": "assistant", "content": LONG}, {"role": "user", "content": parts}]
    with client(served) as ask:
        raw = ask.chat.completions.with_raw_response.create(model="router", messages=messages)  # type: ignore[arg-type]
    assert float(headers_of(raw)["score"]) == 2 / 502


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Basel"}'}}]


def test_tools_and_every_other_field_pass_untouched(tmp_path: Path) -> None:
    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(completion(None, tool_calls=CALLS))

    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}
    fields = {"tools": TOOLS, "response_format": schema, "temperature": 0.1, "seed": 7, "extra_body": {"top_k": 3}}
    with upstream(say) as provider, asking(tmp_path, provider.url) as (_, ask):
        said = ask.chat.completions.create(model="weak", messages=user(SHORT), **fields)  # type: ignore[call-overload]
    calls = said.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather"]
    assert json.loads(calls[0].function.arguments) == {"city": "Basel"}
    (body,) = provider.bodies()
    sent = {key: value for key, value in fields.items() if key != "extra_body"}
    assert body == {"model": "small-model", "messages": user(SHORT), "top_k": 3, "stream": False, **sent}


def test_numbers_and_odd_text_keep_their_bytes(tmp_path: Path) -> None:
    """A float nobody rounds, an integer beyond 64 bits, half an emoji, which the fast parser refuses."""
    plain = (
        b'{"model":"weak","messages":[{"role":"user","content":"a"}],"x":1.10,"y":123456789012345678901234567890}'
    )
    half = b'{"model":"weak","messages":[{"role":"user","content":"\\ud83d"}]}'
    with upstream(answer) as provider, serve(tmp_path, provider.url, provider.url) as served:
        assert [post(served, body).status for body in (plain, half)] == [200, 200]
    assert b'"x":1.10,"y":123456789012345678901234567890' in provider.seen[0][1]
    assert provider.bodies()[1]["messages"][0]["content"] == "\N{REPLACEMENT CHARACTER}"


def test_params_of_the_job_stand_below_those_of_the_request(tmp_path: Path) -> None:
    changes = {"endpoints.weak.params": {"max_tokens": 5, "temperature": 0.3}}
    with upstream(answer) as provider, asking(tmp_path, provider.url, changes) as (_, ask):
        ask.chat.completions.create(model="weak", messages=user(SHORT), temperature=0.9)
    assert provider.bodies()[0].items() >= {"max_tokens": 5, "temperature": 0.9}.items()


def test_a_row_that_is_too_long_for_its_side_goes_to_the_other_or_nowhere(tmp_path: Path, servers: Both) -> None:
    urls = servers[0].url, servers[1].url
    changes = {"endpoints.strong.max_input_tokens": 100, "endpoints.strong.on_too_long": "other"}
    with serve(tmp_path, *urls, changes) as served, client(served) as ask:
        raw = ask.chat.completions.with_raw_response.create(model="router", messages=user(LONG))
    assert headers_of(raw)["route"] == "weak"
    too_long = pytest.raises(openai.BadRequestError, match="max_input_tokens")
    changes = {"endpoints.strong.max_input_tokens": 100}
    with serve(tmp_path, *urls, changes) as served, client(served) as ask, too_long:
        ask.chat.completions.create(model="router", messages=user(LONG))


# --- what goes wrong


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("context_length_exceeded", openai.BadRequestError, "context_length_exceeded"),
        ("content_filter", openai.BadRequestError, "content_filter"),
        ("422", openai.UnprocessableEntityError, None),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("invalid_api_key", openai.InternalServerError, "invalid_key"),
        ("model_not_found", openai.InternalServerError, "not_found"),
        ("500", openai.InternalServerError, "http_500"),
        ("reset", openai.InternalServerError, "connection"),
        ("empty", openai.InternalServerError, "malformed"),
        ("302", openai.InternalServerError, "redirect"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_is_told_as_openai_tells_it(
    tmp_path: Path, servers: Both, fault: str, error: type[openai.APIStatusError], code: str | None, stream: bool
) -> None:
    changes = {"endpoints.weak.max_attempts": 2, "endpoints.weak.api_key_env": "CANARY"}
    urls = servers[0].url, servers[1].url
    with (
        serve(tmp_path, *urls, changes, environ={"CANARY": KEY}) as served,
        openai.OpenAI(base_url=served.url, api_key="anything", max_retries=2) as ask,
    ):
        with pytest.raises(error) as raised:
            ask.chat.completions.create(model="weak", messages=user(f"[[fault:{fault}]]"), stream=stream)
        assert raised.value.code == code
        assert raised.value.body
        assert KEY[:8] not in str(raised.value)
        assert ask.chat.completions.create(model="weak", messages=user(SHORT)), "no other request suffers"
    expected = 3 if fault in {"500", "reset", "empty"} else 2
    assert servers[1].stats().requests == expected, "tried as often as the job says, by the server alone"


def test_retries_are_the_servers_affair(served: Served, servers: Both) -> None:
    with client(served) as ask:
        said = ask.chat.completions.create(model="weak", messages=user("[[fault:503:2]]"))
    assert said.choices[0].message.content
    assert servers[1].stats().by_status == {"503": 2, "200": 1}


def test_an_endpoint_that_is_away_is_told_and_tried_again_later(
    tmp_path: Path, servers: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "REST_S", 0.5)
    changes = {"limits.outage_s": 1.0, "endpoints.weak.max_attempts": 50}
    servers[1].refuse()
    with serve(tmp_path, servers[0].url, servers[1].url, changes) as served, client(served) as ask:
        with ThreadPoolExecutor(6) as threads:
            asking = [
                threads.submit(ask.chat.completions.create, model="weak", messages=user(str(n))) for n in range(6)
            ]
            failures = [future.exception(60) for future in asking]
        assert {type(failure) for failure in failures} == {openai.InternalServerError}
        assert {getattr(failure, "status_code", 0) for failure in failures} == {503}
        assert "does not answer" in str(failures[0])
        assert any("does not answer" in said for said in served.said)
        assert ask.chat.completions.create(model="strong", messages=user(SHORT)), "the other side goes on"
        servers[1].listen()
        time.sleep(0.6)
        assert ask.chat.completions.create(model="weak", messages=user(SHORT))


def test_a_request_that_is_too_expensive_for_the_budget_fails_alone(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    changes = {"limits.max_cost_usd": 0.1, "input.params": "params"}
    with serve(tmp_path, servers[0].url, servers[1].url, changes) as served, client(served) as ask:
        for _ in range(3):
            with pytest.raises(openai.RateLimitError, match="max_cost_usd") as raised:
                ask.chat.completions.create(model="weak", messages=user(SHORT), max_tokens=100_000)
            assert raised.value.code == "insufficient_quota"
            assert ask.chat.completions.create(model="weak", messages=user(SHORT), max_tokens=10)
    assert servers[1].stats().requests == 3
    assert [said for said in served.said if "endpoint" in said] == []


def test_limits_are_those_of_the_job(tmp_path: Path, servers: Both) -> None:
    for server in servers:
        server.control({"latency_s": 0.05})
    changes = {"endpoints.weak.max_concurrency": 3}
    urls = servers[0].url, servers[1].url
    with serve(tmp_path, *urls, changes, batch_share=0) as served, client(served) as ask:
        with ThreadPoolExecutor(20) as threads:
            asking = [
                threads.submit(ask.chat.completions.create, model="router", messages=user("a")) for _ in range(20)
            ]
            assert all(future.result() for future in asking)
        scoring = served.server.chat_api.scoring
    assert servers[1].stats().max_in_flight == 3
    assert scoring.texts == 20
    assert scoring.batches <= 20


def test_async_clients_share_it(served: Served, servers: Both) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=served.url, api_key="x") as client:
            asking = (client.chat.completions.create(model="router", messages=user(str(n))) for n in range(30))
            return await asyncio.gather(*asking)

    assert len(asyncio.run(ask())) == 30
    assert servers[1].stats().by_status == {"200": 30}


def test_a_client_that_hangs_up_is_let_go_of(tmp_path: Path) -> None:
    async def never(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    with upstream(never) as provider, serve(tmp_path, provider.url, provider.url) as served:
        with pytest.raises(openai.APITimeoutError), client(served, timeout=0.5) as ask:
            ask.chat.completions.create(model="weak", messages=user(SHORT))
        assert provider.gone.wait(20), "the request to the endpoint ended, too"
        wait_for(
            lambda: served.server.chat_api.metrics.disconnected == 1 and served.server.chat_api.open_bytes == 0
        )


# --- requests by hand


BAD = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b"[" * 100_000,
    b'{"model":"weak"}',
    b'{"model":"weak","messages":[]}',
    b'{"model":"weak","messages":"Hello"}',
    b'{"model":"weak","messages":[7]}',
    b'{"model":"weak","messages":[{"role":"user","content":7}]}',
    b'{"model":"weak","messages":[{"role":"user","content":"\xff"}]}',
    b'{"model":"\xff","messages":[{"role":"user","content":"a"}]}',
    b'{"model":"weak","messages":[{"role":"user","content":"a"}],"n":"\xff"}',
    b'{"model":"weak","messages":[{"role":"user","content":"a"}],"user":"\xff"}',
    b'{"model":"weak","messages":[{"role":"user","content":"a"}],"n":1e400}',
    b'{"model":"weak","messages":[{"role":"user","content":"a"}],"max_tokens":' + b"9" * 5000 + b"}",
    b'{"model":"weak","messages":[{"role":"user","content":"a","x":' + b"9" * 5000 + b"}]}",
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: body[-60:].decode("ascii", "replace"))
def test_what_is_no_request_is_refused_and_not_sent(served: Served, servers: Both, body: bytes) -> None:
    response = post(served, body)
    assert response.status == 400
    assert error_in(response)["type"] == "invalid_request_error"
    assert [server.stats().requests for server in servers] == [0, 0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("OPTIONS", "/v1/chat/completions", 405)],
)
def test_other_paths_and_methods(served: Served, method: str, path: str, status: int) -> None:
    response = post(served, b"", path, method)
    assert (response.status, error_in(response)["code"]) == (status, None)
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_request_that_is_too_large_is_refused(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(LARGEST_REQUEST + 1))
    connection.endheaders(b"{")
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["type"] == "invalid_request_error"
    connection.close()


def test_models_health_and_metrics(served: Served) -> None:
    with client(served) as ask:
        names = [model.id for model in ask.models.list()]
        ask.chat.completions.create(model=names[0], messages=user(LONG))
        with pytest.raises(openai.BadRequestError):
            ask.chat.completions.create(model="weak", messages=user("[[fault:400]]"))
    assert names == ["router-length-0.5", "big-model", "small-model", "strong", "weak"]
    assert post(served, b"", "/health", "GET").body == b'{"status":"online"}'  # type: ignore[attr-defined]
    lines = post(served, b"", "/metrics", "GET").body.decode().splitlines()  # type: ignore[attr-defined]
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['batchroute_requests_total{route="strong",status="ok"}'] == "1"
    assert values['batchroute_requests_total{route="weak",status="refused"}'] == "1"
    assert values['batchroute_errors_total{route="weak",type="http_400"}'] == "1"
    assert float(values['batchroute_cost_usd_total{route="strong"}']) > 0
    assert values['batchroute_request_seconds_count{route="strong"}'] == "1"
    assert values['batchroute_in_flight{route="strong"}'] == "0"
    kinds = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))
