"""Answers of other APIs as completions: every item, stop reason and usage; and their errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.body import DIALECTS
from batchroute.send.classify import Answer, classify
from batchroute.send.verdict import Asked
from batchroute.types import Usage
from dialect_answers import streamed, whole

if TYPE_CHECKING:
    from batchroute.types import Completion

ASKED = Asked(b"", 0, had_success=False)


def read(api: str, body: Any, status: int = 200) -> Answer:
    return classify(status, {}, json.dumps(body).encode(), ASKED, DIALECTS[api].read)


def completion(api: str, body: Any) -> Completion:
    answer = read(api, body)
    assert answer.verdict == "ok"
    assert answer.completion is not None
    return answer.completion


def response(*output: Any, **more: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "model": "gpt-6-luna-2026-08-01", "error": None}
    return {**head, "status": "completed", "incomplete_details": None, "output": list(output), **more}


def said(*content: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}


def text(value: str) -> dict[str, Any]:
    return {"type": "output_text", "text": value, "annotations": []}


FUNCTION = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at":"cat"}',
    "status": "completed",
}
CHAT_FUNCTION = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"cat"}'}}
CUT = {"status": "incomplete"}

RESPONSES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("text", response(said(text("Hel"), text("lo"))), {"response": "Hello", "finish_reason": "stop"}),
    ("two messages", response(said(text("A")), said(text("B"))), {"response": "AB", "finish_reason": "stop"}),
    ("no words", response(), {"response": None, "finish_reason": "stop"}),
    ("empty words", response(said(text(""))), {"response": "", "finish_reason": "stop"}),
    (
        "summaries",
        response(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "So."}, {"type": "summary_text", "text": " And so."}],
                "encrypted_content": "gAAA",
            },
            {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "Then."}]},
            said(text("A")),
        ),
        {"response": "A", "reasoning": "So. And so.\n\nThen.", "finish_reason": "stop"},
    ),
    (
        "an open model's thoughts",
        response({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}),
        {"reasoning": "Hm.", "finish_reason": "stop"},
    ),
    (
        "encrypted thoughts",
        response({"type": "reasoning", "summary": [], "encrypted_content": "g"}, said(text("A"))),
        {"response": "A", "reasoning": None, "finish_reason": "stop"},
    ),
    ("a call", response(FUNCTION), {"calls": [CHAT_FUNCTION], "finish_reason": "tool_calls"}),
    (
        "words and calls",
        response(
            said(text("Wait.")),
            FUNCTION,
            {"type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "select 1"},
        ),
        {
            "response": "Wait.",
            "calls": [
                CHAT_FUNCTION,
                {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
            ],
            "finish_reason": "tool_calls",
        },
    ),
    (
        "a refusal",
        response(said({"type": "refusal", "refusal": "No."})),
        {"refusal": "No.", "response": None, "finish_reason": "refusal"},
    ),
    (
        "cut at the bound",
        response(said(text("Hel")), incomplete_details={"reason": "max_output_tokens"}, **CUT),
        {"response": "Hel", "finish_reason": "length"},
    ),
    (
        "cut while it thought",
        response({"type": "reasoning", "summary": []}, incomplete_details={"reason": "max_output_tokens"}, **CUT),
        {"response": None, "finish_reason": "length"},
    ),
    (
        "filtered",
        response(incomplete_details={"reason": "content_filter"}, **CUT),
        {"response": None, "finish_reason": "content_filter"},
    ),
    ("cut for no reason", response(said(text("A")), **CUT), {"response": "A", "finish_reason": "incomplete"}),
    (
        "items of its own tools",
        response({"type": "web_search_call", "status": "completed"}, said(text("A"))),
        {"response": "A", "finish_reason": "stop"},
    ),
    ("its tier", response(said(text("A")), service_tier="flex"), {"response": "A", "service_tier": "flex"}),
]


def message(*content: Any, stop_reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5"}
    return {**head, "content": list(content), "stop_reason": stop_reason, "stop_sequence": None, **more}


def block(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "cat"}}
CHAT_USE = {**CHAT_FUNCTION, "id": "toolu_1"}

ANTHROPIC: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("text", message(block("Hel"), block("lo")), {"response": "Hello", "finish_reason": "stop"}),
    ("no words", message(), {"response": None, "finish_reason": "stop"}),
    (
        "thoughts",
        message(
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "", "signature": "s"},
            {"type": "thinking", "thinking": "So.", "signature": "s"},
            block("A"),
        ),
        {"response": "A", "reasoning": "Hm.\n\nSo.", "finish_reason": "stop"},
    ),
    ("a call", message(USE, stop_reason="tool_use"), {"calls": [CHAT_USE], "finish_reason": "tool_calls"}),
    (
        "words and a call",
        message(block("Wait."), USE, stop_reason="tool_use"),
        {"response": "Wait.", "calls": [CHAT_USE], "finish_reason": "tool_calls"},
    ),
    *[
        (reason, message(block("A"), stop_reason=reason), {"response": "A", "finish_reason": finish})
        for reason, finish in (
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("pause_turn", "pause_turn"),
            ("something_new", "something_new"),
        )
    ],
    ("no reason", message(block("A"), stop_reason=None), {"response": "A", "finish_reason": None}),
    (
        "a refusal",
        message(
            stop_reason="refusal",
            stop_details={"type": "refusal", "category": "bio", "explanation": "That would help to harm."},
        ),
        {"response": None, "refusal": "That would help to harm.", "finish_reason": "refusal"},
    ),
    (
        "a refusal in a word",
        message(block("Well"), stop_reason="refusal", stop_details={"category": "cyber", "explanation": None}),
        {"response": "Well", "refusal": "cyber", "finish_reason": "refusal"},
    ),
    ("a bare refusal", message(stop_reason="refusal"), {"refusal": None, "finish_reason": "refusal"}),
    (
        "its own tools",
        message({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, block("A")),
        {"response": "A", "finish_reason": "stop"},
    ),
    (
        "its tier",
        message(block("A"), usage={"input_tokens": 9, "output_tokens": 2, "service_tier": "priority"}),
        {"response": "A", "service_tier": "priority"},
    ),
]


def check(found: Completion, expected: dict[str, Any]) -> None:
    calls = None if found.tool_calls is None else json.loads(found.tool_calls)
    assert {name: calls if name == "calls" else getattr(found, name) for name in expected} == expected
    assert calls == expected.get("calls")


@pytest.mark.parametrize(
    ("body", "expected"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
def test_a_response(body: dict[str, Any], expected: dict[str, Any]) -> None:
    found = completion("responses", body)
    check(found, expected)
    assert found.served_model == "gpt-6-luna-2026-08-01"


@pytest.mark.parametrize(
    ("body", "expected"), [case[1:] for case in ANTHROPIC], ids=[case[0] for case in ANTHROPIC]
)
def test_a_message(body: dict[str, Any], expected: dict[str, Any]) -> None:
    found = completion("anthropic", body)
    check(found, expected)
    assert found.served_model == "claude-haiku-5-5"


@pytest.mark.parametrize(
    ("api", "body", "what"),
    [
        ("responses", response(status="queued"), "the status 'queued'"),
        ("responses", {"object": "response", "status": "completed"}, "no output"),
        ("responses", {"choices": [{"message": {"content": "Hi"}}]}, "no output"),
        ("anthropic", {"type": "message"}, "no content"),
        ("anthropic", {"type": "message", "content": "Hi"}, "no content"),
        ("anthropic", {"choices": [{"message": {"content": "Hi"}}]}, "no content"),
    ],
)
def test_what_is_no_answer(api: str, body: Any, what: str) -> None:
    answer = read(api, body)
    assert (answer.verdict, answer.error_type) == ("malformed", "malformed")
    assert what in str(answer.error)


ANTHROPIC_ERRORS: list[tuple[int, dict[str, Any], str, str]] = [
    (400, {"type": "invalid_request_error", "message": "messages: at least one"}, "refused", "http_400"),
    (
        400,
        {
            "type": "invalid_request_error",
            "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        },
        "fatal",
        "quota",
    ),
    (
        400,
        {
            "type": "invalid_request_error",
            "message": "Your credit balance is too low to access the Anthropic API.",
        },
        "fatal",
        "quota",
    ),
    (401, {"type": "authentication_error", "message": "invalid x-api-key"}, "fatal", "invalid_key"),
    (402, {"type": "billing_error", "message": "Check your payment details."}, "fatal", "quota"),
    (403, {"type": "permission_error", "message": "No."}, "fatal", "permission"),
    (404, {"type": "not_found_error", "message": "model: claude-1"}, "fatal", "not_found"),
    (413, {"type": "request_too_large", "message": "Too large."}, "refused", "http_413"),
    (429, {"type": "rate_limit_error", "message": "Slow down."}, "rate_limited", "rate_limit"),
    (
        429,
        {
            "type": "rate_limit_error",
            "message": "The monthly threshold has been crossed.",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
        "fatal",
        "quota",
    ),
    (
        429,
        {
            "type": "rate_limit_error",
            "message": "Usage grows too fast.",
            "details": {"error_code": "ramp_limit_exceeded"},
        },
        "rate_limited",
        "rate_limit",
    ),
    (500, {"type": "api_error", "message": "Internal."}, "transient", "http_500"),
    (504, {"type": "timeout_error", "message": "Too slow."}, "transient", "http_504"),
    (529, {"type": "overloaded_error", "message": "Overloaded"}, "transient", "http_529"),
    (200, {"type": "overloaded_error", "message": "Overloaded"}, "transient", "http_529"),
]


@pytest.mark.parametrize(("status", "error", "verdict", "kind"), ANTHROPIC_ERRORS)
def test_an_error_of_anthropic(status: int, error: dict[str, Any], verdict: str, kind: str) -> None:
    answer = read("anthropic", {"type": "error", "error": error, "request_id": "req_1"}, status)
    assert (answer.verdict, answer.error_type) == (verdict, kind)
    assert error["message"] in str(answer.error)


@pytest.mark.parametrize(
    ("error", "verdict", "kind"),
    [
        ({"code": "server_error", "message": "Sorry."}, "transient", "http_500"),
        ({"code": "vector_store_timeout", "message": "Sorry."}, "transient", "http_500"),
        ({"code": "failed_to_download_image", "message": "Sorry."}, "transient", "http_500"),
        ({"code": "rate_limit_exceeded", "message": "Slow down."}, "rate_limited", "rate_limit"),
        ({"code": "invalid_prompt", "message": "No."}, "refused", "http_400"),
        ({"code": "invalid_base64_image", "message": "No."}, "refused", "http_400"),
        ({"code": "image_content_policy_violation", "message": "No."}, "refused", "content_filter"),
        (None, "transient", "http_500"),
    ],
)
def test_a_response_that_failed(error: Any, verdict: str, kind: str) -> None:
    """It may have been billed all the same."""
    usage = {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105}
    answer = read("responses", response(status="failed", error=error, usage=usage))
    assert (answer.verdict, answer.error_type) == (verdict, kind)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 5)


USAGES: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "responses",
        {
            "input_tokens": 3000,
            "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 1500},
            "output_tokens": 150,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 3150,
        },
        Usage(3000, 1000, 150, 64, 1500, served_model="m"),
    ),
    ("responses", {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, Usage(3, None, 2, served_model="m")),
    (
        "anthropic",
        {
            "input_tokens": 20,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 700,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 500},
            "output_tokens": 90,
            "output_tokens_details": {"thinking_tokens": 64},
            "service_tier": "standard",
        },
        Usage(820, 100, 90, 64, 700, "standard", "m", cache_write_1h_tokens=500),
    ),
    ("anthropic", {"input_tokens": 3, "output_tokens": 2}, Usage(3, None, 2, served_model="m")),
    (
        "anthropic",
        {
            "input_tokens": 3,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 2,
        },
        Usage(3, 0, 2, None, 0, served_model="m", cache_write_1h_tokens=0),
    ),
]


@pytest.mark.parametrize(("api", "usage", "expected"), USAGES)
def test_what_is_billed(api: str, usage: dict[str, Any], expected: Usage) -> None:
    """Tokens of a cache are inside those of the prompt, whoever counts."""
    body = response(said(text("A"))) if api == "responses" else message(block("A"))
    assert completion(api, {**body, "model": "m", "usage": usage}).usage == expected


def test_an_answer_has_the_providers_name_for_it() -> None:
    body = json.dumps(message(block("A"))).encode()
    for headers, name in (({"request-id": "req_1"}, "req_1"), ({}, "msg_1")):
        answer = classify(200, headers, body, ASKED, DIALECTS["anthropic"].read)
        assert answer.completion is not None
        assert answer.completion.request_id == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "summary", "name", "input", "usage", "refusal"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    body=st.dictionaries(
        st.sampled_from(["output", "content", "status", "stop_reason", "stop_details", "usage"]), JSON
    )
)
@pytest.mark.parametrize("api", ["responses", "anthropic"])
def test_any_object_is_read(api: str, body: dict[str, Any]) -> None:
    assert read(api, body).verdict in {"ok", "malformed", "transient"}


@given(words=st.none() | st.text(), call=st.booleans(), refusal=st.none() | st.text(min_size=1))
@pytest.mark.parametrize("api", ["responses", "anthropic"])
def test_a_stream_that_no_one_asked_for_is_the_answer(
    api: str, words: str | None, call: bool, refusal: str | None
) -> None:
    answer = whole(api, words, call=call, refusal=refusal)
    events = b"".join(streamed(api, answer))
    assert classify(200, {}, events, ASKED, DIALECTS[api].read) == read(api, answer)


@pytest.mark.parametrize("api", ["responses", "anthropic"])
def test_a_stream_that_breaks_off_is_no_answer(api: str) -> None:
    events = streamed(api, whole(api, "Hello", call=True))
    for end in range(1, len(events) - (2 if api == "anthropic" else 1) + 1):
        assert classify(200, {}, b"".join(events[:end]), ASKED, DIALECTS[api].read).verdict == "malformed"
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    broken = b"".join([*events[:3], b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n"])
    assert classify(200, {}, broken, ASKED, DIALECTS[api].read).error_type == "http_529"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "message_start", "message": 5},
        {"type": "content_block_delta", "delta": {"text": "a"}},
        {"type": "content_block_start", "content_block": None},
        {"type": "message_delta", "delta": None},
    ],
)
def test_events_out_of_order_are_no_answer(event: dict[str, Any]) -> None:
    first = {"type": "message_start", "message": {"content": []}}
    events = [event] if event["type"] == "message_start" else [first, event]
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    assert classify(200, {}, body, ASKED, DIALECTS["anthropic"].read).verdict == "malformed"
