"""One address of a lane: whether it is there, which speed it takes, and how much it has to do.

Decisions on a clock that the caller reads. Knows no other address: which of them gets a request is `fleet`'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

from batchroute.send.pace import Pace
from batchroute.send.rate import Rate
from batchroute.send.tier import FullTier
from batchroute.types import LaneState, StopReason

if TYPE_CHECKING:
    from batchroute.send.allowance import EndpointLimits, TokenEntry
    from batchroute.send.breaker import Breaker
    from batchroute.send.classify import Answer
    from batchroute.send.retry import Attempts
    from batchroute.send.share import AddressShare

Row = TypeVar("Row")  # whatever tells requests apart


class Backend(Generic[Row]):
    """What is known of the address `where` (host:port), the one of its lane with this `number`.

    `in_flight` have a slot there; `passed` were answered well, `latest_passed` being the latest of them to leave,
    as the lane counts attempts. `given_up` is why nothing is hoped from it, though it is still tried now and then.
    `share` are limits of its own, where those of the lane are not for all its addresses together.
    """

    def __init__(
        self, number: int, where: str, breaker: Breaker[Row], outage_s: float, share: AddressShare | None = None
    ) -> None:
        self.number = number
        self.where = where
        self.breaker = breaker
        self.share = share
        self.rate = Rate()
        self.in_flight = 0
        self.passed = 0
        self.latest_passed = 0
        self.given_up: StopReason | None = None
        self._outage_s = outage_s
        self._pace = Pace()
        self._tier = FullTier()
        self._slowed = 0  # times, by 429s that may have been the address's
        self._limited_since = math.inf  # since when it takes nothing, but says 429

    @property
    def resume_at(self) -> float:
        """When the pause ends that it asked for."""
        return self._pace.resume_at

    @property
    def learnt_per_minute(self) -> float | None:
        """Requests that it was found to take; None: as many as may be."""
        return self._pace.requests_per_minute

    @property
    def is_up(self) -> bool:
        """Whether a request that failed elsewhere may be answered here."""
        return self.given_up is None and not self.breaker.is_confirmed

    def held_s(self, now: float) -> float:
        """For how long it takes no request, by what it said; 0 or less where it does."""
        return max(self._pace.resume_at - now, self._tier.resume_at - now, self.breaker.wait_s(now))

    def set_speed(self, limits: EndpointLimits, now: float) -> None:
        """What it was found to take; no more than its share, where the limits of the lane are its own in part."""
        learnt = self._pace.requests_per_minute
        allowed = None if self.share is None else self.share.requests_per_minute(limits)
        if allowed is None or learnt is None:
            self.rate.set(learnt if allowed is None else allowed, now)
        else:
            self.rate.set(min(allowed, learnt), now)

    def taken(self, limits: EndpointLimits, tokens: int, now: float) -> TokenEntry | None:
        """It got a request; returns what that took of the tokens that are its own."""
        self.rate.sent(now)
        self.in_flight += 1
        return None if self.share is None else self.share.take(limits, tokens, now)

    def given(self, entry: TokenEntry | None, taken: int, used: int | None, now: float) -> None:
        """The request has given its slot back; `used` tokens, None where that is not known."""
        self.in_flight -= 1
        if self.share is not None and entry is not None and used is not None:
            self.share.correct(entry, taken, used, now)

    def sent(self, now: float) -> None:
        """A request leaves now."""
        self._pace.sent(now)

    def learn(self, answer: Answer, sent_at: float, now: float, attempts: Attempts) -> None:
        """What an answer that shows it is there says of it, to the last of these attempts."""
        if answer.verdict == "ok":
            self.passed += 1
            self.breaker.succeeded()
        else:
            self.breaker.answered()
        if answer.verdict == "busy":
            self._tier.busy(sent_at, now, answer.retry_after_s)
            return
        if answer.verdict != "rate_limited":
            self.given_up, self._limited_since = None, math.inf
            self._tier.answered()
            self._pace.accepted(sent_at, now)
        elif attempts.limited_alone:
            self._take_back(attempts)
        else:
            self._pace.rate_limited(sent_at, now, answer.retry_after_s)
            self._limited_since = min(self._limited_since, sent_at)
            self._slowed += 1
            attempts.slowed[self.number] = attempts.slowed.get(self.number, 0) + 1

    def _take_back(self, attempts: Attempts) -> None:
        """The 429s of this request turned out to be its own; where there were no others there is no limit."""
        if own := attempts.slowed.pop(self.number, 0):
            self._slowed -= own
            if self._slowed == 0:
                self._pace.forget()

    def hopeless(self, answer: Answer, now: float) -> StopReason | None:
        """Why it should be waited for no longer, after this answer; None where it should."""
        if answer.retry_after_s is not None and answer.retry_after_s > self._outage_s:
            cause = f"asked to wait {answer.retry_after_s:.0f} s, longer than limits.outage_s"
            return StopReason(cause, advice="run again later")
        if answer.verdict == "rate_limited" and now - self._limited_since > self._outage_s:
            return StopReason("answers nothing but 429 for longer than limits.outage_s", advice="run again later")
        if answer.verdict == "busy" and self._tier.full_s(now) > self._outage_s:
            cause = "its service tier is full for longer than limits.outage_s"
            return StopReason(cause, advice='run again later, or set on_busy = "standard"')
        if self.breaker.gave_up(now):
            return StopReason(
                "does not answer", answer.error or "", "run again when it is back, or check base_url"
            )
        return None

    def state(self, now: float) -> LaneState | None:
        """What it makes a request wait for, None where it takes one."""
        if (away := self.breaker.state(now)) is not None:
            return away
        if (pause_s := self._pace.resume_at - now) > 0:
            return LaneState("rate_limited", next_try_s=pause_s)
        if (rest_s := self._tier.resume_at - now) > 0:
            return LaneState("tier_full", next_try_s=rest_s)
        return None
