from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import read_chat
from batchroute.send.verdict import Asked
from batchroute.types import Usage

GOOD = {
    "model": "m-2026",
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


FILTERED = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": True}}}]
UNFILTERED = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]
LIMITED = ("rate_limited", "rate_limit")


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}]}


def answer(
    status: int, body: Any, *, had_success: bool = True, asked: bytes = b"", tokens: int = 0, **headers: str
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, told, raw, Asked(asked, tokens, had_success), read_chat)


# Of a server by llama-cpp-python, whose message goes on with the value and the place in its code.
ABOUT_THE_BODY = "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}"


def error(code: str | int | None = None, kind: str | None = None, words: str = "what happened") -> dict[str, Any]:
    return {"error": {"message": words, "type": kind, "code": code}}


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
        (500, error(words=ABOUT_THE_BODY), True, "refused", "http_500"),
        (502, error(words=ABOUT_THE_BODY), True, "transient", "http_502"),
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
        (404, error("model_not_found"), False, "fatal", "not_found"),
        (404, error("model_not_found"), True, "refused", "http_404"),
        (404, b"", False, "fatal", "not_found"),
        (404, b"", True, "refused", "http_404"),
        (498, error("capacity_exceeded"), True, "busy", "busy"),
        (498, b"", True, "busy", "busy"),
        (429, error("resource_unavailable"), True, "busy", "busy"),
        (429, error("Resource_Unavailable"), True, "busy", "busy"),
        (503, error("resource_unavailable"), True, "transient", "http_503"),
        (423, b"", True, "transient", "http_423"),
        (424, error("ModelError"), True, "transient", "http_424"),
        (499, error("CANCELLED"), True, "transient", "http_499"),
        (401, error("exceeded_current_quota_error"), True, "fatal", "quota"),
        (403, error("EXCEEDED_CURRENT_QUOTA_ERROR"), True, "fatal", "quota"),
        (429, error(kind="insufficient_balance_error"), True, "fatal", "quota"),
        (400, error("Arrearage"), True, "fatal", "quota"),
        (403, error("InsufficientBalance"), True, "fatal", "quota"),
        (403, error("out_of_credits"), True, "fatal", "quota"),
        (403, {"error": "insufficient_quota", "message": "no"}, True, "fatal", "quota"),
        (400, [{"error": {"status": "X"}}, {"error": {"status": "Y"}}], True, "refused", "http_400"),
        (
            403,
            {"success": False, "errors": [{"code": "AccessDenied", "message": "no"}]},
            True,
            "fatal",
            "permission",
        ),
        (400, error("API_KEY_INVALID"), True, "fatal", "invalid_key"),
        (403, error(kind="PERMISSION_DENIED"), True, "fatal", "permission"),
        (429, error("insufficient_quota"), True, "fatal", "quota"),
        (429, error(kind="insufficient_quota"), True, "fatal", "quota"),
        (429, error("billing_hard_limit_reached"), True, "fatal", "quota"),
        (301, b"", True, "fatal", "redirect"),
        (200, error("rate_limit_exceeded"), True, "rate_limited", "rate_limit"),
        (200, error("insufficient_quota"), True, "fatal", "quota"),
        (200, error("invalid_api_key"), True, "fatal", "invalid_key"),
        (200, error("model_not_found"), False, "fatal", "not_found"),
        (200, error("model_not_found"), True, "refused", "http_404"),
        (200, error("capacity_exceeded"), True, "busy", "busy"),
        (200, error("RESOURCE_EXHAUSTED"), True, "rate_limited", "rate_limit"),
        (200, error(words="Your credit balance is too low."), True, "fatal", "quota"),
        (200, error(502), True, "transient", "http_502"),
        (200, error("400"), True, "refused", "http_400"),
        (200, error(400.0), True, "refused", "http_400"),
        (200, error("context_length_exceeded"), True, "refused", "context_length"),
        (200, error("access_denied"), True, "fatal", "permission"),
        (200, error("something_else"), True, "transient", "http_500"),
        (200, error(429), True, "rate_limited", "rate_limit"),
        (200, {"error": "exploded"}, True, "transient", "http_500"),
        (200, b"<html>", True, "malformed", "malformed"),
        (200, b'{"choices": [{"message": {"content": "\xff"}}]}', True, "malformed", "malformed"),
        (200, b'{"choices": [{"mess', True, "malformed", "malformed"),
        (200, {"choices": []}, True, "malformed", "malformed"),
        (200, {"choices": None}, True, "malformed", "malformed"),
        (200, [1], True, "malformed", "malformed"),
        (200, [], True, "malformed", "malformed"),
        (200, [GOOD, GOOD], True, "malformed", "malformed"),
        (200, [GOOD], True, "ok", None),
        (200, {**GOOD, "error": {}}, True, "ok", None),
        (200, {**GOOD, "error": {"message": "", "code": 0, "type": None}}, True, "ok", None),
        (200, {**GOOD, "error": {"message": None, "code": "0"}}, True, "ok", None),
        (200, {**GOOD, "error": ""}, True, "ok", None),
        (200, {**GOOD, **error()}, True, "transient", "http_500"),
        (200, {**GOOD, "error": {"code": 503}}, True, "transient", "http_503"),
        (200, {**GOOD, "error": {"type": "overloaded_error"}}, True, "transient", "http_529"),
        (200, {"error": {"code": 0}}, True, "transient", "http_500"),
        (200, {"choices": [], "error": {"message": ""}}, True, "transient", "http_500"),
        (200, {"object": "error", "message": "no such model", "code": 404}, False, "fatal", "not_found"),
        (200, {"object": "error", "message": "bad", "code": 40303}, True, "transient", "http_500"),
        (200, {"code": 429, "message": "slower"}, True, "rate_limited", "rate_limit"),
        (200, {"code": 20012, "message": "what?"}, True, "malformed", "malformed"),
        (
            200,
            {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
            True,
            "rate_limited",
            "rate_limit",
        ),
        (200, {"base_resp": {"status_code": 1008, "status_msg": "no more"}}, True, "fatal", "quota"),
        (200, {"base_resp": {"status_code": 1004, "status_msg": "who?"}}, True, "fatal", "invalid_key"),
        (200, {"base_resp": {"status_code": 1026, "status_msg": "oh"}}, True, "refused", "content_filter"),
        (200, {"base_resp": {"status_code": 503, "status_msg": "away"}}, True, "transient", "http_503"),
        (200, {"choices": None, "base_resp": {"status_code": 1000}}, True, "transient", "http_500"),
        (200, {**GOOD, "base_resp": {"status_code": 0, "status_msg": ""}}, True, "ok", None),
        (200, {"choices": [], "prompt_filter_results": FILTERED}, True, "refused", "content_filter"),
        (200, {"promptFeedback": {"blockReason": "SAFETY"}}, True, "refused", "content_filter"),
        (200, {"choices": [], "prompt_filter_results": UNFILTERED}, True, "malformed", "malformed"),
        (200, {"choices": [], "finish_reason": "content_filter"}, True, "refused", "content_filter"),
        (200, {"choices": [{}]}, True, "malformed", "malformed"),
        (200, choice(), True, "ok", None),
        (200, choice(message=None, finish_reason=None), True, "ok", None),
        (200, choice(delta={"content": "half"}), True, "malformed", "malformed"),
        (200, {"error": {}}, True, "transient", "http_500"),
        (200, {"choices": [None]}, True, "malformed", "malformed"),
        (200, {"choices": ["fine"]}, True, "malformed", "malformed"),
        (200, {"choices": {"0": {}}}, True, "malformed", "malformed"),
        (200, choice(finish_reason="length"), True, "ok", None),
        (200, choice(finish_reason="content_filter", message=None), True, "ok", None),
        (200, choice(finish_reason="error", message={"content": ""}), True, "transient", "http_500"),
        (200, choice(finish_reason="error", message={"content": "half of"}), True, "ok", None),
        (200, choice(error={"code": 502, "message": "away"}), True, "transient", "http_502"),
        (200, choice(error={"code": 429, "message": "slower"}, message={"content": ""}), True, *LIMITED),
        (200, choice(error={"code": "insufficient_quota"}), True, "fatal", "quota"),
        (200, choice(error={"code": 0}, message={"content": "fine"}), True, "ok", None),
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
    got = answer(status, body, had_success=had_success)
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
        ([{"error": {"code": 400, "message": "in a list", "status": "INVALID_ARGUMENT"}}], "HTTP 400: in a list"),
        ({"error": {"error": {"message": "in another"}}}, "HTTP 400: in another"),
        ({"error": [{"message": "in a list"}]}, "HTTP 400: in a list"),
        ({"error": "bad_request", "message": "words beside"}, "HTTP 400: words beside"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "why"}}},
            "HTTP 400: Provider returned error: why",
        ),
        ({"detail": [{"msg": "w\u00fcrde"}]}, 'HTTP 400: [{"msg": "w\u00fcrde"}]'),
    ],
)
def test_the_providers_words_are_kept(body: Any, message: str) -> None:
    assert answer(400, body).error == message


