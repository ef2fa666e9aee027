"""After an answer: is there another attempt, when, and did this one count? Plain functions on values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchroute.send.classify import Answer
    from batchroute.types import Usage

RETRIABLE = frozenset({"rate_limited", "transient", "expired", "malformed"})
MALFORMED_ATTEMPTS = 2  # a complete answer that is no completion is asked for once more, as it may be billed
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request has had its attempts, and what a lane makes of trouble that is not one request's.

    `outage_s` is how long it waits for an endpoint that is away; `stop_after_same_refusal` equal first refusals
    stop it (0: never). `excuse_outages`: a request at the end of its attempts waits for what becomes of others;
    False where a client waits for each.
    """

    max_attempts: int
    outage_s: float
    stop_after_same_refusal: int = 20
    excuse_outages: bool = True


class RetryDecision(NamedTuple):
    """Whether there is another attempt, in how many seconds, and whether this one counts against max_attempts."""

    again: bool
    after_s: float = 0.0
    counts: bool = False


NO_MORE = RetryDecision(again=False)


@dataclass(slots=True)
class Attempts:
    """What a request has been through: `made` over all runs, the rest in this one.

    `failures` are those that count, less what an outage explains; `malformed` answers count, too.
    `limited_since` is when the first of the 429s was sent that it has had without anything else between.
    """

    made: int
    failures: int = 0
    malformed: int = 0
    limited_since: float | None = None
    usages: list[Usage] = field(default_factory=list)


def count(attempts: Attempts, answer: Answer, sent_at: float) -> None:
    """Adds one answer, to an attempt that was sent at `sent_at`."""
    if answer.usage is not None:
        attempts.usages.append(answer.usage)
    if answer.verdict == "rate_limited":
        attempts.limited_since = sent_at if attempts.limited_since is None else attempts.limited_since
        return
    attempts.limited_since = None
    attempts.failures += answer.verdict == "transient"
    attempts.malformed += answer.verdict == "malformed"


def decide(attempts: Attempts, answer: Answer, policy: RetryPolicy, now: float, jitter: float) -> RetryDecision:
    """What follows `answer`, which is counted already; `jitter` in [0, 1) picks the wait within its bounds.

    A key that expired says nothing of the request, which goes again at once. A 429 never counts, and after it the
    whole lane pauses, so the request itself need not wait; but one that has got nothing else for `outage_s`, while
    others are accepted, is at its end. Else the server's word says how long to wait, and without one it is
    exponential backoff with full jitter: up to 0.5 s, 1 s, 2 s ... 30 s.
    """
    if answer.verdict == "rate_limited":
        since = now if attempts.limited_since is None else attempts.limited_since
        return RetryDecision(now - since <= policy.outage_s)
    if answer.verdict == "expired":
        return RetryDecision(again=True)
    if answer.verdict not in RETRIABLE:
        return NO_MORE
    tries = attempts.failures + attempts.malformed
    is_last = tries >= policy.max_attempts or (
        answer.verdict == "malformed" and attempts.malformed >= MALFORMED_ATTEMPTS
    )
    after_s = answer.retry_after_s if answer.retry_after_s is not None else backoff_s(tries, jitter)
    return RetryDecision(not is_last, after_s, counts=True)


def backoff_s(tries: int, jitter: float) -> float:
    """Seconds before the next attempt after so many that failed."""
    return jitter * min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries - 1, 10))
