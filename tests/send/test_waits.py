"""How long a server asks to wait, wherever it says so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.waits import duration_s, retry_after_s, told_wait_s

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7\x1f"}, 7.0),
        # moments by the server's own clock, two hours ahead
        (
            {"date": "Mon, 23 Nov 2026 14:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 14:00:01 GMT"},
            1.0,
        ),
        ({"date": "Mon, 23 Nov 2026 14:00:00 GMT", "retry-after": str(EPOCH + 7205)}, 5.0),
        ({"date": "Mon, 23 Nov 2026 14:00:00 GMT", "retry-after": "7"}, 7.0),
        ({"date": "noon", "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        (
            {
                "date": "Mon, 23 Nov 2026 10:00:00 GMT",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T10:00:12Z",
            },
            12.0,
        ),
        # numbers that are moments
        ({"retry-after": str(EPOCH + 2)}, 2.0),
        ({"retry-after": f"{EPOCH + 2}.5"}, 2.5),
        ({"retry-after": str((EPOCH + 2) * 1000)}, 2.0),
        ({"retry-after": str(EPOCH - 9)}, 0.0),
        ({"retry-after-ms": str((EPOCH + 2) * 1000)}, 2.0),
        ({"retry-after": "999999999"}, 999_999_999.0),
        ({"retry-after": "9" * 15}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "1m30s"}, 90.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(EPOCH + 3)}, 3.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((EPOCH + 3) * 1000)}, 3.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": str(EPOCH + 2)}, 2.0),
        ({"x-ratelimit-remaining-requests": "0.0", "x-ratelimit-reset-requests": "2s"}, 2.0),
        ({"x-ratelimit-remaining-requests": "-3", "x-ratelimit-reset-requests": "2s"}, 2.0),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "2s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "3s",
            },
            3.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:12Z",
            },
            12.0,
        ),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "1000",
                "anthropic-ratelimit-tokens-reset": "2026-11-23T12:00:50Z",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-23T12:00:20Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-23T12:00:15Z",
            },
            20.0,
        ),
        ({"retry-after": "2", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"}, 2.0),
    ],
)
def test_the_servers_word_on_waiting(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Rate limit reached. Please try again in 20s.", 20.0),
        ("Please try again in 1m30s. Visit https://x.example/5 to learn more.", 90.0),
        ("Please try again in 1m30.5s.", 90.5),
        ("try again in 500ms", 0.5),
        ("Try again in 2h3m12.5s", 7392.5),
        ("Please try again in 20 seconds", 20.0),
        ("try again in 2 minutes and 5 seconds", 125.0),
        ("Please retry in 37.599s.", 37.599),
        ("Please retry after 6 seconds.", 6.0),
        ("Please retry your request after 1 minute", 60.0),
        ("retry-after: 20", 20.0),
        ("You should wait 30 seconds", 30.0),
        ("please wait for 1 hour", 3600.0),
        ("available again in 3 days", 259_200.0),
        ("Limit resets in 10 min", 600.0),
        ("try again in about 20 s", 20.0),
        ("try again in 20.", 20.0),
        ("try again after 2026-11-24", None),
        ("try again in a few seconds", None),
        ("try again later", None),
        ("retry 3 times", None),
        ("500ms", None),
        ("", None),
    ],
)
def test_the_wait_in_a_message(message: str, expected: float | None) -> None:
    assert told_wait_s(message) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3s", 3.0),
        ("0.5s", 0.5),
        ("3.000000001s", 3.0),
        ("6m0s", 360.0),
        ("3", None),
        ("3 apples", None),
        ("", None),
    ],
)
def test_a_duration(text: str, expected: float | None) -> None:
    assert duration_s(text) == (None if expected is None else pytest.approx(expected))


@given(hours=st.integers(0, 99), minutes=st.integers(0, 59), millis=st.integers(0, 59_999))
def test_a_duration_is_the_same_in_every_spelling(hours: int, minutes: int, millis: int) -> None:
    seconds = hours * 3600 + minutes * 60 + millis / 1000
    for text in (
        f"{hours}h{minutes}m{millis / 1000:.3f}s",
        f"{hours} hours, {minutes} minutes and {millis} milliseconds",
        f"{seconds:.3f}s",
    ):
        assert duration_s(text) == pytest.approx(seconds)
        assert told_wait_s(f"Slow down and try again in {text}.") == pytest.approx(seconds)
        assert retry_after_s({"retry-after": text}, NOW) == pytest.approx(seconds)


@given(text=st.text(max_size=60) | st.from_regex(r"(try again in )?[0-9.hms :-]{0,40}", fullmatch=True))
def test_no_text_is_an_endless_wait(text: str) -> None:
    waits = (told_wait_s(text), duration_s(text), retry_after_s({"retry-after": text, "date": text}, NOW))
    assert all(0 <= wait < 10**17 for wait in waits if wait is not None)
