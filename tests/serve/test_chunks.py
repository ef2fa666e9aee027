"""Streams of other APIs as chat's: what a client puts together from the chunks is what the whole answer says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.export.completion import chat_finish, chat_usage
from batchroute.send.body import DIALECTS
from batchroute.send.usage import read_usage
from batchroute.serve.chunks.open import open_translator
from dialect_answers import ARGUMENTS, streamed, whole

APIS = ("responses", "anthropic")


def translated(api: str, events: list[bytes]) -> list[Any]:
    """The chunks, as a client parses them; the last is no JSON."""
    translate = open_translator(api)
    assert translate is not None
    parsed = [json.loads(event.split(b"data: ", 1)[1]) for event in events]
    lines = [line for event in parsed for line in translate(event)]
    assert all(line.startswith(b"data: ") and line.endswith(b"\n\n") for line in lines)
    return [None if line == b"data: [DONE]\n\n" else json.loads(line[6:]) for line in lines]


def joined(chunks: list[Any], name: str) -> str:
    return "".join(chunk["choices"][0]["delta"].get(name) or "" for chunk in chunks if chunk["choices"])


@given(text=st.none() | st.text(), call=st.booleans(), refusal=st.none() | st.text(min_size=1))
@pytest.mark.parametrize("api", APIS)
def test_the_chunks_add_up_to_the_answer(api: str, text: str | None, call: bool, refusal: str | None) -> None:
    answer = whole(api, text, call=call, refusal=refusal)
    *chunks, done = translated(api, streamed(api, answer))
    completion = DIALECTS[api].read(answer).completion
    assert completion is not None
    assert done is None
    assert joined(chunks, "content") == (completion.response or "")
    assert joined(chunks, "reasoning_content") == completion.reasoning
    assert joined(chunks, "refusal") == (completion.refusal or "")
    calls = [
        call for chunk in chunks if chunk["choices"] for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert "".join(piece["function"]["arguments"] for piece in calls) == (ARGUMENTS if call else "")
    assert chunks[-1]["usage"] == chat_usage(completion.usage)
    assert chunks[-2]["choices"][0]["finish_reason"] == chat_finish(completion.finish_reason, completion.refusal)


def test_the_bill_of_a_stream_is_that_of_a_whole_answer() -> None:
    """Also of tokens that a cache keeps for an hour, which cost more: the server reads it from the chunks."""
    answer = whole("anthropic")
    answer["usage"] = {
        **answer["usage"],
        "cache_creation_input_tokens": 700,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 500},
        "service_tier": "priority",
    }
    events = streamed("anthropic", answer)
    begun = json.loads(events[0].split(b"data: ", 1)[1])
    begun["message"]["usage"] = answer["usage"]
    *_, last, _ = translated("anthropic", [b"data: " + json.dumps(begun).encode(), *events[1:]])
    completion = DIALECTS["anthropic"].read(answer).completion
    assert completion is not None
    assert completion.usage is not None
    assert completion.usage.cache_write_1h_tokens == 500
    assert read_usage(last) == completion.usage


def test_two_calls_are_told_apart() -> None:
    answer = whole("anthropic", "So.", call=True)
    answer["content"].append({"type": "tool_use", "id": "call_2", "name": "now", "input": {}})
    chunks = translated("anthropic", streamed("anthropic", answer))[:-1]
    calls = [
        call for chunk in chunks if chunk["choices"] for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    begun = {call["index"]: (call["id"], call["function"]["name"]) for call in calls if "id" in call}
    assert begun == {0: ("call_1", "look"), 1: ("call_2", "now")}
    texts = {index: "".join(c["function"]["arguments"] for c in calls if c["index"] == index) for index in begun}
    assert texts == {0: ARGUMENTS, 1: "{}"}


def test_a_custom_tool_has_an_input() -> None:
    translate = open_translator("responses")
    assert translate is not None
    item = {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": ""}
    events = [
        *translate({"type": "response.output_item.added", "item": item}),
        *translate({"type": "response.custom_tool_call_input.delta", "delta": "select 1"}),
    ]
    deltas = [json.loads(event[6:])["choices"][0]["delta"]["tool_calls"][0] for event in events]
    assert deltas == [
        {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": ""}},
        {"index": 0, "custom": {"input": "select 1"}},
    ]


def test_calls_that_grow_by_turns_or_come_at_once_are_told_apart() -> None:
    translate = open_translator("responses")
    assert translate is not None
    items = [{"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": f"[{n}]"} for n in range(3)]
    events = [
        *({"type": "response.output_item.added", "output_index": n, "item": item} for n, item in enumerate(items)),
        *(
            {"type": "response.function_call_arguments.delta", "output_index": n, "delta": piece}
            for n, piece in ((0, "["), (1, "["), (0, "0]"), (1, "1]"))
        ),
        *({"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(items)),
    ]
    chunks = [json.loads(line[6:]) for event in events for line in translate(event)]
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"]["tool_calls"]]
    texts = ["".join(call["function"]["arguments"] for call in calls if call["index"] == n) for n in range(3)]
    assert texts == ["[0]", "[1]", "[2]"]


@pytest.mark.parametrize(
    ("api", "event", "message"),
    [
        (
            "anthropic",
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "Overloaded",
        ),
        ("anthropic", {"type": "error"}, "the stream broke off"),
        ("responses", {"type": "error", "code": "server_error", "message": "Sorry.", "param": None}, "Sorry."),
        ("responses", {"type": "error", "error": {"message": "Sorry."}}, "Sorry."),
        ("responses", {"type": "response.failed", "response": {"error": {"code": "x", "message": "No"}}}, "No"),
        ("responses", {"type": "response.failed", "response": {"error": None}}, "the stream broke off"),
    ],
)
def test_an_error_is_an_event_of_its_own(api: str, event: dict[str, Any], message: str) -> None:
    translate = open_translator(api)
    assert translate is not None
    (line,) = translate(event)
    error = json.loads(line[6:])["error"]
    assert (error["message"], set(error)) == (message, {"message", "type", "param", "code"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "id", "usage", "content", "output", "name"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(
    [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
        *("message_stop", "ping", "error", "response.created", "response.completed", "response.incomplete"),
        *("response.output_item.added", "response.output_text.delta", "response.function_call_arguments.delta"),
    ]
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"type": TYPES},
        optional=dict.fromkeys(("message", "delta", "content_block", "response", "item", "error", "usage"), JSON),
    ),
    max_size=6,
)


@given(events=EVENTS)
@pytest.mark.parametrize("api", APIS)
def test_any_events_are_translated_or_passed_over(api: str, events: list[dict[str, Any]]) -> None:
    translate = open_translator(api)
    assert translate is not None
    assert all(line.startswith(b"data: ") for event in events for line in translate(event))


def test_chats_own_stream_needs_no_translator() -> None:
    assert open_translator("chat") is None
