from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import read_chat
from batchroute.send.waits import retry_after_s
from batchroute.types import Usage

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
GOOD = {
    "model": "m-2026",
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


def answer(status: int, body: Any, *, had_success: bool = True, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(status, headers, raw, had_success=had_success, read=read_chat)


def error(code: str | int | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": "what happened", "type": kind, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "had_success", "verdict", "error_type"),
    [
        (429, error("rate_limit_exceeded"), True, "rate_limited", "rate_limit"),
        (429, b"", True, "rate_limited", "rate_limit"),
        (503, error("slow_down"), True, "rate_limited", "rate_limit"),
        (408, b"", True, "transient", "http_408"),
        (409, b"", True, "transient", "http_409"),
        (425, b"", True, "transient", "http_425"),
        (500, error(), True, "transient", "http_500"),
        (502, b"<html>bad gateway</html>", True, "transient", "http_502"),
        (529, error(kind="overloaded_error"), True, "transient", "http_529"),
        (400, error("invalid_value"), True, "refused", "http_400"),
        (400, error("context_length_exceeded"), True, "refused", "context_length"),
        (400, error("content_filter"), True, "refused", "content_filter"),
        (403, error("content_policy_violation"), False, "refused", "content_filter"),
        (413, b"", True, "refused", "http_413"),
        (422, {"detail": [{"msg": "bad"}]}, True, "refused", "http_422"),
        (418, b"", True, "refused", "http_418"),
        (401, error("invalid_api_key"), True, "fatal", "invalid_key"),
        (402, b"", True, "fatal", "quota"),
        (403, error(), False, "fatal", "permission"),
        (403, error(), True, "refused", "http_403"),
        (403, error("access_denied"), True, "fatal", "permission"),
        (403, error(kind="permission_error"), True, "fatal", "permission"),
        (404, error("model_not_found"), True, "fatal", "not_found"),
        (429, error("insufficient_quota"), True, "fatal", "quota"),
        (429, error(kind="insufficient_quota"), True, "fatal", "quota"),
        (429, error("billing_hard_limit_reached"), True, "fatal", "quota"),
        (301, b"", True, "fatal", "redirect"),
        (200, error("rate_limit_exceeded"), True, "rate_limited", "rate_limit"),
        (200, error("insufficient_quota"), True, "fatal", "quota"),
        (200, error("invalid_api_key"), True, "fatal", "invalid_key"),
        (200, error("model_not_found"), True, "fatal", "not_found"),
        (200, error("context_length_exceeded"), True, "refused", "context_length"),
        (200, error("access_denied"), True, "fatal", "permission"),
        (200, error("something_else"), True, "transient", "http_500"),
        (200, error(429), True, "rate_limited", "rate_limit"),
        (200, {"error": "exploded"}, True, "transient", "http_500"),
        (200, b"<html>", True, "malformed", "malformed"),
        (200, b'{"choices": [{"mess', True, "malformed", "malformed"),
        (200, {"choices": []}, True, "malformed", "malformed"),
        (200, {"choices": None}, True, "malformed", "malformed"),
        (200, [1], True, "malformed", "malformed"),
        (200, error("\u00b2\u00b2\u00b2"), True, "transient", "http_500"),
        (200, error("9" * 5000), True, "transient", "http_500"),
        (200, b"[" * 100_000, True, "malformed", "malformed"),
        (200, GOOD, False, "ok", None),
        (200, {**GOOD, "error": None}, False, "ok", None),
        (201, GOOD, False, "ok", None),
        (204, b"", True, "malformed", "malformed"),
    ],
)
def test_the_table(status: int, body: Any, had_success: bool, verdict: str, error_type: str | None) -> None:
    got = answer(status, body, had_success=had_success, read=read_chat)
    assert (got.verdict, got.error_type) == (verdict, error_type)
    assert (got.error is None) == (verdict == "ok")


def test_a_redirect_names_its_target() -> None:
    got = answer(307, b"", location="https://elsewhere.example/v1")
    assert got.error is not None
    assert "https://elsewhere.example/v1" in got.error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("x"), "HTTP 400: what happened"),
        ({"error": "plain words"}, "HTTP 400: plain words"),
        ({"detail": "from FastAPI"}, "HTTP 400: from FastAPI"),
        ({"message": "bare"}, "HTTP 400: bare"),
        (b"not json \xff", "HTTP 400: not json \ufffd"),
        (b"", "HTTP 400: no message"),
        ({"error": {"message": "x" * 5000}}, "HTTP 400: " + "x" * 1000),
    ],
)
def test_the_providers_words_are_kept(body: Any, message: str) -> None:
    assert answer(400, body).error == message


def test_a_completion_is_read_whole() -> None:
    got = answer(
        200,
        {
            "model": "gpt-5-2025",
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
        },
    ).completion
    assert got is not None
    assert (got.served_model, got.response, got.reasoning) == ("gpt-5-2025", None, "hm")
    assert (got.tool_calls, got.finish_reason) == ('[{"id":"a"}]', "tool_calls")
    assert got.usage == Usage(10, 4, 5, 3, served_model="gpt-5-2025")


def test_usage_counts_though_the_answer_has_no_choices() -> None:
    assert answer(200, {"choices": [], "usage": GOOD["usage"]}).usage == Usage(7, None, 2, None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (rb'"half \ud83d emoji"', "half \ufffd emoji"),
        (rb'"whole \ud83d\ude00 emoji"', "whole \U0001f600 emoji"),
        (b'[{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]', "ab"),
        (b"null", None),
        (b"NaN", None),
    ],
)
def test_content_that_fast_parsers_refuse_is_not_lost(content: bytes, expected: str | None) -> None:
    got = answer(200, b'{"choices": [{"message": {"content": %b}}]}' % content)
    assert got.verdict == "ok"
    assert got.completion is not None
    assert got.completion.response == expected


KEYS = ["error", "code", "type", "message", "choices", "content", "tool_calls", "usage", "prompt_tokens", "model"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400)
@given(
    status=st.sampled_from([200, 202, 400, 403, 429, 500]),
    body=VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20)
    | st.builds(lambda key, depth: b'{"%b":' % key.encode() * depth, st.sampled_from(KEYS), st.integers(0, 2000)),
)
def test_no_body_is_an_error_of_ours(status: int, body: bytes) -> None:
    """Whatever a provider sends is an answer, and one that a journal and a part can hold."""
    got = classify(status, {}, body, had_success=True, read=read_chat)
    msgspec.msgpack.encode(got)
    usage = got.usage or Usage()
    assert all(0 <= count <= 10**12 for count in msgspec.structs.astuple(usage) if count is not None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "3s",
            },
            3.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:12Z",
            },
            12.0,
        ),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "1000",
                "anthropic-ratelimit-tokens-reset": "2026-11-23T12:00:50Z",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-23T12:00:20Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-23T12:00:15Z",
            },
            20.0,
        ),
        ({"retry-after": "2", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"}, 2.0),
    ],
)
def test_the_servers_word_on_waiting(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == (None if expected is None else pytest.approx(expected))
