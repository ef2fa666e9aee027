"""The prompt cache: what is read and written, for whom; answers and the bill say the same of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.cache import PromptCache, bills_writes
from batchroute.simulate.chat import read_chat
from batchroute.simulate.provider import CHAT, MESSAGES, RESPONSES, Provider

if TYPE_CHECKING:
    from batchroute.simulate.answer import Reply

VERSION = {"anthropic-version": "2023-06-01"}
SYSTEM, QUESTIONS = "s" * 8000, ["a" * 2000, "b" * 2000, "c" * 2000]  # 2,000 and 500 tokens
EPHEMERAL = {"type": "ephemeral"}


def send(provider: Provider, route: str, body: dict[str, Any]) -> Reply:
    reply = provider.receive(route, VERSION if route == MESSAGES else {}, json.dumps(body).encode(), 0.0)
    provider.release()
    return reply


def chat(model: str, system: Any, question: str, **more: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return CHAT, {"model": model, "messages": messages, **more}


def message(system: Any, question: str, **more: Any) -> tuple[str, dict[str, Any]]:
    asked = [{"role": "user", "content": question}]
    return MESSAGES, {"model": "claude-haiku-5-5", "max_tokens": 9, "system": system, "messages": asked, **more}


def used(reply: Reply) -> tuple[int, int, int]:
    """Plain, read and written tokens of a prompt, from the answer's own usage."""
    usage = json.loads(reply.body)["usage"]
    if "cache_read_input_tokens" in usage:
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        assert sum(usage["cache_creation"].values()) == written
        return usage["input_tokens"], read, written
    details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
    read, written = details["cached_tokens"], details.get("cache_write_tokens", 0)
    return usage.get("prompt_tokens", usage.get("input_tokens")) - read - written, read, written


def marked(ttl: str = "5m") -> list[dict[str, Any]]:
    return [{"type": "text", "text": SYSTEM, "cache_control": {**EPHEMERAL, "ttl": ttl}}]


BREAKPOINT = [{"type": "text", "text": SYSTEM, "prompt_cache_breakpoint": {"mode": "explicit"}}]
EXPLICIT = {"prompt_cache_options": {"mode": "explicit"}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # The example of the module, and its variants: (plain, read, written) of three prompts.
        ([chat("gpt-6-luna", SYSTEM, q) for q in QUESTIONS], [(0, 0, 2500), (0, 2000, 500), (0, 2000, 500)]),
        ([chat("gpt-4o", SYSTEM, q) for q in QUESTIONS], [(2500, 0, 0), (580, 1920, 0), (580, 1920, 0)]),
        ([message(marked(), q) for q in QUESTIONS], [(500, 0, 2000), (500, 2000, 0), (500, 2000, 0)]),
        ([message(SYSTEM, q) for q in QUESTIONS], [(2500, 0, 0)] * 3),
        ([message(SYSTEM, "q" * 4, cache_control=EPHEMERAL)] * 2, [(0, 0, 2001), (0, 2001, 0)]),
        ([chat("gpt-6-luna", SYSTEM, "q" * 4)] * 2, [(0, 0, 2001), (0, 2001, 0)]),
        ([chat("gpt-5.4", SYSTEM, "q" * 4)] * 2, [(2001, 0, 0), (81, 1920, 0)]),
        # Only what the client marks; nothing where it marks nothing.
        ([chat("gpt-6-luna", BREAKPOINT, q, **EXPLICIT) for q in QUESTIONS[:2]], [(500, 0, 2000), (500, 2000, 0)]),
        ([chat("gpt-6-luna", SYSTEM, "q", **EXPLICIT)] * 2, [(2000, 0, 0)] * 2),
        # Another model, another beginning, too short: nothing is shared.
        ([chat(name, SYSTEM, "q" * 4) for name in ("gpt-6-luna", "gpt-6-sol")], [(0, 0, 2001)] * 2),
        ([chat("gpt-6-luna", one + SYSTEM, "q" * 4) for one in "xy"], [(0, 0, 2001)] * 2),
        ([chat("gpt-6-luna", "s" * 4088, "q" * 4)] * 2, [(1023, 0, 0)] * 2),
        ([chat("gpt-6-luna", "s" * 4092, "q" * 4)] * 2, [(0, 0, 1024), (0, 1024, 0)]),
        ([chat("gpt-4o", "s" * 4092, "q" * 4)] * 2, [(1024, 0, 0), (0, 1024, 0)]),
        # A request that is not billed writes nothing.
        ([chat("gpt-6-luna", SYSTEM, "[[fault:no_usage:1]]")] * 3, [None, (0, 2005, 0), (0, 2005, 0)]),
        ([chat("gpt-6-luna", SYSTEM, "[[fault:500:1]]abc.")] * 3, [None, (0, 0, 2004), (0, 2004, 0)]),
    ],
)
def test_what_is_read_and_written(
    asked: list[tuple[str, dict[str, Any]]], expected: list[tuple[int, int, int] | None]
) -> None:
    provider = Provider(Behaviour(), 0.0)
    replies = [send(provider, route, body) for route, body in asked]
    assert [
        None if told is None else used(reply) for reply, told in zip(replies, expected, strict=True)
    ] == expected


