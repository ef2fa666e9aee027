from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.secrets import LEAK_CHARS, Scrubber

KEY = "sk-canary-0123456789abcdefXYZ"


@given(st.text(), st.integers(0, len(KEY)), st.integers(0, len(KEY)), st.text())
def test_no_run_of_a_secret_survives(before: str, start: int, stop: int, after: str) -> None:
    scrubbed = Scrubber([KEY])(before + KEY[start:stop] + after)
    assert not any(KEY[i : i + LEAK_CHARS] in scrubbed for i in range(len(KEY) - LEAK_CHARS + 1))


@given(st.text(alphabet="abc -_"))
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    assert Scrubber([KEY])(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Incorrect key: {KEY}.", "Incorrect key: [secret]."),
        (f"{KEY}{KEY}", "[secret][secret]"),
        (f"half {KEY[:12]}****{KEY[-4:]}", "half [secret]****fXYZ"),
        ("EMPTY is what local servers take", "EMPTY is what local servers take"),
    ],
)
def test_what_is_put_in_its_place(text: str, expected: str) -> None:
    assert Scrubber([KEY, "EMPTY"])(text) == expected


def test_without_secrets_nothing_changes() -> None:
    assert Scrubber([])("anything") == "anything"
