"""Whether a request is sent again, when, and what counts: a table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.classify import Answer
from batchroute.send.retry import (
    LIMITED_ATTEMPTS,
    LONGEST_BACKOFF_S,
    LONGEST_LIMITED_S,
    MALFORMED_ATTEMPTS,
    RETRIABLE,
    Attempts,
    RetryDecision,
    RetryPolicy,
    backoff_s,
    decide,
    spread_s,
)
from batchroute.types import Completion, Usage

if TYPE_CHECKING:
    from batchroute.send.classify import Verdict

POLICY = RetryPolicy(max_attempts=3, outage_s=600.0)
NOW = 1000.0


@pytest.mark.parametrize(
    ("attempts", "answer", "decision"),
    [
        (Attempts(1), Answer(verdict="ok"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="refused"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="fatal"), RetryDecision(again=False)),
        (Attempts(1), Answer(verdict="over_budget"), RetryDecision(again=False)),
        (Attempts(9, failures=2), Answer(verdict="expired"), RetryDecision(again=True)),
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
        # One that is limited alone, as others pass, waits by itself after its second 429 and ends at its tenth.
        (Attempts(2, limited=2), Answer(verdict="rate_limited"), RetryDecision(True)),
        (Attempts(3, limited=3), Answer(verdict="rate_limited"), RetryDecision(True, 1.0)),
        (Attempts(5, limited=5), Answer(verdict="rate_limited"), RetryDecision(True, 4.0)),
        (Attempts(5, limited=5), Answer(verdict="rate_limited", retry_after_s=9.0), RetryDecision(True, 9.0)),
        (Attempts(9, limited=9), Answer(verdict="rate_limited"), RetryDecision(True, 60.0)),
        (Attempts(10, limited=10), Answer(verdict="rate_limited"), RetryDecision(False)),
        (Attempts(5, limited=5), Answer(verdict="rate_limited", retry_after_s=601.0), RetryDecision(False)),
        # A full tier does not count either; it is waited for as long as for an endpoint that is away.
        (Attempts(1, busy=1), Answer(verdict="busy"), RetryDecision(True, 0.75)),
        (Attempts(4, busy=4), Answer(verdict="busy"), RetryDecision(True, 6.0)),
        (Attempts(90, busy=90), Answer(verdict="busy"), RetryDecision(True, 45.0)),
        (Attempts(4, busy=4), Answer(verdict="busy", retry_after_s=20.0), RetryDecision(True, 20.0)),
        (Attempts(9, busy=9, limited_since=NOW - 601), Answer(verdict="busy"), RetryDecision(False)),
    ],
)
def test_what_follows_an_answer(attempts: Attempts, answer: Answer, decision: RetryDecision) -> None:
    assert decide(attempts, answer, POLICY, NOW, jitter=0.5) == decision


def test_one_attempt_is_one_attempt() -> None:
    once = replace(POLICY, max_attempts=1)
    assert not decide(Attempts(1, malformed=1), Answer(verdict="malformed"), once, NOW, 0.5).again


@pytest.mark.parametrize(
    ("failures", "failing_s", "at_least_s", "again", "after_s"),
    [
        (1, 0.0, 300.0, True, 12.25),  # of 3: after 0, 12 and 300 s
        (2, 0.01, 5.0, True, 4.99),
        (2, 0.01, 0.2, True, 0.5),  # the usual wait is longer
        (2, 12.25, 300.0, True, 287.75),
        (3, 12.0, 300.0, True, 288.0),  # too early for the last
        (3, 300.0, 300.0, False, 1.0),
        (3, 1e6, math.inf, True, 1.0),  # nothing comes back at all: never
    ],
)
def test_the_last_rows_fail_no_sooner_than_that(
    failures: int, failing_s: float, at_least_s: float, again: bool, after_s: float
) -> None:
    attempts = Attempts(failures, failures, failing_since=NOW - failing_s)
    decision = decide(attempts, Answer(verdict="transient"), POLICY, NOW, 0.5, at_least_s)
    assert (decision.again, decision.after_s) == (again, pytest.approx(after_s, abs=0.01))


def test_attempts_are_spread_so_that_the_last_one_leaves_at_the_end() -> None:
    at, sent = 0.0, [0.0]
    for left in (5, 4, 3, 2, 1):
        at += spread_s(at, 300.0, left)
        sent.append(at)
    assert sent == pytest.approx([0, 1.8, 6.5, 23.2, 83.4, 300], abs=0.1)
    assert spread_s(301.0, 300.0, 1) == 0


@given(
    verdicts=st.lists(st.sampled_from(["transient", "malformed", "rate_limited", "busy"]), max_size=40),
    max_attempts=st.integers(1, 8),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_however_it_goes_the_bounds_hold(verdicts: list[str], max_attempts: int, jitter: float) -> None:
    """Answers in turn, as long as there is another attempt: what counts never exceeds its bound."""
    policy = replace(POLICY, max_attempts=max_attempts)
    attempts = Attempts(0)
    for passed, verdict in enumerate(verdicts):
        answer = Answer(verdict=verdict)  # type: ignore[arg-type]  # one of four
        attempts.made += 1
        attempts.count(answer, NOW, passed)
        decision = decide(attempts, answer, policy, NOW, jitter)
        assert decision.counts == (verdict in {"transient", "malformed"})
        assert 0 <= decision.after_s <= (LONGEST_BACKOFF_S if decision.counts else LONGEST_LIMITED_S)
        if not decision.again:
            break
    assert attempts.failures + attempts.malformed <= max_attempts
    assert attempts.malformed <= MALFORMED_ATTEMPTS
    assert attempts.limited <= LIMITED_ATTEMPTS


def test_usages_add_up_and_429s_are_timed_from_the_first() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=4)
    attempts = Attempts(0)
    attempts.count(Answer(verdict="rate_limited"), 10.0, 0)
    attempts.count(Answer(verdict="rate_limited"), 20.0, 0)
    assert attempts.limited_since == 10.0
    attempts.count(Answer(verdict="malformed", completion=Completion(usage=usage)), 30.0, 0)
    assert (attempts.limited_since, attempts.usages, attempts.malformed) == (None, [usage], 1)


def test_backoff_doubles_up_to_its_bound() -> None:
    waits = [backoff_s(tries, 1.0) for tries in range(1, 9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff_s(10_000, 1.0) == LONGEST_BACKOFF_S
    assert {"transient", "malformed", "rate_limited", "busy", "expired", "elsewhere"} == RETRIABLE


@pytest.mark.parametrize(
    ("passed", "limited"), [([0, 0, 0, 0], 1), ([5, 5, 6, 6], 2), ([5, 6, 7, 8], 4), ([5, 6, 9, None, 9, 9], 1)]
)
def test_only_429s_between_which_others_pass_are_the_rows_own(passed: list[int | None], limited: int) -> None:
    attempts = Attempts(0)
    for so_far in passed:
        verdict: Verdict = "transient" if so_far is None else "rate_limited"
        attempts.count(Answer(verdict=verdict), NOW, so_far or 0)
    assert attempts.limited == limited
