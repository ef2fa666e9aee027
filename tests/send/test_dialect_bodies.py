"""Chat messages as other APIs take them, and the whole bodies that are sent."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.input.row import chars_in
from batchroute.job.endpoint import EndpointSpec
from batchroute.send.body import DIALECTS, open_body
from batchroute.types import Prompt

URL = "https://example.com/cat.png"
PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
NOTE = base64.b64encode("Grüße".encode()).decode()
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "cat"}'}}
SQL = {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
CACHED = {"type": "ephemeral"}


def body(api: str, messages: list[Any], params: dict[str, Any] | None = None, **own: Any) -> Any:
    """What is written for one row of an endpoint, and what bounds it."""
    given = {"max_tokens": 100, **(params or {})}
    spec = EndpointSpec.model_validate({"model": "m", "base_url": URL, "api": api, "params": given})
    return open_body(spec)(Prompt("a", 0, None, msgspec.json.encode(messages), own or None))


def sent(api: str, messages: list[Any], params: dict[str, Any] | None = None, **own: Any) -> Any:
    written = body(api, messages, params, **own)
    assert written.refusal is None
    return json.loads(written.sent)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


RESPONSES: list[tuple[str, list[Any], list[Any]]] = [
    ("text", [user("Hi")], [user("Hi")]),
    (
        "roles",
        [{"role": "system", "content": "S"}, {"role": "developer", "content": "D"}, user("Hi"), assistant("Yo")],
        [{"role": "system", "content": "S"}, {"role": "developer", "content": "D"}, user("Hi"), assistant("Yo")],
    ),
    (
        "parts",
        [user([{"type": "text", "text": "What?"}, "Say."])],
        [user([{"type": "input_text", "text": "What?"}, {"type": "input_text", "text": "Say."}])],
    ),
    (
        "an assistant's parts",
        [assistant([{"type": "text", "text": "A"}, {"type": "refusal", "refusal": "No."}])],
        [assistant([{"type": "output_text", "text": "A"}, {"type": "refusal", "refusal": "No."}])],
    ),
    ("a refusal", [assistant(refusal="No.")], [assistant([{"type": "refusal", "refusal": "No."}])]),
    (
        "images",
        [
            user(
                [
                    {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "image_url", "image_url": URL},
                ]
            )
        ],
        [
            user(
                [
                    {"type": "input_image", "image_url": URL, "detail": "low"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    {"type": "input_image", "image_url": URL, "detail": "auto"},
                ]
            )
        ],
    ),
    (
        "files, and what is to be cached",
        [
            user(
                [
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": PDF},
                        "prompt_cache_breakpoint": {"mode": "explicit"},
                    },
                ]
            )
        ],
        [
            user(
                [
                    {"type": "input_file", "file_id": "file-1"},
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": PDF,
                        "prompt_cache_breakpoint": {"mode": "explicit"},
                    },
                ]
            )
        ],
    ),
    (
        "its own words",
        [user([{"type": "input_text", "text": "Hi"}, {"type": "input_image", "file_id": "f", "detail": "low"}])],
        [user([{"type": "input_text", "text": "Hi"}, {"type": "input_image", "file_id": "f", "detail": "low"}])],
    ),
    (
        "calls and their results",
        [
            assistant("Let me see.", tool_calls=[CALL, SQL]),
            {**result("call_1", "a cat"), "name": "look"},
            result("call_2", [{"type": "text", "text": "1"}]),
        ],
        [
            assistant("Let me see."),
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "cat"}'},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "select 1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
            {
                "type": "custom_tool_call_output",
                "call_id": "call_2",
                "output": [{"type": "input_text", "text": "1"}],
            },
        ],
    ),
    (
        "arguments that are an object",
        [assistant(tool_calls=[{"id": "c", "function": {"name": "look", "arguments": {"at": "cat"}}}])],
        [{"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"at":"cat"}'}],
    ),
    (
        "a call alone; what an answer brought along stays behind",
        [assistant(tool_calls=[CALL], refusal=None, audio=None, annotations=[], function_call=None)],
        [{"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "cat"}'}],
    ),
]

ANTHROPIC: list[tuple[str, list[Any], list[Any], Any]] = [
    ("text", [user("Hi")], [user("Hi")], None),
    (
        "system prompts, wherever they are",
        [
            {"role": "system", "content": "A"},
            user("Hi"),
            {"role": "developer", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": "C"}]},
            assistant("Yo"),
            {"role": "system", "content": "D"},
            user("So?"),
        ],
        [user("Hi"), assistant("Yo"), user("So?")],
        "A\nB\nC\nD",
    ),
    (
        "a system prompt that is cached",
        [
            {"role": "system", "content": [{"type": "text", "text": "A", "cache_control": CACHED}]},
            {"role": "system", "content": "B"},
            user("Hi"),
        ],
        [user("Hi")],
        [{"type": "text", "text": "A", "cache_control": CACHED}, {"type": "text", "text": "B"}],
    ),
    (
        "one role after itself",
        [user("A"), user([{"type": "text", "text": "B"}]), assistant("C"), assistant("D")],
        [
            user([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]),
            assistant([{"type": "text", "text": "C"}, {"type": "text", "text": "D"}]),
        ],
        None,
    ),
    (
        "empty texts",
        [
            {"role": "system", "content": ""},
            user([{"type": "text", "text": ""}, {"type": "text", "text": "A"}]),
            assistant([{"type": "text", "text": ""}]),
        ],
        [user([{"type": "text", "text": "A"}]), assistant([{"type": "text", "text": ""}])],
        None,
    ),
    ("prefill", [user("Is 7 prime?"), assistant("It is ")], [user("Is 7 prime?"), assistant("It is ")], None),
    (
        "images",
        [
            user(
                [
                    {"type": "image_url", "image_url": {"url": URL, "detail": "low"}, "cache_control": CACHED},
                    {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}},
                    {"type": "image_url", "image_url": f"data:image/webp;base64,{PNG}"},
                ]
            )
        ],
        [
            user(
                [
                    {"type": "image", "source": {"type": "url", "url": URL}, "cache_control": CACHED},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": PNG}},
                ]
            )
        ],
        None,
    ),
    (
        "files",
        [
            user(
                [
                    {"type": "file", "file": {"file_id": "file_1"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                    },
                    {"type": "file", "file": {"file_data": f"data:text/plain;charset=utf-8;base64,{NOTE}"}},
                ]
            )
        ],
        [
            user(
                [
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                        "title": "a.pdf",
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"},
                    },
                ]
            )
        ],
        None,
    ),
    (
        "its own words",
        [
            user([{"type": "text", "text": "Hi", "cache_control": CACHED}, {"type": "search_result", "x": 1}]),
            assistant([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "A"}]),
        ],
        [
            user([{"type": "text", "text": "Hi", "cache_control": CACHED}, {"type": "search_result", "x": 1}]),
            assistant([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "A"}]),
        ],
        None,
    ),
    (
        "calls, and the results in one message before the next words",
        [
            user("Look."),
            assistant("Well.", tool_calls=[CALL, {**CALL, "id": "call_9"}]),
            {**result("call_1", "a cat"), "name": "look"},
            result("call_9", [{"type": "text", "text": "a dog"}]),
            user("So?"),
        ],
        [
            user("Look."),
            assistant(
                [
                    {"type": "text", "text": "Well."},
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "cat"}},
                    {"type": "tool_use", "id": "call_9", "name": "look", "input": {"at": "cat"}},
                ]
            ),
            user(
                [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "a cat"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_9",
                        "content": [{"type": "text", "text": "a dog"}],
                    },
                    {"type": "text", "text": "So?"},
                ]
            ),
        ],
        None,
    ),
    (
        "arguments that are an object",
        [assistant(tool_calls=[{"id": "c", "function": {"name": "look", "arguments": {"at": "cat"}}}])],
        [assistant([{"type": "tool_use", "id": "c", "name": "look", "input": {"at": "cat"}}])],
        None,
    ),
    (
        "a call without words or arguments; a refusal",
        [
            user("Look."),
            assistant("", tool_calls=[{"id": "c", "function": {"name": "now", "arguments": ""}}]),
            result("c", ""),
            assistant(refusal="No."),
        ],
        [
            user("Look."),
            assistant([{"type": "tool_use", "id": "c", "name": "now", "input": {}}]),
            user([{"type": "tool_result", "tool_use_id": "c", "content": ""}]),
            assistant([{"type": "text", "text": "No."}]),
        ],
        None,
    ),
]

REFUSED: list[tuple[str, list[Any], str]] = [
    *[
        (api, messages, place)
        for api in ("responses", "anthropic")
        for messages, place in (
            ([user("Hi"), {"role": "function", "name": "f", "content": "x"}], "messages[1].role"),
            ([{"role": "critic", "content": "x"}], "messages[0].role"),
            ([{**user("Hi"), "name": "Ann"}], "messages[0].name"),
            (
                [user([{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}])],
                "messages[0].content[0].input_audio",
            ),
            ([user("Hi"), user([{"type": "text", "text": "a"}, 7])], "messages[1].content[1]"),
            ([user(None)], "messages[0].content"),
            ([user([{"type": "text", "text": 7}])], "messages[0].content[0].text"),
            ([{"role": "system", "content": [{"type": "text", "text": None}]}], "messages[0].content[0].text"),
            ([user([{"type": "image_url", "image_url": {}}])], "messages[0].content[0].image_url"),
            ([user([{"type": "file", "file": "a.pdf"}])], "messages[0].content[0].file"),
            ([assistant(tool_calls=[{"id": "c", "type": "function"}])], "messages[0].tool_calls"),
        )
    ],
    (
        "anthropic",
        [user([{"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}}])],
        "messages[0].content[0].image_url",
    ),
    (
        "anthropic",
        [user([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}])],
        "messages[0].content[0].file",
    ),
    (
        "anthropic",
        [user([{"type": "file", "file": {"file_data": f"data:text/plain;base64,{PNG}"}}])],
        "messages[0].content[0].file",
    ),
    ("anthropic", [assistant(tool_calls=[SQL])], "messages[0].tool_calls"),
    (
        "anthropic",
        [assistant(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{"}}])],
        "messages[0].tool_calls",
    ),
    (
        "anthropic",
        [assistant(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "[1]"}}])],
        "messages[0].tool_calls",
    ),
    ("anthropic", [{"role": "system", "content": "S"}], "messages"),
    ("anthropic", [assistant(None)], "messages[0].content"),
]


@pytest.mark.parametrize(
    ("messages", "items"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
def test_messages_as_input_items(messages: list[Any], items: list[Any]) -> None:
    assert sent("responses", messages)["input"] == items


@pytest.mark.parametrize(
    ("messages", "turns", "system"), [case[1:] for case in ANTHROPIC], ids=[case[0] for case in ANTHROPIC]
)
def test_messages_as_turns(messages: list[Any], turns: list[Any], system: Any) -> None:
    written = sent("anthropic", messages)
    assert (written["messages"], written.get("system")) == (turns, system)


@pytest.mark.parametrize(("api", "messages", "place"), REFUSED)
def test_what_cannot_be_carried_refuses_the_row(api: str, messages: list[Any], place: str) -> None:
    written = body(api, messages)
    assert written.refusal is not None
    assert written.refusal.startswith(f"{place}: ")
    assert (written.sent, written.longest) == (b"", 0)


def test_a_whole_body_of_responses() -> None:
    written = body(
        "responses", [user("Hi")], {"reasoning_effort": "low"}, verbosity="low", max_completion_tokens=7
    )
    assert json.loads(written.sent) == {
        "model": "m",
        "input": [user("Hi")],
        "max_output_tokens": 7,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
        "store": False,
        "stream": False,
    }
    assert written.longest == 7
    assert sent("responses", [user("Hi")], {"store": True})["store"] is True


def test_a_whole_body_of_anthropic() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    written = body("anthropic", [user("Hi")], {"tools": tools}, parallel_tool_calls=False, stop="END")
    assert json.loads(written.sent) == {
        "model": "m",
        "messages": [user("Hi")],
        "max_tokens": 100,
        "tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "stream": False,
    }
    assert written.longest == 100


@pytest.mark.parametrize(
    ("params", "choice"),
    [
        ({"parallel_tool_calls": False}, None),
        ({"parallel_tool_calls": True, "tools": [{"name": "now"}]}, None),
        ({"parallel_tool_calls": False, "tools": [{"name": "now"}], "tool_choice": "none"}, {"type": "none"}),
        (
            {"parallel_tool_calls": False, "tools": [{"name": "now"}], "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_parallel_calls_stand_in_the_choice(params: dict[str, Any], choice: Any) -> None:
    written = sent("anthropic", [user("Hi")], params)
    assert written.get("tool_choice") == choice
    assert "parallel_tool_calls" not in written


def test_a_system_prompt_of_the_endpoint_goes_before_those_of_the_messages() -> None:
    messages = [{"role": "system", "content": "B"}, user("Hi")]
    assert sent("anthropic", messages, {"system": "A"})["system"] == "A\nB"
    cached = [{"type": "text", "text": "A", "cache_control": CACHED}]
    assert sent("anthropic", messages, {"system": cached})["system"] == [*cached, {"type": "text", "text": "B"}]


def test_a_row_without_a_bound_is_refused_by_anthropic_alone() -> None:
    for api, refusal in (("anthropic", "max_tokens: the anthropic API needs it"), ("responses", None)):
        spec = EndpointSpec.model_validate({"model": "m", "base_url": URL, "api": api})
        written = open_body(spec)(Prompt("a", 0, None, msgspec.json.encode([user("Hi")])))
        assert (written.refusal, written.longest) == (refusal, 0)


def test_a_rows_own_params_are_refused_by_name() -> None:
    assert (
        body("anthropic", [user("Hi")], seed=7).refusal == "seed: the anthropic API has no such field; remove it"
    )


def test_what_a_server_passes_on_unread_is_read() -> None:
    own = {"response_format": msgspec.Raw(b'{"type":"text"}'), "stop": msgspec.Raw(b'"END"'), "max_tokens": 9}
    written = sent("anthropic", [user("Hi")], **own)
    assert (written["stop_sequences"], written["max_tokens"]) == (["END"], 9)


@pytest.mark.parametrize("api", sorted(DIALECTS))
def test_the_same_params_make_the_same_bytes(api: str) -> None:
    params = {"temperature": 0.5, "max_tokens": 9, "tools": [], "top_p": 1}
    turned = dict(reversed(params.items()))
    assert body(api, [user("Hi")], params).sent == body(api, [user("Hi")], turned).sent
    assert body(api, [user("Hi")], **params).sent == body(api, [user("Hi")], **turned).sent


def test_a_schema_keeps_its_order() -> None:
    """A model writes the fields of its answer in the order of the schema: why before answer."""
    schema = {"type": "object", "properties": {"why": {"type": "string"}, "answer": {"type": "string"}}}
    format_of = {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    for api in ("responses", "anthropic"):
        assert b'"why":{"type":"string"},"answer"' in body(api, [user("Hi")], {"response_format": format_of}).sent


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "image_url", "url", "file", "file_data", "function"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
        optional={"content": JSON, "tool_calls": JSON, "refusal": JSON, "tool_call_id": JSON, "name": JSON},
    ),
    min_size=1,
    max_size=4,
)


@given(messages=MESSAGES)
@pytest.mark.parametrize("api", ["responses", "anthropic"])
def test_any_messages_are_sent_or_refused(api: str, messages: list[Any]) -> None:
    written = body(api, messages)
    assert (written.refusal is None) == bool(written.sent)
    if written.refusal is None:
        whole = json.loads(written.sent)
        assert chars_in(whole.get("input", whole.get("messages"))) >= 0
        roles = [turn["role"] for turn in whole.get("messages", [])]
        assert all(before != after for before, after in pairwise(roles))