KEYS = [
    *("error", "code", "type", "message", "details", "status", "metadata", "base_resp", "prompt_filter_results"),
    *("choices", "content", "tool_calls", "reasoning", "delta", "finish_reason", "text", "usage", "prompt_tokens"),
    *("model", "id", "service_tier"),
]
HEADERS = [
    "date",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-reset",
]
VALUES_OF_HEADERS = [
    "9" * 400,
    "1764000000000",
    "-1",
    "0",
    "Mon, 23 Nov 2026 12:00:30 GMT",
    "0001-01-01",
    "\udcff",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400)
@given(
    status=st.sampled_from([200, 202, 400, 403, 429, 500]),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES_OF_HEADERS) | st.text(max_size=12)),
    body=VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20)
    | st.builds(lambda key, depth: b'{"%b":' % key.encode() * depth, st.sampled_from(KEYS), st.integers(0, 2000)),
)
def test_no_body_is_an_error_of_ours(status: int, body: bytes, headers: dict[str, str]) -> None:
    """Whatever a provider sends is an answer, and one that a journal and a part can hold."""
    got = classify(status, headers, body, Asked(b"", 0, True), read_chat)
    msgspec.msgpack.encode(
        msgspec.structs.replace(got, error=None)
    )  # a header may be quoted; `Endpoint` cleans it
    assert got.retry_after_s is None or 0 <= got.retry_after_s < 10**12
    usage = got.usage or Usage()
    assert all(0 <= count <= 10**12 for count in msgspec.structs.astuple(usage) if count is not None)
