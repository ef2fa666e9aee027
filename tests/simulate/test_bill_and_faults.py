"""The true bill beside what answers say of it, tiers of service, and every fault in every dialect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from batchroute.errors import UsageFault
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.faults import ERRORS, FAULTS
from batchroute.simulate.provider import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, Provider
from servers import simulator_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.simulate.answer import Reply
    from batchroute.simulate.traffic import BillLine

SYSTEM = "s" * 8000  # 2,000 tokens
QUESTION_CHARS = 400


def send(provider: Provider, prompt: str, **more: Any) -> Reply:
    """One request; the beginning is the same every time, so that it is read from the cache from the second on."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt.ljust(QUESTION_CHARS)}]
    body = json.dumps({"model": "gpt-6-luna", "messages": messages, **more}).encode()
    reply = provider.receive(CHAT, {}, body, 0.0)
    provider.release()
    return reply


def second(fault: str, **settings: Any) -> tuple[dict[str, Any], BillLine]:
    """What is said of a prompt of 2,100 tokens, 2,000 of them cached by then, and the true bill for it."""
    provider = Provider(Behaviour(**settings), 0.0)
    send(provider, "the first one", service_tier="priority")  # a line of the bill by itself
    answer = json.loads(send(provider, f"[[fault:{fault}]]").body)
    (line,) = [line for line in provider.stats().bill if line.tier == "default"]
    return answer, line


def pair(usage: dict[str, Any], one: str, other: str) -> tuple[int, int]:
    return usage[one], usage[other]


def beside(usage: dict[str, Any], output: int) -> bool:
    return bool(usage["total_tokens"] - usage["prompt_tokens"] == output and usage["completion_tokens"] < output)


SPELLED: dict[str, Callable[[dict[str, Any], int], bool]] = {
    "cached_deepseek": lambda u, _: pair(u, "prompt_cache_hit_tokens", "prompt_cache_miss_tokens") == (2000, 100),
    "cached_moonshot": lambda u, _: u["cached_tokens"] == 2000 and "prompt_tokens_details" not in u,
    "cached_anthropic": lambda u, _: (
        (u["cache_read_input_tokens"], u["cache_creation_input_tokens"]) == (2000, 100)
    ),
    "reasoning_beside": lambda u, out: (
        beside(u, out) and u["completion_tokens"] + u["completion_tokens_details"]["reasoning_tokens"] == out
    ),
    "reasoning_unsaid": lambda u, out: beside(u, out) and "completion_tokens_details" not in u,
    "usage_zero": lambda u, _: set(u.values()) == {0},
    "usage_no_total": lambda u, out: "total_tokens" not in u and u["completion_tokens"] == out,
    "usage_strings": lambda u, out: u["completion_tokens"] == str(out),
    "usage_nulls": lambda u, _: set(u.values()) == {None},
    "no_usage": lambda u, _: u is None,
    "zero_cost": lambda u, out: (u["cost"], u["completion_tokens"]) == (0, out),
    "own_cost": lambda u, out: (u["cost"], u["completion_tokens"]) == (0.5, out),
}


@pytest.mark.parametrize("reasoning_tokens", [0, 30])
@pytest.mark.parametrize("fault", SPELLED)
def test_the_bill_stays_true_however_the_usage_is_spelled(fault: str, reasoning_tokens: int) -> None:
    answer, line = second(fault, reasoning_tokens=reasoning_tokens, own_cost_usd=0.5)
    assert (line.input_tokens, line.cached_tokens, line.written_tokens) == (0, 2000, 100)
    assert 75 <= line.output_tokens - reasoning_tokens <= 225
    assert line.cost_usd == (0.5 if fault == "own_cost" else None)
    assert SPELLED[fault](answer.get("usage"), line.output_tokens)


def test_another_model_that_answers_is_the_one_that_is_billed() -> None:
    provider = Provider(Behaviour(other_model="gpt-6-astra"), 0.0)
    replies = [send(provider, "[[fault:other_model]]", stream=stream) for stream in (False, True)]
    assert json.loads(replies[0].body)["model"] == "gpt-6-astra"
    assert b'"model":"gpt-6-astra"' in replies[1].body
    assert [(line.model, line.answers) for line in provider.stats().bill] == [("gpt-6-astra", 2)]


