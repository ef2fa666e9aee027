"""What a chat completion says, in the shapes that providers and gateways give it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.body import fingerprint
from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import ChatBody, read_chat
from batchroute.send.verdict import Asked
from batchroute.types import Completion, Prompt, Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 2}


def read(body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, told, raw, Asked(b"", 0, had_success=True), read_chat)


def completion(body: Any, **headers: str) -> Completion:
    got = read(body, **headers)
    assert got.verdict == "ok", got.error
    assert got.completion is not None
    return got.completion


def said(message: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, **choice}], "usage": USAGE}


def test_a_completion_is_read_whole() -> None:
    got = completion(
        {
            "id": "c-1",
            "model": "gpt-5-2025",
            "service_tier": "flex",
            "choices": [
                {
                    "message": {"content": None, "reasoning_content": "hm", "tool_calls": [{"id": "a"}]},
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        }
    )
    assert (got.served_model, got.response, got.reasoning) == ("gpt-5-2025", None, "hm")
    assert (got.tool_calls, got.finish_reason) == ('[{"id":"a"}]', "tool_calls")
    assert got.usage == Usage(10, 4, 5, 3, service_tier="flex", served_model="gpt-5-2025")
    assert (got.service_tier, got.request_id, got.refusal) == ("flex", "c-1", None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"fine"', "fine"),
        (b'""', ""),
        (b"null", None),
        (rb'"half \ud83d emoji"', "half \ufffd emoji"),
        (rb'"whole \ud83d\ude00 emoji"', "whole \U0001f600 emoji"),
        (b'"a\nb"', "a\nb"),
        (b'[{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]', "ab"),
        (b'[{"text": "a"}, "b"]', "ab"),
        (b'["a", "b"]', "ab"),
        (b"[]", ""),
        (b'[{"type": "image_url", "image_url": {}}]', '[{"type":"image_url","image_url":{}}]'),
        (b'{"label": "spam", "score": 1}', '{"label":"spam","score":1}'),
        (b'[{"label": "spam"}]', '[{"label":"spam"}]'),
        (b"[1, 2]", "[1,2]"),
        (b"42", "42"),
        (b"4.5", "4.5"),
        (b"0", "0"),
        (b"true", "true"),
        (b"false", "false"),
        (b"1" * 40, "1" * 40),
        (b"NaN", None),
    ],
)
def test_content_is_kept_whatever_it_is(content: bytes, expected: str | None) -> None:
    assert completion(b'{"choices": [{"message": {"content": %b}}]}' % content).response == expected


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm "}, {"type": "text", "text": "hm"}]}
ANSWER = {"type": "text", "text": "The answer"}


@pytest.mark.parametrize(
    ("message", "response", "reasoning", "refusal"),
    [
        ({"content": [THINKING, ANSWER]}, "The answer", "hm hm", None),
        ({"content": [{"type": "thinking", "thinking": "hm"}, ANSWER]}, "The answer", "hm", None),
        ({"content": [{"type": "reasoning", "text": "hm"}, ANSWER]}, "The answer", "hm", None),
        ({"content": [THINKING]}, None, "hm hm", None),
        ({"content": "yes", "reasoning_content": "hm"}, "yes", "hm", None),
        ({"content": "yes", "reasoning": "hm"}, "yes", "hm", None),
        ({"content": "yes", "reasoning_content": "", "reasoning": "hm"}, "yes", "hm", None),
        ({"content": "yes", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "yes", "hm", None),
        (
            {"content": "yes", "reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
            "yes",
            "hm",
            None,
        ),
        (
            {"content": "yes", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
            "yes",
            None,
            None,
        ),
        ({"content": "<think>hm</think>yes"}, "<think>hm</think>yes", None, None),
        ({"content": None, "refusal": "I cannot."}, None, None, "I cannot."),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, None, None, "I cannot."),
        ({"content": "yes", "refusal": None}, "yes", None, None),
        ({}, None, None, None),
        ("plain", "plain", None, None),
    ],
)
def test_what_a_message_says(
    message: Any, response: str | None, reasoning: str | None, refusal: str | None
) -> None:
    got = completion(said(message, finish_reason="stop"))
    assert (got.response, got.reasoning, got.refusal) == (response, reasoning, refusal)


@pytest.mark.parametrize(
    ("choice", "response", "finish_reason"),
    [
        ({"finish_reason": "length"}, None, "length"),
        ({"message": None, "finish_reason": "content_filter"}, None, "content_filter"),
        ({"text": "old style", "finish_reason": "stop"}, "old style", "stop"),
        ({"text": "old style"}, "old style", None),
        ({"delta": {"content": "a chunk"}, "finish_reason": "stop"}, "a chunk", "stop"),
        ({"index": 0}, None, None),
        ({"message": {"content": "yes"}, "finish_reason": 3}, "yes", None),
        ({"message": {"content": "half of"}, "finish_reason": "error"}, "half of", "error"),
    ],
)
def test_a_choice_is_an_answer(choice: dict[str, Any], response: str | None, finish_reason: str | None) -> None:
    got = completion({"choices": [choice], "usage": USAGE})
    assert (got.response, got.finish_reason, got.usage) == (response, finish_reason, Usage(7, None, 2))


def test_a_call_of_before_there_were_tools_is_kept() -> None:
    call = {"name": "look_up", "arguments": "{}"}
    got = completion(said({"content": None, "function_call": call}))
    assert json.loads(got.tool_calls or "") == [{"type": "function", "function": call}]


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]},
        {"choices": [{"error": {"code": 502}}]},
        {"choices": [{"finish_reason": "error"}]},
        {"error": {"message": "exploded"}},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_usage_counts_beside_whatever_else(body: dict[str, Any], status: int) -> None:
    got = read({**body, "usage": USAGE, "service_tier": "flex"}, status)
    assert got.verdict != "ok"
    assert got.usage == Usage(7, None, 2, service_tier="flex")
    assert got.completion is not None
    assert got.completion.service_tier == "flex"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "text"}, Usage(7)),
        ({"content": None, "tool_calls": [{"id": "a"}]}, Usage(7)),
        ({"content": "", "reasoning": "hm"}, Usage(7)),
        ({"content": ""}, Usage(7, None, 0)),
        ({"content": None}, Usage(7, None, 0)),
    ],
)
def test_a_text_of_zero_tokens_has_an_unknown_number_of_them(message: dict[str, Any], expected: Usage) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 0}
    assert completion({**said(message, finish_reason="stop"), "usage": usage}).usage == expected


@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize(
    ("headers", "id_of_body", "expected"),
    [
        ({"x_request_id": "r-1", "request_id": "r-2"}, "c-1", "r-1"),
        ({"request_id": "r-2"}, "c-1", "r-2"),
        ({"x_request_id": ""}, "c-1", "c-1"),
        ({}, "c-1", "c-1"),
        ({}, 7, None),
        ({}, None, None),
        ({"x_request_id": "\udcff"}, None, "?"),
        ({"x_request_id": "r" * 999}, None, "r" * 200),
    ],
)
def test_a_request_has_the_providers_name(
    status: int, headers: dict[str, str], id_of_body: Any, expected: str | None
) -> None:
    got = read({**said({"content": "yes"}), "id": id_of_body}, status, **headers)
    assert (got.completion.request_id if got.completion else None) == expected


def prompt(**params: Any) -> Prompt:
    return Prompt("a.jsonl", 0, None, b'[{"role":"user","content":"hi"}]', params or None)


@pytest.mark.parametrize(
    ("params", "streamed"),
    [
        ({}, False),
        ({"seed": 1}, False),
        ({"stream": False}, False),
        ({"stream": None}, False),
        ({"stream": True}, True),
    ],
)
def test_every_request_says_whether_it_is_streamed(params: dict[str, Any], streamed: bool) -> None:
    sent = ChatBody("m", {"top_p": 1})(prompt(**params)).sent
    assert json.loads(sent)["stream"] is streamed
    assert sent.count(b'"stream"') == 1


def test_a_body_has_the_fingerprint_it_had_before_it_said_so() -> None:
    """As older runs kept it: input.reuse goes on finding their answers."""
    body = ChatBody("m", {"max_tokens": 5})(prompt(seed=1)).sent
    old = b'{"max_tokens":5,"model":"m","seed":1,"messages":[{"role":"user","content":"hi"}]}'
    assert json.loads(body) == {**json.loads(old), "stream": False}
    assert fingerprint(body) == fingerprint(old)
    assert fingerprint(body) != fingerprint(body.replace(b"hi", b"ho"))


KEYS = [
    *("content", "type", "text", "thinking", "refusal", "reasoning", "reasoning_details", "summary", "tool_calls"),
    *("function_call", "error", "code", "details", "finish_reason", "message", "delta", "filtered"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 10**20)
    | st.sampled_from(["", "text", "thinking", "refusal", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=400)
@given(message=VALUES, more=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3), results=VALUES)
def test_no_choice_is_an_error_of_ours(message: Any, more: dict[str, Any], results: Any) -> None:
    for choices in ([{"message": message, **more}], []):
        got = read(
            {"choices": choices, "prompt_filter_results": results, "promptFeedback": message, "usage": USAGE}
        )
        msgspec.msgpack.encode(got)
        assert got.usage is not None


def test_an_answer_nested_as_deep_as_json_goes_is_read_or_malformed() -> None:
    for depth in range(50, 3000, 50):
        content = "[" * depth + "]" * depth
        for body in (content, f'{{"choices": [{{"message": {{"content": {content}, "reasoning": {content}}}}}]}}'):
            assert read(body.encode()).verdict in {"ok", "malformed"}