def test_responses_reads_and_writes_as_chat_does() -> None:
    provider = Provider(Behaviour(), 0.0)
    bodies = [{"model": "gpt-6-luna", "instructions": SYSTEM, "input": question} for question in QUESTIONS]
    assert [used(send(provider, RESPONSES, body)) for body in bodies] == [
        (0, 0, 2500),
        (0, 2000, 500),
        (0, 2000, 500),
    ]


def test_what_is_written_for_an_hour_is_a_line_item_of_its_own() -> None:
    provider = Provider(Behaviour(), 0.0)
    question = [{"type": "text", "text": "q" * 2000, "cache_control": EPHEMERAL}]
    route, body = message(marked("1h"), "")
    body["messages"][0]["content"] = question
    first, second = (json.loads(send(provider, route, body).body)["usage"] for _ in range(2))
    assert first["cache_creation"] == {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 2000}
    assert (second["cache_read_input_tokens"], second["input_tokens"]) == (2500, 0)
    (line,) = provider.stats().bill
    assert (line.input_tokens, line.cached_tokens, line.written_tokens, line.written_1h_tokens) == (
        0,
        2500,
        500,
        2000,
    )


def test_a_conversation_reads_what_its_last_turn_wrote() -> None:
    provider = Provider(Behaviour(), 0.0)
    turns = [{"role": "user", "content": SYSTEM}]
    more = [{"role": "assistant", "content": "a" * 400}, {"role": "user", "content": "q" * 400}]
    first = {"model": "gpt-6-luna", "messages": turns}
    assert used(send(provider, CHAT, first)) == (0, 0, 2000)
    assert used(send(provider, CHAT, {**first, "messages": turns + more})) == (0, 2000, 200)
    moved = {"model": "claude-haiku-5-5", "max_tokens": 9, "cache_control": EPHEMERAL}
    assert used(send(provider, MESSAGES, {**moved, "messages": turns})) == (0, 0, 2000)
    assert used(send(provider, MESSAGES, {**moved, "messages": turns + more})) == (0, 2000, 200)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5.6-sol", True),
        ("gpt-5.6", True),
        ("gpt-6-luna", True),
        ("openai/gpt-6.1-sol", True),
        ("gpt-6.1-sol-2026-11-01", True),
        ("gpt-10", True),
        ("gpt-5.5-pro", False),
        ("gpt-5", False),
        ("gpt-4-1106-preview", False),
        ("gpt-4o-mini", False),
        ("my-gpt-6", False),
        ("claude-haiku-5-5", False),
    ],
)
def test_which_models_bill_what_they_write(model: str, expected: bool) -> None:
    assert bills_writes(model) is expected


def test_the_oldest_entries_fall_out() -> None:
    kept = PromptCache(most_entries=4)
    reads = []
    for letter in "abacadac":  # each is two entries, and `a` is used again and again
        _, body = chat("gpt-6-luna", letter + SYSTEM, "q" * 4)
        use = kept.use(read_chat(json.dumps(body).encode()), 2001, 4.0)
        kept.keep(use)
        reads.append(use.read_tokens)
    assert reads == [0, 0, 2001, 0, 2001, 0, 2001, 0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gpt-6-luna", "gpt-4o", "claude", "claude 1h"]),
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(900, 1400),
        ),
        max_size=12,
    )
)
def test_the_bill_is_the_sum_of_what_the_answers_say(asked: list[tuple[str, int, int, int]]) -> None:
    provider = Provider(Behaviour(), 0.0)
    said: Counter[str] = Counter()
    for model, system, question, tokens in asked:
        told = f"{system}" * 4 * tokens
        if model.startswith("claude"):
            ttl = "1h" if model.endswith("1h") else "5m"
            block = {"type": "text", "text": told, "cache_control": {**EPHEMERAL, "ttl": ttl}}
            route, body = message([block], f"{question}" * 400)
        else:
            route, body = chat(model, told, f"{question}" * 400)
        plain, read, written = used(send(provider, route, body))
        assert min(plain, read, written) >= 0
        assert plain + read + written == tokens + 100
        assert max(read, written) == 0 or tokens + 100 >= 1024
        said.update(plain=plain, read=read, written=written)
    lines = provider.stats().bill
    assert sum(line.input_tokens for line in lines) == said["plain"]
    assert sum(line.cached_tokens for line in lines) == said["read"]
    assert sum(line.written_tokens + line.written_1h_tokens for line in lines) == said["written"]
    assert provider.stats().prompt_tokens == said.total()