def test_answers_that_name_their_cost_have_a_line_of_their_own() -> None:
    provider = Provider(Behaviour(own_cost_usd=0.25), 0.0)
    for prompt in ("plain", "[[fault:own_cost]] 1", "[[fault:own_cost]] 2"):
        send(provider, prompt)
    assert [(line.answers, line.cost_usd) for line in provider.stats().bill] == [(1, None), (2, 0.5)]


@pytest.mark.parametrize(
    ("asked", "tier_answers", "named", "billed"),
    [
        (None, {}, "default", "default"),
        ("auto", {}, "default", "default"),
        ("flex", {}, "flex", "flex"),
        ("priority", {}, "priority", "priority"),
        ("flex", {"flex": "default"}, "default", "default"),
        ("flex", {"flex": None}, None, "flex"),
        (None, {"default": "scale"}, "scale", "scale"),
    ],
)
def test_the_tier_that_is_named_and_the_one_that_is_billed(
    asked: str | None, tier_answers: dict[str, str | None], named: str | None, billed: str
) -> None:
    provider = Provider(Behaviour(tier_answers=tier_answers), 0.0)
    answer = json.loads(send(provider, "x", service_tier=asked).body)
    assert answer.get("service_tier") == named
    assert [line.tier for line in provider.stats().bill] == [billed]


@pytest.mark.parametrize(("error", "status"), [("resource_unavailable", 429), ("capacity_exceeded", 498)])
def test_a_tier_that_is_full_refuses_its_share_and_no_other_tiers(error: str, status: int) -> None:
    provider = Provider(Behaviour(busy={"flex": 0.4}, busy_error=error), 0.0)
    flex = [send(provider, f"prompt {i}", service_tier="flex") for i in range(500)]
    usual = [send(provider, f"prompt {i}") for i in range(100)]
    assert {reply.status for reply in usual} == {200}
    full = [reply for reply in flex if reply.status != 200]
    assert len(full) == pytest.approx(200, abs=50)
    assert {(reply.status, json.loads(reply.body)["error"]["code"]) for reply in full} == {(status, error)}
    assert not any("Retry-After" in reply.headers for reply in full)
    assert provider.stats().by_fault == {error: len(full)}
    tries = [send(provider, "prompt 1", service_tier="flex").status for _ in range(30)]
    assert tries[-1] == 200, "there is room again for one that tries long enough"


def test_a_poisoned_prompt_always_fails_and_the_others_never_do() -> None:
    provider = Provider(Behaviour(poison={"500": 0.1, "404": 0.1}), 0.0)
    rounds = [[send(provider, f"prompt {i}").status for i in range(400)] for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert [rounds[0].count(status) for status in (500, 404)] == [pytest.approx(40, abs=20)] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"poison": {"gremlin": 0.1}},
        {"poison": {"500": 0.6, "404": 0.6}},
        {"busy": {"flex": 1.5}},
        {"busy_error": "gremlin"},
        {"own_cost_usd": -1},
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageFault):
        Provider(Behaviour(**settings), 0.0)


CHOICES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "prompt_filtered": lambda answer: answer["choices"] == [] and answer["prompt_filter_results"],
    "no_message": lambda answer: "message" not in answer["choices"][0],
    "null_message": lambda answer: answer["choices"][0]["message"] is None,
    "choice_error_429": lambda answer: answer["choices"][0]["error"]["code"] == 429,
    "choice_error_502": lambda answer: answer["choices"][0]["error"]["code"] == 502,
    "finish_error": lambda answer: answer["choices"][0]["finish_reason"] == "error",
    "content_number": lambda answer: answer["choices"][0]["message"]["content"] == 42,
    "content_object": lambda answer: "answer" in answer["choices"][0]["message"]["content"],
    "content_strings": lambda answer: len(answer["choices"][0]["message"]["content"]) == 2,
    "refusal": lambda answer: answer["choices"][0]["message"]["content"] is None,
    "filtered": lambda answer: answer["choices"][0]["finish_reason"] == "content_filter",
    "no_room": lambda answer: answer["choices"][0]["finish_reason"] == "length",
    "base_resp": lambda answer: answer["base_resp"]["status_code"] == 1002,
    "object_error": lambda answer: answer["object"] == "error",
}


