"""Whether a request is sent again, when, and what counts: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.classify import Answer
from batchroute.send.retry import (
    LONGEST_BACKOFF_S,
    MALFORMED_ATTEMPTS,
    RETRIABLE,
    Attempts,
    RetryDecision,
    RetryPolicy,
    backoff_s,
    count,
    decide,
)
from batchroute.types import Completion, Usage

POLICY = RetryPolicy(max_attempts=3, outage_s=600.0)
NOW = 1000.0


@pytest.mark.parametrize(
    ("attempts", "answer", "decision"),
    [
        (Attempts(1), Answer(verdict="ok"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="refused"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="fatal"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="over_budget"), RetryDecision(again=False)),
        # Failures count, and the server's word goes before our own wait.
        (Attempts(1, failures=1), Answer(verdict="transient"), RetryDecision(True, 0.25, counts=True)),
        (Attempts(2, failures=2), Answer(verdict="transient"), RetryDecision(True, 0.5, counts=True)),
        (
            Attempts(1, failures=1),
            Answer(verdict="transient", retry_after_s=77.0),
            RetryDecision(True, 77.0, counts=True),
        ),
        (Attempts(3, failures=3), Answer(verdict="transient"), RetryDecision(False, 1.0, counts=True)),
        # What an outage explained, or a 429, is in `made` and not in `failures`.
        (Attempts(9, failures=1), Answer(verdict="transient"), RetryDecision(True, 0.25, counts=True)),
        # A malformed answer may have been billed: once more, whatever max_attempts allows.
        (Attempts(1, malformed=1), Answer(verdict="malformed"), RetryDecision(True, 0.25, counts=True)),
        (Attempts(2, malformed=2), Answer(verdict="malformed"), RetryDecision(False, 0.5, counts=True)),
        (
            Attempts(3, failures=2, malformed=1),
            Answer(verdict="malformed"),
            RetryDecision(False, 1.0, counts=True),
        ),
        (
            Attempts(3, failures=1, malformed=2),
            Answer(verdict="transient"),
            RetryDecision(False, 1.0, counts=True),
        ),
        # A 429 never counts; the lane pauses for it, not the request; too long nothing else is an end.
        (Attempts(50, limited_since=NOW), Answer(verdict="rate_limited"), RetryDecision(again=True)),
        (Attempts(50, limited_since=NOW - 600), Answer(verdict="rate_limited"), RetryDecision(again=True)),
        (Attempts(50, limited_since=NOW - 601), Answer(verdict="rate_limited"), RetryDecision(again=False)),
    ],
)
def test_what_follows_an_answer(attempts: Attempts, answer: Answer, decision: RetryDecision) -> None:
    assert decide(attempts, answer, POLICY, NOW, jitter=0.5) == decision


def test_one_attempt_is_one_attempt() -> None:
    once = replace(POLICY, max_attempts=1)
    assert not decide(Attempts(1, malformed=1), Answer(verdict="malformed"), once, NOW, 0.5).again


@given(
    verdicts=st.lists(st.sampled_from(["transient", "malformed", "rate_limited"]), max_size=40),
    max_attempts=st.integers(1, 8),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_however_it_goes_the_bounds_hold(verdicts: list[str], max_attempts: int, jitter: float) -> None:
    """Answers in turn, as long as there is another attempt: what counts never exceeds its bound."""
    policy = replace(POLICY, max_attempts=max_attempts)
    attempts = Attempts(0)
    for verdict in verdicts:
        answer = Answer(verdict=verdict)  # type: ignore[arg-type]  # one of three
        attempts.made += 1
        count(attempts, answer, NOW)
        decision = decide(attempts, answer, policy, NOW, jitter)
        assert decision.counts == (verdict != "rate_limited")
        assert 0 <= decision.after_s <= LONGEST_BACKOFF_S
        if not decision.again:
            break
    assert attempts.failures + attempts.malformed <= max_attempts
    assert attempts.malformed <= MALFORMED_ATTEMPTS


def test_usages_add_up_and_429s_are_timed_from_the_first() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=4)
    attempts = Attempts(0)
    count(attempts, Answer(verdict="rate_limited"), 10.0)
    count(attempts, Answer(verdict="rate_limited"), 20.0)
    assert attempts.limited_since == 10.0
    count(attempts, Answer(verdict="malformed", completion=Completion(usage=usage)), 30.0)
    assert (attempts.limited_since, attempts.usages, attempts.malformed) == (None, [usage], 1)


def test_backoff_doubles_up_to_its_bound() -> None:
    waits = [backoff_s(tries, 1.0) for tries in range(1, 9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff_s(10_000, 1.0) == LONGEST_BACKOFF_S
    assert {"transient", "malformed", "rate_limited"} == RETRIABLE
