"""A server speaks chat, whatever its endpoints speak: asked by the official client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web

import jobs
from batchroute import Controller
from batchroute.errors import RoutingError, Unanswered
from dialect_answers import ARGUMENTS, MODELS, streamed, whole
from serving import KEY, SHORT, asking, client, error_in, headers_of, post, serve, user
from upstream import upstream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from serving import Served
    from upstream import Say, Upstream

APIS = ("responses", "anthropic")
PATHS = {"responses": "/v1/responses", "anthropic": "/v1/messages"}
ASKED: dict[str, Any] = {"model": "weak", "messages": user(SHORT), "max_completion_tokens": 50}


def on_api(api: str) -> dict[str, Any]:
    return {**jobs.on_both("api", api), **jobs.on_both("params", {"max_completion_tokens": 90})}


def saying(api: str, **said: Any) -> Say:
    """An endpoint that says the same to anything, as a stream where it is asked for one."""
    answer = whole(api, **said)

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        assert request.path == PATHS[api]
        if not body["stream"]:
            return web.json_response(answer, headers={"request-id": "req_1", "x-request-id": "req_1"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in streamed(api, answer):
            await response.write(event)
        return response

    return say


def failing(api: str, status: int, error: dict[str, Any]) -> Say:
    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        kind = {"type": "error"} if api == "anthropic" else {}
        return web.json_response({**kind, "error": error, "request_id": "req_1"}, status=status)

    return say


def behind(folder: Path, api: str, asked: Upstream) -> AbstractContextManager[tuple[Served, openai.OpenAI]]:
    return asking(folder, asked.url, on_api(api))


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_whole_answer_is_a_chat_completion(tmp_path: Path, api: str) -> None:
    with upstream(saying(api)) as asked, behind(tmp_path, api, asked) as (_, ask):
        raw = ask.chat.completions.with_raw_response.create(**ASKED)
    said, choice = raw.parse(), raw.parse().choices[0]
    assert (said.object, said.id, said.model) == ("chat.completion", "chatcmpl-req_1", MODELS[api])
    assert (choice.message.content, choice.finish_reason, choice.message.role) == ("Hello", "stop", "assistant")
    assert choice.message.reasoning_content == "Hm."  # type: ignore[attr-defined]
    assert choice.message.tool_calls is None
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (120, 10, 130)
    assert said.usage.prompt_tokens_details is not None
    assert said.usage.prompt_tokens_details.cached_tokens == 100
    # 20 at 2.00, 100 from the cache at 0.50, 10 out at 10.00, by the million
    assert headers_of(raw) == {"route": "weak", "model": "small-model", "cost-usd": "0.00019"}


def test_a_request_is_worded_for_the_endpoint(tmp_path: Path, api: str) -> None:
    with upstream(saying(api)) as asked, behind(tmp_path, api, asked) as (_, ask):
        ask.chat.completions.create(**ASKED, temperature=0.5, metadata={"user_id": "u"})
    (sent,) = asked.bodies()
    text = {"responses": "input", "anthropic": "messages"}[api]
    bound = {"responses": "max_output_tokens", "anthropic": "max_tokens"}[api]
    assert sent.pop(text) == user(SHORT)
    assert (sent.pop(bound), sent.pop("store", False)) == (50, False)
    assert sent == {"model": "small-model", "temperature": 0.5, "metadata": {"user_id": "u"}, "stream": False}


def test_headers_are_the_apis_own(tmp_path: Path, api: str) -> None:
    changes = {**on_api(api), **jobs.on_both("api_key_env", "THE_KEY")}
    with (
        upstream(saying(api)) as asked,
        serve(tmp_path, asked.url, asked.url, changes, environ={"THE_KEY": KEY}) as served,
    ):
        client(served).chat.completions.create(**ASKED)
    ((headers, _),) = asked.seen
    given = {name.lower(): value for name, value in headers.items()}
    if api == "anthropic":
        assert (given["x-api-key"], given["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in given
    else:
        assert given["authorization"] == f"Bearer {KEY}"


def test_calls_of_tools(tmp_path: Path, api: str) -> None:
    with upstream(saying(api, text=None, call=True)) as asked, behind(tmp_path, api, asked) as (_, ask):
        choice = ask.chat.completions.create(**ASKED).choices[0]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert (call.id, call.type) == ("call_1", "function")
    assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"at": "cat"})


def test_a_model_that_refuses(tmp_path: Path, api: str) -> None:
    with upstream(saying(api, text=None, refusal="No.")) as asked, behind(tmp_path, api, asked) as (_, ask):
        choice = ask.chat.completions.create(**ASKED).choices[0]
    assert (choice.message.content, choice.message.refusal, choice.finish_reason) == (None, "No.", "stop")


def chunks_of(ask: openai.OpenAI, **more: Any) -> list[Any]:
    return list(ask.chat.completions.create(**ASKED, **more, stream=True))


def joined(chunks: list[Any], name: str) -> str:
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


def test_a_stream_is_one_of_chats(tmp_path: Path, api: str) -> None:
    with upstream(saying(api)) as asked, behind(tmp_path, api, asked) as (_, ask):
        chunks = chunks_of(ask)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {MODELS[api]}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (joined(chunks, "content"), joined(chunks, "reasoning_content")) == ("Hello", "Hm.")
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert asked.bodies()[0]["stream"] is True


def test_the_usage_of_a_stream_is_for_whoever_asked_and_for_the_bill(tmp_path: Path, api: str) -> None:
    with upstream(saying(api)) as asked, behind(tmp_path, api, asked) as (served, ask):
        assert all(chunk.usage is None for chunk in chunks_of(ask))
        *_, last = chunks_of(ask, stream_options={"include_usage": True})
        told = post(served, b"", "/metrics", "GET").body.decode()  # type: ignore[attr-defined]
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (120, 10)
    assert last.usage.prompt_tokens_details.cached_tokens == 100
    (cost,) = [
        line for line in told.splitlines() if line.startswith("batchroute_cost_usd_total") and "weak" in line
    ]
    assert float(cost.split()[-1]) == pytest.approx(2 * 0.00019)


def test_calls_of_tools_in_a_stream(tmp_path: Path, api: str) -> None:
    with upstream(saying(api, text="So.", call=True)) as asked, behind(tmp_path, api, asked) as (_, ask):
        chunks = chunks_of(ask)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (calls[0].id, calls[0].function.name, {call.index for call in calls}) == ("call_1", "look", {0})
    assert "".join(call.function.arguments for call in calls) == ARGUMENTS
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_refusal_in_a_stream(tmp_path: Path, api: str) -> None:
    with upstream(saying(api, text=None, refusal="No.")) as asked, behind(tmp_path, api, asked) as (_, ask):
        chunks = chunks_of(ask)
    assert (joined(chunks, "refusal"), chunks[-1].choices[0].finish_reason) == ("No.", "stop")


def test_an_error_has_openais_shape(tmp_path: Path, api: str) -> None:
    error = {"type": "invalid_request_error", "message": "prompt is too long"}
    with upstream(failing(api, 400, error)) as asked, behind(tmp_path, api, asked) as (served, ask):
        with pytest.raises(openai.BadRequestError, match="prompt is too long"):
            ask.chat.completions.create(**ASKED)
        response = post(served, json.dumps(ASKED).encode())
    assert error_in(response)["message"] == "the weak endpoint: HTTP 400: prompt is too long"


def test_an_error_in_a_stream_reaches_the_client(tmp_path: Path, api: str) -> None:
    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(streamed(api, whole(api))[0])
        error = {"type": "overloaded_error", "message": "Overloaded"}
        event = {"type": "error", "error": error}
        await response.write(f"event: error\ndata: {json.dumps(event)}\n\n".encode())
        return response

    with (
        upstream(say) as asked,
        behind(tmp_path, api, asked) as (_, ask),
        pytest.raises(openai.APIError, match="Overloaded"),
    ):
        chunks_of(ask)


def test_what_an_api_cannot_carry_is_the_clients_to_mend(tmp_path: Path, api: str) -> None:
    with (
        upstream(saying(api)) as asked,
        behind(tmp_path, api, asked) as (_, ask),
        pytest.raises(openai.BadRequestError, match=f"seed: the {api} API has no such field"),
    ):
        ask.chat.completions.create(**ASKED, seed=7)
    assert asked.seen == []


def test_a_controller_reads_every_api(api: str) -> None:
    with upstream(saying(api, text="So.", call=True)) as asked:
        side = {"base_url": asked.url, "api": api}
        with Controller(["random"], "big", "small", strong=side, weak=side, api_key="k") as controller:
            said = controller.completion(model="router-random-0.5", messages=user(SHORT), max_tokens=9)
    assert (said.choices[0].message.content, said.usage.prompt_tokens) == ("So.", 120)
    assert said.choices[0].message.tool_calls[0].function.name == "look"


def test_a_controller_says_what_failed(api: str) -> None:
    with upstream(failing(api, 400, {"type": "invalid_request_error", "message": "too long"})) as asked:
        side = {"base_url": asked.url, "api": api}
        with Controller(["random"], "big", "small", strong=side, weak=side, api_key="k") as controller:
            with pytest.raises(Unanswered, match="too long"):
                controller.completion(model="router-random-0.5", messages=user(SHORT), max_tokens=9)
            with pytest.raises(RoutingError, match="seed"):
                controller.completion(model="router-random-0.5", messages=user(SHORT), max_tokens=9, seed=1)
