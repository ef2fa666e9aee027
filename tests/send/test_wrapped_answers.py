"""Answers in wrappings: event streams that nothing asked for, comments, marks and blanks around the JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import read_chat
from batchroute.send.parse import json_text
from batchroute.send.verdict import Asked
from batchroute.types import Completion, Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 2}
FINE = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "usage": USAGE}


def read(body: bytes) -> Answer:
    return classify(200, {}, body, Asked(b"", 0, had_success=True), read_chat)


def completion(body: bytes) -> Completion:
    got = read(body)
    assert got.verdict == "ok", got.error
    assert got.completion is not None
    return got.completion


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return b"data: " + json.dumps({"id": "c-1", "model": "m", "choices": choices, **more}).encode() + b"\n\n"


LINES = b"".join(
    json.dumps({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}).encode()
    + b"\n"
    for text in ("fi", "ne")
)
DONE = b"data: [DONE]\n\n"
FI, NE = chunk({"role": "assistant", "content": "fi"}), chunk({"content": "ne"})


@pytest.mark.parametrize(
    ("body", "response", "usage"),
    [
        (FI + NE + DONE, "fine", None),
        (FI + chunk({"content": "ne"}, "stop"), "fine", None),
        (FI + NE + chunk({}, "stop") + chunk(usage=USAGE) + DONE, "fine", Usage(7, None, 2, served_model="m")),
        (FI.replace(b"\n", b"\r\n") + NE.replace(b"\n", b"\r\n") + DONE, "fine", None),
        (b": ping\n\n" + FI + b": ping\n\n" + NE + DONE, "fine", None),
        (b"\xef\xbb\xbf" + FI + NE + DONE, "fine", None),
        (b"event: message\nid: 1\n" + FI + NE.replace(b"data: ", b"data:") + DONE, "fine", None),
        (
            b"data: " + json.dumps(FINE).encode() + b"\n\n",
            "fine",
            Usage(7, None, 2),
        ),
        (
            LINES + b'{"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": "stop"}]}',
            "fine",
            None,
        ),
        (b'data: {"choices": [], "prompt_filter_results": []}\n\n' + FI + NE + DONE, "fine", None),
    ],
)
def test_a_whole_event_stream_is_an_answer(body: bytes, response: str, usage: Usage | None) -> None:
    got = completion(body)
    assert (got.response, got.usage) == (response, usage)
    assert json.loads(json_text(body))["choices"][0]["message"]["content"] == response


def test_the_pieces_of_calls_are_joined_by_their_index() -> None:
    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments}, **more}

    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}}
    deltas = [[first], [piece(0, '{"x"')], [piece(0, ": 1}"), second], [piece(1, "}")]]
    body = b"".join(chunk({"tool_calls": calls, "reasoning": "h"}) for calls in deltas) + DONE
    got = completion(body)
    calls = [(call["id"], call["function"]) for call in json.loads(got.tool_calls or "")]
    assert calls == [("a", {"name": "f", "arguments": '{"x": 1}'}), ("b", {"name": "g", "arguments": "{}"})]
    assert got.reasoning == "hhhh"


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (FI + NE, "malformed"),
        (FI + NE[:20] + b"\n\n" + DONE, "malformed"),
        (b"data: \n\n", "malformed"),
        (DONE, "malformed"),
        (LINES, "malformed"),
        (FI + b'data: {"error": {"code": 502, "message": "away"}}\n\n', "transient"),
        (FI + b'data: {"error": {"code": 429, "message": "slower"}}\n\n' + DONE, "rate_limited"),
        (b'event: error\ndata: {"error": {"code": "insufficient_quota"}}\n\n', "fatal"),
    ],
)
def test_a_stream_that_is_not_whole_is_none(body: bytes, verdict: str) -> None:
    assert read(body).verdict == verdict


GOOD = json.dumps(FINE).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + GOOD,
        b"\n" * 8 + GOOD,
        b": PROCESSING\n\n" + GOOD,
        b": PROCESSING\n\n: PROCESSING\n\n" + GOOD,
        GOOD + b"\n" + b'{"trailer": 1}',
        GOOD + b"\n: done",
        b"[" + GOOD + b"]",
        GOOD.decode().encode("utf-16"),
    ],
)
def test_what_stands_around_an_answer_does_not_hide_it(body: bytes) -> None:
    assert completion(body).response == "fine"


KEYS = [
    "choices",
    "delta",
    "index",
    "id",
    "content",
    "tool_calls",
    "type",
    "response",
    "message",
    "error",
    "object",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from(["a", "message_start", "chat.completion.chunk"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300)
@given(events=st.lists(VALUES, max_size=4), before=st.sampled_from(["data: ", ": ping\n\ndata: ", "", "\ufeff"]))
def test_no_stream_is_an_error_of_ours(events: list[Any], before: str) -> None:
    body = "\n\n".join(before + json.dumps(event) for event in [*events, {"choices": []}])
    msgspec.msgpack.encode(read(body.encode()))
    json_text(body.encode())
