"""Whether a name that a provider answers with means the model that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.served import is_asked_model

NAMES = st.text("abcxyz.-0123456789", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-x", "gpt-x", True),
        ("gpt-x", "gpt-x-2026-03-01", True),
        ("gpt-x-2026-03-01", "gpt-x", True),
        ("claude-x-4", "claude-x-4-20260301", True),
        ("claude-x-latest", "claude-x-20260301", True),
        ("claude-x@20260301", "claude-x-20260301", True),
        ("gpt-x", "gpt-x-0301", True),
        ("gemini-x-flash", "models/gemini-x-flash-001", True),
        ("openai/gpt-x", "gpt-x", True),
        ("gpt-x", "openai/gpt-x-2026-03-01", True),
        ("accounts/a/models/llama-x", "llama-x", True),
        ("meta/Llama-X", "meta/llama-x", True),
        ("claude-x", "us.anthropic.claude-x-20260301-v1:0", True),
        ("gpt-4.1-x", "4.1-x", False),
        ("llama-x:latest", "llama-x", True),
        ("gpt-x", "gpt-x-mini", False),
        ("gpt-x-mini", "gpt-x", False),
        ("gpt-5.6", "gpt-5.5", False),
        ("llama-x-70b", "llama-x-8b", False),
        ("gpt-x-0301", "gpt-x-0613", False),
        ("gpt-x-2026-03-01", "gpt-x-2026-06-13", False),
        ("claude-opus-4", "claude-opus-4-5", False),
        ("my-deployment", "gpt-x", False),
        ("", "gpt-x", False),
    ],
)
def test_a_prefix_or_a_version_makes_no_other_model(asked: str, served: str, *, same: bool) -> None:
    assert is_asked_model(asked, served) == same


@given(NAMES, NAMES)
def test_it_is_the_same_either_way_and_every_model_answers_for_itself(one: str, other: str) -> None:
    assert is_asked_model(one, one)
    assert is_asked_model(one, f"provider/{one}")
    assert is_asked_model(one, other) == is_asked_model(other, one)
