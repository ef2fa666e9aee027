"""The simulated provider's decisions, on a virtual clock: what is billed, what is limited, what is spoilt."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.job.endpoint import SimulateSpec
from batchroute.simulate.answer import reply_to
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.cache import NONE
from batchroute.simulate.chat import read_chat
from batchroute.simulate.compose import compose
from batchroute.simulate.openai import duration, openai_limits
from batchroute.simulate.provider import CHAT, EMBEDDINGS, Provider
from batchroute.simulate.traffic import RateLimits, Window, prompt_digest

if TYPE_CHECKING:
    from batchroute.simulate.answer import Reply


def asked(prompt: str = "Why is the sky blue?", **params: Any) -> bytes:
    return json.dumps(
        {"model": "gpt-6-luna", "messages": [{"role": "user", "content": prompt}], **params}
    ).encode()


def chat(provider: Provider, body: bytes, now_s: float = 0.0, headers: dict[str, str] | None = None) -> Reply:
    reply = provider.receive(CHAT, headers or {}, body, now_s)
    provider.release()
    return reply


def answer(reply: Reply) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(reply.body)
    return value


def test_answer_is_marked_as_simulated_and_bills_what_was_asked() -> None:
    provider = Provider(Behaviour(), 0.0)
    value = answer(chat(provider, asked("a" * 400)))
    message = value["choices"][0]["message"]
    assert value["model"] == "gpt-6-luna"
    assert message["content"].startswith("[simulated]")
    assert "gpt-6-luna" in message["content"]
    assert value["usage"]["prompt_tokens"] == 100
    assert 75 <= value["usage"]["completion_tokens"] <= 225
    assert value["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert value["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
    stats = provider.stats()
    assert (stats.prompt_tokens, stats.completion_tokens) == (100, value["usage"]["completion_tokens"])


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    cap=st.none() | st.integers(1, 200),
    n=st.integers(1, 4),
    reasoning_tokens=st.integers(0, 100),
    seed=st.integers(),
)
def test_usage_keeps_to_max_tokens_and_is_repeatable(
    prompt: str, cap: int | None, n: int, reasoning_tokens: int, seed: int
) -> None:
    body = asked(prompt, n=n, **({} if cap is None else {"max_completion_tokens": cap}))
    behaviour = Behaviour(seed=seed, reasoning_tokens=reasoning_tokens)
    first, second = (answer(chat(Provider(behaviour, 0.0), body)) for _ in range(2))
    usage = first["usage"]
    assert usage == second["usage"]
    assert usage["prompt_tokens"] == max(1, len(prompt) // 4)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] <= usage["completion_tokens"]
    assert len(first["choices"]) == n
    for choice in first["choices"]:
        if cap is not None:
            assert usage["completion_tokens"] <= cap * n
        at_cap = cap is not None and usage["completion_tokens"] == cap * n
        assert at_cap or choice["finish_reason"] == "stop"


def test_max_tokens_cuts_unless_it_is_not_honoured() -> None:
    body = asked(max_tokens=3)
    kept = answer(chat(Provider(Behaviour(), 0.0), body))
    assert kept["usage"]["completion_tokens"] == 3
    assert kept["choices"][0]["finish_reason"] == "length"
    broken = answer(chat(Provider(Behaviour(honour_max_tokens=False), 0.0), body))
    assert broken["usage"]["completion_tokens"] > 3


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "Invalid request"),
        (b"\xff", "Invalid request"),
        (b"[]", "object"),
        (b"{}", "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": "hello"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"content": "x"}]}', "role"),
        (b'{"model": "m", "messages": [{"role": "poet", "content": "x"}]}', "poet"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 7}]}', "content"),
        (asked(max_tokens=0), "max_tokens"),
        (asked(n=0), "n"),
        (asked(stream_options={"include_usage": True}), "stream_options"),
        (asked(stream="yes"), "stream"),
    ],
)
def test_bad_request_is_refused_as_a_provider_would(body: bytes, complaint: str) -> None:
    provider = Provider(Behaviour(), 0.0)
    reply = chat(provider, body)
    error = answer(reply)["error"]
    assert reply.status == 400
    assert complaint in error["message"]
    assert error["type"] == "invalid_request_error"
    assert provider.stats().prompt_tokens == 0


def chunks(reply: Reply) -> list[dict[str, Any]]:
    *events, done, rest = reply.body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_holds_the_same_answer_in_pieces(n: int) -> None:
    whole = answer(chat(Provider(Behaviour(), 0.0), asked(n=n)))
    reply = chat(Provider(Behaviour(), 0.0), asked(n=n, stream=True, stream_options={"include_usage": True}))
    assert reply.content_type.startswith("text/event-stream")
    *pieces, last = chunks(reply)
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    texts = dict.fromkeys(range(n), "")
    for (choice,) in (piece["choices"] for piece in pieces):
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}
    assert {piece["usage"] for piece in pieces} == {None}
    assert pieces[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def test_a_stream_tells_its_usage_only_where_it_is_asked_for_and_is_billed_all_the_same() -> None:
    provider = Provider(Behaviour(), 0.0)
    pieces = chunks(chat(provider, asked(stream=True)))
    assert all("usage" not in piece and piece["choices"] for piece in pieces)
    assert provider.stats().completion_tokens > 0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 400), st.integers(0, 50), st.integers(1, 400) | st.none())
def test_an_answer_is_half_to_one_and_a_half_of_its_middle_length_unless_it_is_cut(
    draw: float, middle: int, reasoning: int, cap: int | None
) -> None:
    behaviour = Behaviour(response_tokens=middle, reasoning_tokens=reasoning)
    request = read_chat(asked(**({} if cap is None else {"max_tokens": cap})))
    reply = reply_to(request, compose(request, NONE, lambda _: draw, 1, behaviour))
    usage, choice = answer(reply)["usage"], answer(reply)["choices"][0]
    whole = max(1, int(middle * (0.5 + draw))) + reasoning
    assert usage["completion_tokens"] == min(whole, cap or whole)
    assert choice["finish_reason"] == ("length" if cap is not None and cap < whole else "stop")
    visible = usage["completion_tokens"] - usage["completion_tokens_details"]["reasoning_tokens"]
    assert len(choice["message"]["content"]) >= 4 * visible
    assert reply.bill is not None
    assert (reply.bill.prompt_tokens, reply.bill.completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


def test_list_content_and_nulls_are_read_as_openai_reads_them() -> None:
    parts = [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "http://x"}}]
    messages = [{"role": "assistant", "content": None}, {"role": "user", "content": parts}]
    body = json.dumps({"model": "m", "messages": messages, "n": None, "max_tokens": None}).encode()
    assert answer(chat(Provider(Behaviour(), 0.0), body))["usage"]["prompt_tokens"] == 1


def embeddings(value: Any, **params: Any) -> Reply:
    body = json.dumps({"model": "text-embedding-3-small", "input": value, **params}).encode()
    return Provider(Behaviour(), 0.0).receive(EMBEDDINGS, {}, body, 0.0)


def test_vectors_are_unit_length_and_depend_on_the_text_alone() -> None:
    floats = answer(embeddings(["a", "b", "a"], dimensions=256))
    vectors = np.array([item["embedding"] for item in floats["data"]])
    assert vectors.shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert (vectors[0] == vectors[2]).all()
    assert (vectors[0] != vectors[1]).any()
    packed = answer(embeddings("b", dimensions=256, encoding_format="base64"))["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), vectors[1].astype(np.float32))
    assert floats["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize("value", ["", [], ["a", ""], ["a"] * 2049, 7, "x" * 40_000])
def test_embedding_inputs_that_providers_refuse(value: object) -> None:
    assert embeddings(value).status == 400


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer sk-right"}, {"api-key": "sk-right"}], ids=["bearer", "api-key"]
)
def test_right_key_passes(headers: dict[str, str]) -> None:
    assert chat(Provider(Behaviour(api_key="sk-right"), 0.0), asked(), headers=headers).status == 200


def test_wrong_key_is_echoed_as_some_providers_do() -> None:
    provider = Provider(Behaviour(api_key="sk-right"), 0.0)
    reply = chat(provider, asked(), headers={"Authorization": "Bearer sk-wrong"})
    assert reply.status == 401
    assert answer(reply)["error"]["code"] == "invalid_api_key"
    assert "sk-wrong" in answer(reply)["error"]["message"]
    assert "sk-right" not in repr(provider.behaviour)


def test_concurrency_above_the_limit_is_a_429() -> None:
    provider = Provider(Behaviour(max_concurrency=2), 0.0)
    statuses = [provider.receive(CHAT, {}, asked(), 0.0).status for _ in range(3)]
    provider.release()
    provider.release()
    assert [*statuses, provider.receive(CHAT, {}, asked(), 0.0).status] == [200, 200, 429, 200]
    assert provider.stats().max_in_flight == 3


def test_requests_per_minute_slide() -> None:
    provider = Provider(Behaviour(requests_per_minute=3), 0.0)
    moments = (0.0, 10.0, 20.0, 30.5, 59.9, 60.0, 61.0, 70.0)
    replies = [chat(provider, asked(), now_s) for now_s in moments]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429, 200, 429, 200]
    assert replies[3].headers["Retry-After"] == "30"
    assert replies[3].headers["retry-after-ms"] == "29500"
    assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies[:4]] == ["2", "1", "0", "0"]
    assert replies[3].headers["x-ratelimit-reset-requests"] == "49.5s"
    assert provider.stats().by_status == {"200": 5, "429": 3}


def test_tokens_per_minute_count_what_is_billed() -> None:
    provider = Provider(Behaviour(tokens_per_minute=250, response_tokens=1000), 0.0)
    body = asked("a" * 200, max_tokens=50)
    statuses = [chat(provider, body, now_s).status for now_s in (0.0, 1.0, 2.0, 59.0, 60.0)]
    assert statuses == [200, 200, 429, 429, 200]


def test_retry_after_can_be_dictated() -> None:
    provider = Provider(Behaviour(requests_per_minute=1, retry_after_s=0.25), 0.0)
    chat(provider, asked())
    headers = chat(provider, asked()).headers
    assert (headers["Retry-After"], headers["retry-after-ms"]) == ("1", "250")


@given(
    limit=st.integers(1, 50),
    # In sixty-fourths of a second, which add up exactly: a wait of 1e-30 s is lost in the rounding of any clock.
    arrivals=st.lists(st.tuples(st.integers(0, 1280).map(lambda n: n / 64), st.integers(1, 60)), max_size=30),
)
def test_window_never_grants_more_than_its_limit_in_any_minute(
    limit: int, arrivals: list[tuple[float, int]]
) -> None:
    window, now_s, granted = Window(limit), 0.0, list[tuple[float, int]]()
    for gap_s, amount in arrivals:
        now_s += gap_s
        wait_s = window.wait_s(now_s, amount)
        if wait_s == 0:
            window.grant(now_s, amount)
            granted.append((now_s, amount))
        else:
            assert wait_s <= 60 + 1e-9
    for end_s, last in granted:
        inside = sum(amount for at_s, amount in granted if end_s - 60 < at_s <= end_s)
        assert inside <= max(limit, last)


def test_the_example_of_the_module_is_true() -> None:
    limits = RateLimits(3, None)
    waits = {now_s: limits.take(now_s, 1) for now_s in (0.0, 10.0, 20.0, 30.0, 31.0, 32.0, 60.0, 61.0)}
    assert waits == {0.0: 0, 10.0: 0, 20.0: 0, 30.0: 30, 31.0: 29, 32.0: 28, 60.0: 0, 61.0: 9}
    limits = RateLimits(3, 1000)
    assert [limits.take(0.0, 600), limits.take(0.0, 500), limits.take(0.0, 1500)] == [0, 60, 60]
    assert [limits.take(60.0, 500), limits.take(60.0, 1500), limits.take(120.0, 1500)] == [0, 60, 0]


def test_a_request_that_gets_a_fault_was_admitted_and_one_that_is_turned_away_was_not() -> None:
    provider = Provider(Behaviour(requests_per_minute=1, api_key="sk-right"), 0.0)
    right = {"Authorization": "Bearer sk-right"}
    assert chat(provider, asked(), headers={"Authorization": "Bearer sk-wrong"}).status == 401
    assert chat(provider, b"no JSON", headers=right).status == 400
    assert chat(provider, asked("[[fault:500]]"), headers=right).status == 500
    assert chat(provider, asked(), headers=right).status == 429


def test_refused_request_takes_from_neither_window() -> None:
    limits = RateLimits(10, 100)
    assert limits.take(0.0, 90) == 0
    assert limits.take(1.0, 20) == 59
    assert openai_limits(limits.windows(1.0))["x-ratelimit-remaining-requests"] == "9"
    assert limits.take(1.0, 10) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.02, "20ms"), (1, "1s"), (7.66, "7.66s"), (60, "1m0s"), (360, "6m0s")]
)
def test_duration_is_written_as_openai_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rates_are_met_and_do_not_depend_on_the_order_of_arrival() -> None:
    behaviour = Behaviour(error_rate=0.1, rate_limit_rate=0.05, faults={"cut": 0.05}, seed=7)
    prompts = [f"prompt {i}" for i in range(4000)]

    def outcomes(order: list[str]) -> dict[str, tuple[int, str]]:
        provider = Provider(behaviour, 0.0)
        replies = {prompt: chat(provider, asked(prompt)) for prompt in order}
        return {prompt: (reply.status, reply.delivery) for prompt, reply in replies.items()}

    forwards = outcomes(prompts)
    assert forwards == outcomes(prompts[::-1])
    counts = [list(forwards.values()).count(kind) for kind in ((500, "whole"), (429, "whole"), (200, "cut"))]
    assert counts == [pytest.approx(400, abs=80), pytest.approx(200, abs=60), pytest.approx(200, abs=60)]


def test_next_attempt_of_a_failed_prompt_is_drawn_anew() -> None:
    provider = Provider(Behaviour(error_rate=0.5), 0.0)
    statuses = [chat(provider, asked("the same")).status for _ in range(200)]
    assert set(statuses[:20]) == {200, 500} or 200 in statuses[:20]
    assert statuses[-1] == 200, "a prompt that was answered once is answered from then on"


def test_marker_fails_the_first_requests_only() -> None:
    provider = Provider(Behaviour(error_rate=1.0, count_prompts=True), 0.0)
    prompt = "answer me [[fault:503:2]]"
    assert [chat(provider, asked(prompt)).status for _ in range(4)] == [503, 503, 200, 200]
    stats = provider.stats()
    assert stats.by_fault == {"503": 2}
    assert stats.asked == {prompt_digest(prompt): 4}
    assert stats.billed == {prompt_digest(prompt): 2}


def test_marker_with_an_unknown_name_says_what_there_is() -> None:
    reply = chat(Provider(Behaviour(), 0.0), asked("[[fault:gremlin]]"))
    assert reply.status == 400
    assert "gremlin" in answer(reply)["error"]["message"]
    assert "gzip_bomb" in answer(reply)["error"]["message"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("401", 401, None),
        ("402", 402, None),
        ("403", 403, None),
        ("404", 404, "model_not_found"),
        ("409", 409, None),
        ("413", 413, None),
        ("422", 422, None),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, "server_error"),
        ("529", 529, None),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("content_filter", 400, "content_filter"),
        ("permission_denied", 403, "permission_denied"),
        ("ok_server_error", 200, "server_error"),
        ("ok_insufficient_quota", 200, "insufficient_quota"),
    ],
)
def test_refusals_by_name(name: str, status: int, code: str | None) -> None:
    provider = Provider(Behaviour(), 0.0)
    reply = chat(provider, asked(f"[[fault:{name}]]"))
    assert (reply.status, answer(reply)["error"]["code"]) == (status, code)
    assert provider.stats().completion_tokens == 0, "a refusal is not billed"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"latency": 1}, "latency"),
        ({"latency_s": "soon"}, "latency_s"),
        ({"latency_s": -1}, "negative"),
        ({"error_rate": 1.5}, "rates"),
        ({"error_rate": 0.6, "rate_limit_rate": 0.6}, "rates"),
        ({"requests_per_minute": 0}, "positive"),
        ({"faults": {"gremlin": 0.1}}, "gremlin"),
    ],
)
def test_wrong_setting_changes_nothing(changes: dict[str, Any], complaint: str) -> None:
    provider = Provider(Behaviour(latency_s=0.5), 0.0)
    with pytest.raises(UsageFault, match=complaint):
        provider.control(changes)
    assert provider.behaviour == Behaviour(latency_s=0.5)


def test_control_changes_settings_and_resets_counters() -> None:
    provider = Provider(Behaviour(requests_per_minute=1), 0.0)
    assert [chat(provider, asked()).status for _ in range(2)] == [200, 429]
    provider.control({"latency_s": 1.5, "response_tokens": 10})
    assert chat(provider, asked()).status == 429, "changing another setting does not refill the window"
    provider.control({"requests_per_minute": None}, reset=True)
    reply = chat(provider, asked())
    assert (reply.status, reply.after_s, provider.stats().requests) == (200, 1.5, 1)


def test_defaults_are_all_off() -> None:
    off = asdict(Behaviour())
    settings = (
        "latency_s",
        "jitter_s",
        "error_rate",
        "rate_limit_rate",
        "requests_per_minute",
        "api_key",
        "faults",
    )
    assert not any(off[name] for name in settings)


def test_job_file_names_its_settings_as_we_do() -> None:
    spec = SimulateSpec(latency_s=0.1, error_rate=0.02, tokens_per_minute=1000)
    behaviour = Behaviour(**spec.model_dump())
    assert (behaviour.latency_s, behaviour.error_rate, behaviour.tokens_per_minute) == (0.1, 0.02, 1000)


def test_down_resets_until_it_is_up_again() -> None:
    provider = Provider(Behaviour(down=True), 0.0)
    assert chat(provider, asked()).delivery == "reset"
    provider.control({"down": False})
    assert chat(provider, asked()).status == 200
    assert provider.stats().by_status == {"0": 1, "200": 1}


def test_jitter_is_added_to_latency() -> None:
    provider = Provider(Behaviour(latency_s=1.0, jitter_s=0.5), 0.0)
    waits_s = {chat(provider, asked(f"prompt {i}")).after_s for i in range(50)}
    assert len(waits_s) > 40
    assert 1.0 <= min(waits_s) < 1.1
    assert 1.4 < max(waits_s) < 1.5
