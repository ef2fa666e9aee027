"""Chat's params in the words of other APIs: every word, both ways a value can go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs
from batchroute.errors import JobFault
from batchroute.job.load import load_job
from batchroute.job.params.translate import WORDINGS, laid_over, translated, untranslatable
from batchroute.job.params.words import Untranslatable

SCHEMA = {"type": "object", "properties": {"why": {"type": "string"}, "answer": {"type": "string"}}}
CHAT_FUNCTION = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
CHAT_TOOL = {"type": "function", "function": CHAT_FUNCTION}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
NO_PARAMETERS = {"type": "object", "properties": {}}

RESPONSES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 100}, {"max_output_tokens": 100}),
    ({"max_completion_tokens": 100}, {"max_output_tokens": 100}),
    ({"max_tokens": 50, "max_completion_tokens": 100}, {"max_output_tokens": 100}),
    ({"max_output_tokens": 7, "max_tokens": 50}, {"max_output_tokens": 7}),
    ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    (
        {"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ),
    (
        {"verbosity": "low", "response_format": {"type": "text"}},
        {"text": {"verbosity": "low", "format": {"type": "text"}}},
    ),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    (
        {"response_format": JSON_SCHEMA},
        {"text": {"format": {"type": "json_schema", "name": "verdict", "schema": SCHEMA, "strict": True}}},
    ),
    ({"tools": [CHAT_TOOL]}, {"tools": [{"type": "function", "strict": False, **CHAT_FUNCTION}]}),
    (
        {"tools": [{"type": "function", "function": {"name": "now", "strict": True}}]},
        {"tools": [{"type": "function", "name": "now", "parameters": NO_PARAMETERS, "strict": True}]},
    ),
    (
        {"tools": [{"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}]},
        {"tools": [{"type": "custom", "name": "sql", "format": {"type": "text"}}]},
    ),
    (
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {
                        "name": "sql",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}},
                    },
                }
            ]
        },
        {
            "tools": [
                {
                    "type": "custom",
                    "name": "sql",
                    "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
                }
            ]
        },
    ),
    ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
    *[({"tool_choice": word}, {"tool_choice": word}) for word in ("auto", "none", "required")],
    (
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tool_choice": {"type": "function", "name": "look"}},
    ),
    (
        {"tool_choice": {"type": "custom", "custom": {"name": "sql"}}},
        {"tool_choice": {"type": "custom", "name": "sql"}},
    ),
    (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "look"}}, {"type": "web_search"}],
                },
            }
        },
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "look"}, {"type": "web_search"}],
            }
        },
    ),
    ({"stream_options": {"include_usage": True}, "prediction": {"type": "content", "content": "x"}}, {}),
    (
        {
            "n": 1,
            "stop": [],
            "frequency_penalty": 0.0,
            "logprobs": False,
            "logit_bias": {},
            "modalities": ["text"],
        },
        {},
    ),
    ({"seed": None, "stop": None, "functions": None, "user": None}, {}),
    *[
        (same, same)
        for same in (
            {"temperature": 0.2},
            {"top_p": 0.9},
            {"parallel_tool_calls": False},
            {"service_tier": "flex"},
            {"metadata": {"team": "data"}},
            {"store": True},
            {"user": "u1"},
            {"safety_identifier": "u1"},
            {"prompt_cache_key": "k"},
            {"prompt_cache_options": {"ttl": "12h"}},
            {"top_logprobs": 3},
            {"include": ["reasoning.encrypted_content"]},
            {"truncation": "auto"},
            {"instructions": "Be brief."},
            {"something_new": 1},
        )
    ],
]

ANTHROPIC: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 100}, {"max_tokens": 100}),
    ({"max_completion_tokens": 100}, {"max_tokens": 100}),
    ({"max_output_tokens": 100}, {"max_tokens": 100}),
    ({"max_tokens": 50, "max_completion_tokens": 100}, {"max_tokens": 50}),
    ({"stop": "END"}, {"stop_sequences": ["END"]}),
    ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ({"temperature": 1, "top_p": 0.9, "top_k": 5}, {"temperature": 1, "top_p": 0.9, "top_k": 5}),
    *[
        ({"reasoning_effort": effort}, {"output_config": {"effort": effort}})
        for effort in ("low", "medium", "high", "xhigh", "max")
    ],
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
    (
        {"response_format": JSON_SCHEMA, "reasoning_effort": "low"},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}},
    ),
    ({"response_format": {"type": "text"}}, {}),
    (
        {"tools": [CHAT_TOOL]},
        {"tools": [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}]},
    ),
    (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "now", "strict": True},
                    "cache_control": {"type": "ephemeral"},
                }
            ]
        },
        {
            "tools": [
                {
                    "name": "now",
                    "strict": True,
                    "input_schema": NO_PARAMETERS,
                    "cache_control": {"type": "ephemeral"},
                }
            ]
        },
    ),
    (
        {"tools": [{"type": "web_search_20260318", "name": "web_search"}]},
        {"tools": [{"type": "web_search_20260318", "name": "web_search"}]},
    ),
    ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
    ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    ({"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tool_choice": {"type": "tool", "name": "look"}},
    ),
    ({"tool_choice": {"type": "tool", "name": "look"}}, {"tool_choice": {"type": "tool", "name": "look"}}),
    ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
    ({"safety_identifier": "u1"}, {"metadata": {"user_id": "u1"}}),
    ({"metadata": {"user_id": "u1"}}, {"metadata": {"user_id": "u1"}}),
    ({"service_tier": "auto"}, {"service_tier": "auto"}),
    ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
    ({"prompt_cache_key": "k", "prompt_cache_options": {}, "prompt_cache_retention": "24h"}, {}),
    ({"prediction": {}, "stream_options": {}}, {}),
    ({"n": 1, "logprobs": False, "presence_penalty": 0, "store": False, "modalities": ["text"]}, {}),
    ({"seed": None, "logprobs": None, "verbosity": None}, {}),
    ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
    ({"system": "Be brief."}, {"system": "Be brief."}),
    ({"something_new": 1}, {"something_new": 1}),
]

NOT_CARRIED: list[tuple[str, dict[str, Any], str]] = [
    *[
        (api, params, "has no such field")
        for api in ("responses", "anthropic")
        for params in (
            {"n": 2},
            {"seed": 0},
            {"frequency_penalty": 0.5},
            {"presence_penalty": -1},
            {"logit_bias": {"5": 1}},
            {"modalities": ["text", "audio"]},
            {"audio": {"voice": "ash"}},
        )
    ],
    ("responses", {"stop": "END"}, "has no such field"),
    ("responses", {"logprobs": True}, "message.output_text.logprobs"),
    ("responses", {"functions": [CHAT_FUNCTION]}, "tools"),
    ("responses", {"function_call": "auto"}, "tool_choice"),
    ("responses", {"input": "Hi"}, "from the messages"),
    ("responses", {"background": True}, "before there is an answer"),
    ("responses", {"web_search_options": {}}, "web_search"),
    ("responses", {"tools": "look"}, "list of tools"),
    ("responses", {"response_format": "json"}, "table"),
    ("anthropic", {"logprobs": True}, "has no such field"),
    ("anthropic", {"top_logprobs": 5}, "has no such field"),
    ("anthropic", {"verbosity": "low"}, "has no such field"),
    ("anthropic", {"stop": ["END", "\n"]}, "white space"),
    ("anthropic", {"store": True}, "has no such field"),
    ("anthropic", {"moderation": {"model": "m"}}, "has no such field"),
    ("anthropic", {"web_search_options": {}}, "web search tool"),
    ("anthropic", {"function_call": "auto"}, "tool_choice"),
    ("anthropic", {"tool_choice": {"type": {}}}, "one function"),
    ("anthropic", {"response_format": {"type": "json_object"}}, "json_schema"),
    ("anthropic", {"reasoning_effort": "minimal"}, "none, low, medium, high, xhigh, max"),
    ("anthropic", {"reasoning_effort": 3}, "none, low, medium, high, xhigh, max"),
    ("anthropic", {"temperature": 1.2}, "0 to 1"),
    ("anthropic", {"service_tier": "flex"}, "auto and standard_only"),
    ("anthropic", {"metadata": {"team": "data"}}, "user_id"),
    ("anthropic", {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}, "only functions"),
    ("anthropic", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "one function"),
    ("anthropic", {"functions": [CHAT_FUNCTION]}, "tools"),
]


@pytest.mark.parametrize(("params", "fields"), RESPONSES)
def test_what_responses_calls_them(params: dict[str, Any], fields: dict[str, Any]) -> None:
    assert translated("responses", params) == fields


@pytest.mark.parametrize(("params", "fields"), ANTHROPIC)
def test_what_anthropic_calls_them(params: dict[str, Any], fields: dict[str, Any]) -> None:
    assert translated("anthropic", params) == fields


@pytest.mark.parametrize(("api", "params", "why"), NOT_CARRIED)
def test_what_cannot_be_carried_is_named(api: str, params: dict[str, Any], why: str) -> None:
    (name,) = params
    with pytest.raises(Untranslatable, match=f"^{name}: the {api} API .*{why}"):
        translated(api, params)
    ((named, said),) = untranslatable(api, params)
    assert (named, why in said) == (name, True)


def test_every_word_of_a_table_is_tried() -> None:
    tried = {
        api: {name for params, _ in cases for name in params}
        for api, cases in (("responses", RESPONSES), ("anthropic", ANTHROPIC))
    }
    for api, params, _ in NOT_CARRIED:
        tried[api] |= params.keys()
    assert {api: wording.rules.keys() - tried[api] for api, wording in WORDINGS.items()} == {
        "responses": set(),
        "anthropic": set(),
    }


def test_chat_takes_its_own_words() -> None:
    assert list(untranslatable("chat", {"seed": 1, "n": 2})) == []


def test_of_a_table_a_row_sets_one_entry() -> None:
    wording = WORDINGS["responses"]
    endpoint = translated("responses", {"verbosity": "low", "max_completion_tokens": 8000, "tool_choice": "auto"})
    row = translated("responses", {"response_format": {"type": "json_object"}, "max_tokens": 50})
    assert laid_over(wording, endpoint, row) == {
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
        "max_output_tokens": 50,
        "tool_choice": "auto",
    }


WORDS = st.sampled_from([*WORDINGS["responses"].rules, *WORDINGS["anthropic"].rules, "top_k", "truncation"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "function", "json_schema", "allowed_tools", "tools", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(api=st.sampled_from(sorted(WORDINGS)), params=st.dictionaries(WORDS, VALUES, max_size=5))
def test_any_value_is_carried_or_named(api: str, params: dict[str, Any]) -> None:
    """A row can hold anything; whatever it is, it is no bug of ours."""
    refused = dict(untranslatable(api, params))
    if refused:
        with pytest.raises(Untranslatable):
            translated(api, params)
    else:
        assert None not in [value for name, value in translated(api, params).items() if name in params]


def job_file(folder: Any, api: str, params: dict[str, Any], **changes: Any) -> Any:
    (folder / "prompts.jsonl").write_text('{"prompt": "Hi"}\n')
    return jobs.write_job(folder, {"endpoints.weak.api": api, "endpoints.weak.params": params}, changes)


def faults_of(path: Any) -> list[str]:
    with pytest.raises(JobFault) as caught:
        load_job(path, environ={})
    return str(caught.value).splitlines()


def test_a_job_that_cannot_be_carried_is_told_at_its_line(tmp_path: Any) -> None:
    path = job_file(tmp_path, "anthropic", {"max_tokens": 100, "seed": 1, "n": 1, "verbosity": "low"})
    lines = path.read_text().splitlines()
    said = faults_of(path)
    assert len(said) == 2
    for name, line in zip(("seed", "verbosity"), said, strict=True):
        place = 1 + next(number for number, text in enumerate(lines) if text.startswith(f"{name} ="))
        assert (
            line == f"{path}:{place}: endpoints.weak.params.{name}: the anthropic API has no such field; remove it"
        )


def test_several_choices_are_one_fault(tmp_path: Any) -> None:
    (said,) = faults_of(job_file(tmp_path, "responses", {"n": 2}))
    assert said.endswith("endpoints.weak.params.n: the responses API has no such field; remove it")


def test_anthropic_needs_a_bound_that_the_job_or_its_rows_bring(tmp_path: Any) -> None:
    path = job_file(tmp_path, "anthropic", {"temperature": 0})
    (said,) = faults_of(path)
    assert "endpoints.weak.params: the anthropic API needs an output bound: add max_tokens" in said
    for changes in ({"input.params": "params"}, {"endpoints.weak.params": {"max_completion_tokens": 9}}):
        load_job(job_file(tmp_path, "anthropic", {}, **changes), environ={})


def test_an_api_is_one_of_three(tmp_path: Any) -> None:
    (said,) = faults_of(job_file(tmp_path, "gemini", {"seed": 1}))
    assert 'endpoints.weak.api: must be "chat", "responses" or "anthropic"' in said


@pytest.mark.parametrize(
    ("address", "ends_well"),
    [
        ("https://api.anthropic.com", False),
        ("https://api.anthropic.com/", False),
        ("https://api.anthropic.com/v1/messages", False),
        ("https://api.anthropic.com/v1", True),
        ("https://api.anthropic.com/v1/", True),
        ("https://gateway.example/anthropic", True),
    ],
)
def test_anthropics_address_ends_in_v1(tmp_path: Any, address: str, ends_well: bool) -> None:
    path = job_file(tmp_path, "anthropic", {"max_tokens": 9}, **{"endpoints.weak.base_url": address})
    if ends_well:
        load_job(path, environ={})
    else:
        (said,) = faults_of(path)
        assert 'endpoints.weak.base_url: does not end in /v1; write "https://api.anthropic.com/v1"' in said
