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
        ("responses", response(status="failed"), "the status 'failed'"),
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
    assert read(api, body).verdict in {"ok", "malformed"}
