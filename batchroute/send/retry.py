"""After an answer: is there another attempt, when, and did this one count? Plain functions on values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchroute.send.classify import Answer
    from batchroute.types import Usage

RETRIABLE = frozenset({"rate_limited", "busy", "transient", "expired", "elsewhere", "malformed"})
MALFORMED_ATTEMPTS = 2  # a complete answer that is no completion is asked for once more, as it may be billed
LIMITED_ATTEMPTS = 10  # that were told 429 while others passed
SLOWING_ATTEMPTS = 2  # of these: the next ones say nothing of the lane
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_LIMITED_S = 60.0
LAST_ROWS_S = 300.0  # for so long the last rows fail before they have failed for good


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request has had its attempts, and what a lane makes of trouble that is not one request's.

    `outage_s` is how long it waits for an endpoint that is away, or whose service tier is full;
    `stop_after_same_refusal` equal refusals with no success between stop it (0: never). `excuse_outages`: a
    request at the end of its attempts waits for what becomes of others; False where a client waits for each.
    """

    max_attempts: int
    outage_s: float
    stop_after_same_refusal: int = 20
    excuse_outages: bool = True

    @property
    def last_rows_s(self) -> float:
        """Over how long the attempts of rows are spread of which nothing else tells whether they are bad."""
        return min(LAST_ROWS_S, self.outage_s)


class RetryDecision(NamedTuple):
    """Whether there is another attempt, in how many seconds, and whether this one counts against max_attempts."""

    again: bool
    after_s: float = 0.0
    counts: bool = False


NO_MORE = RetryDecision(again=False)


@dataclass(slots=True)
class Attempts:
    """What a request has been through: `made` over all runs, the rest in this one.

    `failures` are those that count, less what an outage explains, `failing_since` is when the first of them was
    sent; `malformed` answers count, too. `limited_since` is when the first was sent of the 429s, and of the
    answers that a tier is full, that it has had without anything else between: `busy` of the latter, and
    `limited` 429s less those between which no other request was answered well at the same address, `slowed` those
    that slowed the lane, by address.
    """

    made: int
    failures: int = 0
    failing_since: float | None = None
    malformed: int = 0
    limited: int = 0
    busy: int = 0
    slowed: dict[int, int] = field(default_factory=dict)
    limited_since: float | None = None
    usages: list[Usage] = field(default_factory=list)
    _others_passed: dict[int, int] = field(default_factory=dict)  # before the last 429, by address

    @property
    def limited_alone(self) -> bool:
        """Whether its 429s are its own: others pass between them."""
        return self.limited > SLOWING_ATTEMPTS

    def forgive(self, failures: int) -> None:
        """So many of its failures were an outage's."""
        self.failures -= failures
        self.failing_since = None

    def count(
        self, answer: Answer, sent_at: float, passed: int, *, address: int = 0, others_may_pass: bool = True
    ) -> None:
        """Adds an answer to an attempt that left at `sent_at`; `passed` requests were ok so far at its address."""
        if answer.usage is not None:
            self.usages.append(answer.usage)
        if answer.verdict in {"rate_limited", "busy"}:
            self.limited_since = sent_at if self.limited_since is None else self.limited_since
            self.busy += answer.verdict == "busy"
            if answer.verdict == "rate_limited":
                before = self._others_passed.get(address, -1 if not self._others_passed else passed)
                self.limited += passed > before or (self.limited_alone and not others_may_pass)
                self._others_passed[address] = passed
            return
        self.limited_since, self.limited, self.busy = None, 0, 0
        self._others_passed.clear()
        self.malformed += answer.verdict == "malformed"
        if answer.verdict == "transient":
            self.failures += 1
            self.failing_since = sent_at if self.failing_since is None else self.failing_since


def decide(
    attempts: Attempts, answer: Answer, policy: RetryPolicy, now: float, jitter: float, at_least_s: float = 0.0
) -> RetryDecision:
    """What follows `answer`, which is counted already; `jitter` in [0, 1) picks the wait within its bounds.

    `at_least_s`: failures end a row only when they have lasted so long; infinite: never.
    """
    if answer.verdict in {"rate_limited", "busy"}:
        return _decide_on_limit(attempts, answer, policy, now, jitter)
    if answer.verdict in {"expired", "elsewhere"}:  # the key, or the address, which says nothing of the request
        return RetryDecision(again=True)
    if answer.verdict not in RETRIABLE:
        return NO_MORE
    return _decide_on_failure(attempts, answer, policy, now, jitter, at_least_s)


def _decide_on_failure(
    attempts: Attempts, answer: Answer, policy: RetryPolicy, now: float, jitter: float, at_least_s: float
) -> RetryDecision:
    """The server's word says how long to wait; without one it is exponential backoff with full jitter.

    That is up to 0.5 s, 1 s, 2 s ... 30 s, and longer where failures have to last.
    """
    tries = attempts.failures + attempts.malformed
    after_s = answer.retry_after_s if answer.retry_after_s is not None else backoff_s(tries, jitter)
    if answer.verdict == "malformed" and attempts.malformed >= MALFORMED_ATTEMPTS:
        return RetryDecision(False, after_s, counts=True)
    is_last = tries >= policy.max_attempts and at_least_s < math.inf
    if answer.verdict == "transient" and 0 < at_least_s < math.inf:
        failing_s = now - (now if attempts.failing_since is None else attempts.failing_since)
        is_last = is_last and failing_s >= at_least_s
        after_s = max(after_s, spread_s(failing_s, at_least_s, policy.max_attempts - tries))
    return RetryDecision(not is_last, after_s, counts=True)


def _decide_on_limit(
    attempts: Attempts, answer: Answer, policy: RetryPolicy, now: float, jitter: float
) -> RetryDecision:
    """A 429 or a full tier never counts; but a row that gets nothing else for `outage_s` is at its end.

    After a 429 the whole lane pauses, so the request itself need not wait. One that gets 429 while others pass is
    another matter: after its second it waits by itself, 1, 2, 4 ... 60 s, and the tenth is its last. A full tier
    is waited for in the same way.
    """
    since = now if attempts.limited_since is None else attempts.limited_since
    if answer.verdict == "busy":
        after_s = answer.retry_after_s or growing_s(attempts.busy) * (1 + jitter) / 2
    elif attempts.limited_alone:
        after_s = max(answer.retry_after_s or 0.0, growing_s(attempts.limited - SLOWING_ATTEMPTS))
    else:
        after_s = 0.0
    again = attempts.limited < LIMITED_ATTEMPTS and max(now - since, after_s) <= policy.outage_s
    return RetryDecision(again, after_s if again else 0.0)


def backoff_s(tries: int, jitter: float) -> float:
    """Seconds before the next attempt after so many that failed."""
    return jitter * min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries - 1, 10))


def spread_s(failing_s: float, at_least_s: float, left: int) -> float:
    """Seconds before the next of so many attempts, the last of which leaves when the row has failed so long.

    Of 6 attempts over 300 s they leave after 0, 1.8, 6.5, 23, 83 and 300 s.
    """
    begun_s = min(max(FIRST_BACKOFF_S, failing_s), at_least_s)
    times: float = (at_least_s / begun_s) ** (1 / max(1, left))
    return max(0.0, begun_s * times - failing_s)


def growing_s(times: int) -> float:
    """Seconds after the so-manieth time in a row that a request, or a lane, was told to come later."""
    return min(LONGEST_LIMITED_S, 2.0 ** min(times - 1, 10))