@pytest.mark.parametrize("fault", CHOICES)
def test_answers_that_are_not_as_they_should_be(fault: str) -> None:
    reply = send(Provider(Behaviour(), 0.0), f"[[fault:{fault}]]")
    assert reply.status == 200
    assert CHOICES[fault](json.loads(reply.body))


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("credit_balance", 400, "credit balance is too low"),
        ("quota_words", 429, "exceeded your current quota"),
        ("insufficient_balance", 402, "Insufficient Balance"),
        ("exceeded_current_quota_error", 429, "insufficient balance"),
        ("too_large", 429, "Request too large"),
        ("try_again", 429, "try again in 1s"),
    ],
)
def test_errors_whose_meaning_is_in_their_words(fault: str, status: int, words: str) -> None:
    reply = send(Provider(Behaviour(retry_after_s=1.0), 0.0), f"[[fault:{fault}]]")
    assert (reply.status, "Retry-After" in reply.headers) == (status, False)
    assert words in json.loads(reply.body)["error"]["message"]


def test_googles_errors_are_lists() -> None:
    (busy,) = json.loads(send(Provider(Behaviour(), 0.0), "[[fault:google_429]]").body)
    assert busy["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert busy["error"]["details"][0]["retryDelay"] == "1s"


def test_a_stream_that_was_not_asked_for() -> None:
    reply = send(Provider(Behaviour(), 0.0), "[[fault:unasked_events]]")
    assert (reply.content_type.split(";")[0], reply.delivery) == ("text/event-stream", "events")
    assert reply.body.endswith(b"data: [DONE]\n\n")


ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": [{"role": "user", "content": "X"}]}),
    "chat tool": (
        CHAT,
        {
            "messages": [{"role": "user", "content": "X"}],
            "tools": [{"type": "function", "function": {"name": "look"}}],
            "tool_choice": "required",
        },
    ),
    "chat stream": (CHAT, {"messages": [{"role": "user", "content": "X"}], "stream": True}),
    "responses": (RESPONSES, {"input": "X"}),
    "responses stream": (RESPONSES, {"input": "X", "stream": True}),
    "messages": (MESSAGES, {"messages": [{"role": "user", "content": "X"}], "max_tokens": 50}),
    "messages stream": (
        MESSAGES,
        {"messages": [{"role": "user", "content": "X"}], "max_tokens": 50, "stream": True},
    ),
    "embeddings": (EMBEDDINGS, {"input": "X"}),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("fault", [*FAULTS, *ERRORS, "503", "307", "ok_server_error"])
def test_every_fault_has_an_answer_to_everything(fault: str, asked: str) -> None:
    route, fields = ASKED[asked]
    body = json.dumps({"model": "m", **fields}).replace('"X"', json.dumps(f"[[fault:{fault}]]")).encode()
    provider = Provider(Behaviour(oversize_mb=0.01), 0.0)
    reply = provider.receive(route, {"anthropic-version": "2023-06-01"}, body, 0.0)
    assert provider.stats().by_fault == {fault: 1}
    assert (reply.bill is not None) == bool(provider.stats().bill)
    if reply.status >= 400:
        assert reply.bill is None
        assert b'"error"' in reply.body


def test_the_bill_is_to_be_had_over_http() -> None:
    with (
        simulator_process(Behaviour(tier_answers={"flex": None})) as server,
        openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        asked: Any = [{"role": "user", "content": "x" * 400}]
        client.chat.completions.create(model="gpt-6-luna", messages=asked, service_tier="flex")
        (line,) = server.stats().bill
        assert (line.model, line.tier, line.answers, line.input_tokens) == ("gpt-6-luna", "flex", 1, 100)
