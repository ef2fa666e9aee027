"""The three dialects: one answer in the words of each, whole and as a stream, and errors in the shape of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.provider import CHAT, MESSAGES, MODELS, RESPONSES, Provider
from batchroute.simulate.schema import instance
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.simulate.answer import Reply

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
INSTANCE = {"city": "simulated", "days": 3}


@dataclass(frozen=True)
class Spoken:
    """One API: how something is asked in it, and where the parts of an answer are."""

    route: str
    headers: Mapping[str, str]
    ask: Callable[[str, int], dict[str, Any]]
    tool: dict[str, Any]
    form: dict[str, Any]
    text: Callable[[dict[str, Any]], str]
    streamed: Callable[[list[dict[str, Any]]], str]
    finish: Callable[[dict[str, Any]], str]
    call: Callable[[dict[str, Any]], tuple[str, Any]]
    tokens: Callable[[dict[str, Any]], tuple[int, int]]


FUNCTION = {"name": "look", "parameters": SCHEMA}
CHAT_SPOKEN = Spoken(
    CHAT,
    {},
    lambda prompt, cap: {
        "model": "m",
        "messages": [{"role": "user", "content": prompt}],
        "max_completion_tokens": cap,
    },
    {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}},
    lambda answer: answer["choices"][0]["message"]["content"],
    lambda events: "".join(event["choices"][0]["delta"].get("content") or "" for event in events),
    lambda answer: answer["choices"][0]["finish_reason"],
    lambda answer: _called(answer["choices"][0]["message"]["tool_calls"][0]["function"]),
    lambda answer: (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]),
)
RESPONSES_SPOKEN = Spoken(
    RESPONSES,
    {},
    lambda prompt, cap: {"model": "m", "input": prompt, "max_output_tokens": cap},
    {"tools": [{"type": "function", **FUNCTION}], "tool_choice": {"type": "function", "name": "look"}},
    {"text": {"format": {"type": "json_schema", "name": "trip", "schema": SCHEMA}}},
    lambda answer: answer["output"][-1]["content"][0]["text"],
    lambda events: "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta"),
    lambda answer: (answer["incomplete_details"] or {}).get("reason") or answer["output"][-1]["type"],
    lambda answer: _called(answer["output"][-1]),
    lambda answer: (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]),
)
MESSAGES_SPOKEN = Spoken(
    MESSAGES,
    {"anthropic-version": "2023-06-01"},
    lambda prompt, cap: {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": cap},
    {"tools": [{"name": "look", "input_schema": SCHEMA}], "tool_choice": {"type": "tool", "name": "look"}},
    {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    lambda answer: answer["content"][-1]["text"],
    lambda events: "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta"),
    lambda answer: answer["stop_reason"],
    lambda answer: (answer["content"][-1]["name"], answer["content"][-1]["input"]),
    lambda answer: (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]),
)
SPOKEN = [CHAT_SPOKEN, RESPONSES_SPOKEN, MESSAGES_SPOKEN]
each = pytest.mark.parametrize("spoken", SPOKEN, ids=["chat", "responses", "messages"])


def _called(call: dict[str, Any]) -> tuple[str, Any]:
    return call["name"], json.loads(call["arguments"])


def ask(spoken: Spoken, provider: Provider, prompt: str = "Why?", cap: int = 500, **more: Any) -> Reply:
    body = json.dumps({**spoken.ask(prompt, cap), **more}).encode()
    reply = provider.receive(spoken.route, spoken.headers, body, 0.0)
    provider.release()
    return reply


def value(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def events_of(reply: Reply) -> list[dict[str, Any]]:
    assert reply.content_type.startswith("text/event-stream")
    datas = [event.rpartition("data: ")[2] for event in reply.body.decode().split("\n\n")[:-1]]
    return [json.loads(data) for data in datas if data != "[DONE]"]


@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=100), cap=st.integers(16, 300))
def test_the_same_prompt_has_the_same_answer_in_every_dialect(prompt: str, cap: int) -> None:
    answers = [(spoken, value(ask(spoken, Provider(Behaviour(), 0.0), prompt, cap))) for spoken in SPOKEN]
    assert len({spoken.text(answer) for spoken, answer in answers}) == 1
    assert len({spoken.tokens(answer) for spoken, answer in answers}) == 1


@each
@pytest.mark.parametrize("cap", [20, 500])
def test_a_stream_says_what_the_whole_answer_says(spoken: Spoken, cap: int) -> None:
    whole = value(ask(spoken, Provider(Behaviour(), 0.0), cap=cap))
    events = events_of(ask(spoken, Provider(Behaviour(), 0.0), cap=cap, stream=True))
    assert spoken.streamed(events) == spoken.text(whole)


@pytest.mark.parametrize(
    ("spoken", "words"),
    [
        (CHAT_SPOKEN, ("stop", "length", "tool_calls")),
        (RESPONSES_SPOKEN, ("message", "max_output_tokens", "function_call")),
        (MESSAGES_SPOKEN, ("end_turn", "max_tokens", "tool_use")),
    ],
    ids=["chat", "responses", "messages"],
)
def test_why_it_ended_is_said_in_the_dialects_words(spoken: Spoken, words: tuple[str, str, str]) -> None:
    provider = Provider(Behaviour(), 0.0)
    answers = (ask(spoken, provider), ask(spoken, provider, cap=16), ask(spoken, provider, **spoken.tool))
    assert tuple(spoken.finish(value(reply)) for reply in answers) == words


@each
def test_a_tool_is_called_where_one_is_demanded_and_a_schema_is_kept(spoken: Spoken) -> None:
    provider = Provider(Behaviour(), 0.0)
    assert spoken.call(value(ask(spoken, provider, **spoken.tool))) == ("look", INSTANCE)
    assert json.loads(spoken.text(value(ask(spoken, provider, **spoken.form)))) == INSTANCE
    unforced = {**spoken.tool, "tool_choice": {"type": "auto"} if spoken is MESSAGES_SPOKEN else "auto"}
    assert spoken.text(value(ask(spoken, provider, **unforced))).startswith("[simulated]")


@each
def test_a_tool_that_is_demanded_and_not_offered_is_a_400(spoken: Spoken) -> None:
    reply = ask(spoken, Provider(Behaviour(), 0.0), **{**spoken.tool, "tools": []})
    assert reply.status == 400
    assert b"tool_choice" in reply.body


REFUSED = [
    (CHAT_SPOKEN, lambda answer: answer["choices"][0]["message"]["refusal"]),
    (RESPONSES_SPOKEN, lambda answer: answer["output"][0]["content"][0]["refusal"]),
    (MESSAGES_SPOKEN, lambda answer: answer["stop_details"]["explanation"]),
]


@pytest.mark.parametrize(("spoken", "refusal"), REFUSED, ids=["chat", "responses", "messages"])
def test_a_model_can_refuse(spoken: Spoken, refusal: Callable[[dict[str, Any]], str]) -> None:
    provider = Provider(Behaviour(), 0.0)
    answer = value(ask(spoken, provider, "[[fault:refusal]]"))
    assert "refuses" in refusal(answer)
    assert sum(spoken.tokens(answer)) == provider.stats().prompt_tokens + provider.stats().completion_tokens > 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_anthropics_errors_have_its_types_and_the_requests_id(status: int, kind: str) -> None:
    reply = ask(MESSAGES_SPOKEN, Provider(Behaviour(), 0.0), f"[[fault:{status}]]")
    error = json.loads(reply.body)
    assert (reply.status, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert error["request_id"] == reply.headers["request-id"]
    assert "x-request-id" not in reply.headers


@pytest.mark.parametrize(
    ("spoken", "more", "words"),
    [
        (RESPONSES_SPOKEN, {"max_output_tokens": 15}, "max_output_tokens"),
        (RESPONSES_SPOKEN, {"input": []}, "input"),
        (RESPONSES_SPOKEN, {"tools": [{"type": "function"}]}, "tools"),
        (RESPONSES_SPOKEN, {"text": {"format": {"type": "json_schema"}}}, "text.format"),
        (RESPONSES_SPOKEN, {"service_tier": "cheap"}, "cheap"),
        (CHAT_SPOKEN, {"response_format": {"type": "json_schema"}}, "json_schema"),
        (CHAT_SPOKEN, {"tools": [{"function": {"name": "look"}}]}, "type"),
        (MESSAGES_SPOKEN, {"max_tokens": None}, "max_tokens"),
        (MESSAGES_SPOKEN, {"n": 2}, "unknown field `n`"),
        (MESSAGES_SPOKEN, {"response_format": {"type": "text"}}, "unknown field `response_format`"),
        (MESSAGES_SPOKEN, {"messages": []}, "messages"),
        (MESSAGES_SPOKEN, {"temperature": 1.5}, "temperature"),
        (MESSAGES_SPOKEN, {"system": [{"type": "text", "cache_control": {"type": "forever"}}]}, "forever"),
    ],
)
def test_what_the_provider_would_not_accept(spoken: Spoken, more: dict[str, Any], words: str) -> None:
    provider = Provider(Behaviour(), 0.0)
    reply = ask(spoken, provider, **more)
    assert reply.status == 400
    assert words in json.loads(reply.body)["error"]["message"]
    assert provider.stats().bill == []


def test_anthropics_version_and_key_stand_in_headers_of_their_own() -> None:
    provider = Provider(Behaviour(api_key="sk-right"), 0.0)
    body = json.dumps(MESSAGES_SPOKEN.ask("x", 9)).encode()
    versioned = {"anthropic-version": "2023-06-01"}
    told = [
        {"x-api-key": "sk-right"},
        {**versioned, "x-api-key": "sk-wrong"},
        {**versioned, "x-api-key": "sk-right"},
    ]
    replies = [provider.receive(MESSAGES, headers, body, 0.0) for headers in told]
    assert [reply.status for reply in replies] == [400, 401, 200]
    assert b"anthropic-version: header is required" in replies[0].body


MEDIA = {
    CHAT_SPOKEN.route: [
        {"type": "image_url", "image_url": {"url": "http://x"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "text", "text": "abcd"},
    ],
    RESPONSES_SPOKEN.route: [
        {"type": "input_image", "image_url": "http://x"},
        {"type": "input_file", "file_id": "f"},
        {"type": "input_text", "text": "abcd"},
    ],
    MESSAGES_SPOKEN.route: [
        {"type": "image", "source": {"type": "url", "url": "http://x"}},
        {"type": "document", "source": {"type": "url", "url": "http://x"}},
        {"type": "text", "text": "abcd"},
    ],
}


@each
def test_media_is_billed_by_the_piece(spoken: Spoken) -> None:
    field = "input" if spoken is RESPONSES_SPOKEN else "messages"
    asked = {field: [{"role": "user", "content": MEDIA[spoken.route]}]}
    tokens = [
        spoken.tokens(value(ask(spoken, Provider(Behaviour(media_tokens=each_tokens), 0.0), **asked)))[0]
        for each_tokens in (0, 85)
    ]
    assert tokens == [1, 171]


def test_limits_are_told_in_each_dialects_headers() -> None:
    provider = Provider(Behaviour(requests_per_minute=7), 0.0)
    said = [ask(spoken, provider).headers for spoken in SPOKEN]
    assert [headers.get("x-ratelimit-remaining-requests") for headers in said] == ["6", "5", None]
    assert said[2]["anthropic-ratelimit-requests-remaining"] == "4"
    assert said[2]["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_models_are_listed_in_either_shape_and_any_name_is_one() -> None:
    provider = Provider(Behaviour(), 0.0)
    ours = MESSAGES_SPOKEN.headers
    assert value(provider.receive(MODELS, {}, b"", 0.0))["object"] == "list"
    assert value(provider.receive(MODELS, ours, b"", 0.0))["data"][0]["type"] == "model"
    assert value(provider.receive(f"{MODELS}/gpt-6-luna", {}, b"", 0.0))["id"] == "gpt-6-luna"


def test_the_official_client_takes_every_answer_for_its_own() -> None:
    with (
        threaded_simulator(Behaviour(reasoning_tokens=20)) as server,
        openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        whole = client.responses.create(model="gpt-6-luna", input="Why?")
        Response.model_validate(whole.model_dump(mode="json"))
        assert [item.type for item in whole.output] == ["reasoning", "message"]
        with client.responses.stream(model="gpt-6-luna", input="Why?") as stream:
            numbers = [event.sequence_number for event in stream]
            assert stream.get_final_response().output_text == whole.output_text
        assert numbers == list(range(len(numbers)))
        tool: Any = RESPONSES_SPOKEN.tool
        with client.responses.stream(model="gpt-6-luna", input="Why?", **tool) as stream:
            call: Any = stream.get_final_response().output[-1]
            assert json.loads(call.arguments) == INSTANCE
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(model="gpt-6-luna", input="[[fault:404]]")
        assert caught.value.request_id


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, {}),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": ["string", "null"]}, "simulated"),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"type": "string", "minLength": 12}, "simulated..."),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "multipleOf": 5, "minimum": 7}, 10),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"type": "array"}, []),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, 1),
        (
            {  # a list, and the shortest one
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
                "required": ["next"],
            },
            {"next": None},
        ),
    ],
)
def test_an_instance_fits_its_schema(schema: dict[str, Any], expected: Any) -> None:
    assert instance(schema) == expected


def test_a_schema_that_only_an_endless_value_fits_is_a_400() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    form = {"response_format": {"type": "json_schema", "json_schema": {"name": "endless", "schema": endless}}}
    reply = ask(CHAT_SPOKEN, Provider(Behaviour(), 0.0), **form)
    assert (reply.status, b"without an end" in reply.body) == (400, True)
