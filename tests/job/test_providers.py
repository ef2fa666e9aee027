from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from batchroute.job.price_table import near_models
from batchroute.job.providers import leaving, likely_address, refused_params

OPENAI = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://api.openai.com", OPENAI),
        ("https://api.openai.com/", OPENAI),
        ("https://api.openai.com/v1/chat/completions", OPENAI),
        ("https://api.openai.com/v1/chat/completions/", OPENAI),
        ("https://api.openai.com/chat/completions", OPENAI),
        ("https://api.openai.com/v1/responses", OPENAI),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
        ("https://api.openai.com/v1/embeddings", OPENAI),
        ("https://api.groq.com/v1", "https://api.groq.com/openai/v1"),
        ("https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        ("https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("http://gateway.corp/llm/v1/chat/completions?tag=a", "http://gateway.corp/llm/v1?tag=a"),
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
    ],
)
def test_an_address_that_is_hardly_meant(written: str, meant: str) -> None:
    assert likely_address(written) == meant
    assert likely_address(meant) is None


@pytest.mark.parametrize(
    "url",
    [
        OPENAI,
        f"{OPENAI}/",
        "https://eu.api.openai.com/v1",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "https://mine.openai.azure.com/openai/deployments/gpt-6-luna?api-version=2026-01-01",
        "https://mine.openai.azure.com/openai/v1",
        "https://api.deepseek.com",
        "https://api.perplexity.ai",
        "https://gateway.corp",
        "http://localhost:8080",
        "http://localhost:11434/v1",
        "https://api.fireworks.ai/inference/v1",
    ],
)
def test_an_address_that_may_well_be_meant(url: str) -> None:
    assert likely_address(url) is None


@pytest.mark.parametrize(
    ("model", "base_url", "params", "refused"),
    [
        ("gpt-6-luna", OPENAI, {"max_tokens": 5}, ["max_tokens"]),
        ("gpt-5.4-mini", OPENAI, {"max_tokens": 5}, ["max_tokens"]),
        ("o3-mini", OPENAI, {"max_tokens": 5, "temperature": 0}, ["max_tokens", "temperature"]),
        ("gpt-5-mini-2025-08-07", OPENAI, {"temperature": 0.2}, ["temperature"]),
        ("gpt-5", "https://mine.openai.azure.com/openai/v1", {"max_tokens": 5}, ["max_tokens"]),
        ("gpt-6-luna", OPENAI, {"max_completion_tokens": 5, "temperature": 0}, []),
        ("gpt-5", OPENAI, {"temperature": 1}, []),
        ("gpt-4o-mini", OPENAI, {"max_tokens": 5, "temperature": 0}, []),
        ("gpt-oss-120b", "https://api.groq.com/openai/v1", {"max_tokens": 5}, []),
        ("openai/gpt-6-luna", "https://openrouter.ai/api/v1", {"max_tokens": 5}, []),
        ("gpt-6-luna", "http://localhost:4000/v1", {"max_tokens": 5}, []),
    ],
)
def test_params_that_a_provider_refuses(
    model: str, base_url: str, params: dict[str, Any], refused: list[str]
) -> None:
    assert [param for param, _ in refused_params(model, base_url, params)] == refused


@pytest.mark.parametrize(
    ("model", "today", "words"),
    [
        ("o4-mini", date(2026, 11, 28), "went off on 2026-10-23; its successor is gpt-6.1-sol"),
        ("gpt-5", date(2026, 11, 28), "goes off on 2026-12-11; its successor is gpt-6.1-sol"),
        ("openai/gpt-4o-mini", date(2026, 11, 28), "goes off on 2027-01-14; its successor is gpt-6-luna"),
        ("gpt-5", date(2026, 6, 1), None),
        ("gpt-5.4", date(2026, 11, 28), None),
        ("gpt-6-luna", date(2026, 11, 28), None),
    ],
)
def test_a_model_that_leaves_is_named_with_its_successor(model: str, today: date, words: str | None) -> None:
    assert leaving(model, today) == words


@pytest.mark.parametrize(
    ("model", "host", "near"),
    [
        ("gpt-6.1-sool", "api.openai.com", "gpt-6.1-sol"),
        ("gpt6-luna", "api.openai.com", "gpt-6-luna"),
        ("GPT-6.1-SOL", "api.openai.com", "gpt-6.1-sol"),
        ("gpt-6.1", "api.openai.com", "gpt-6.1-sol"),
        ("claude-sonet-4-5", "api.anthropic.com", "claude-sonnet-4-5"),
        ("claude-sonet-4-5", "api.openai.com", None),
        ("llama-3.3-70b-versatil", "api.groq.com", "llama-3.3-70b-versatile"),
        ("something-else", "api.openai.com", None),
        ("something-else", None, None),
    ],
)
def test_the_nearest_name_of_the_price_table(model: str, host: str | None, near: str | None) -> None:
    assert next(iter(near_models(model, host)), None) == near
