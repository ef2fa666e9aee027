"""What an address of a lane may use, where the limits are for each address and not for the side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batchroute.send.allowance import TokenWindow

if TYPE_CHECKING:
    from batchroute.send.allowance import EndpointLimits, TokenEntry


class AddressShare:
    """One of `count` equal parts of what the lane may use at the moment, which is the sum of what they may.

    So an address that is away takes its part with it, and a lane that may use less for a while uses less of each.
    Of one address the lane's own allowance counts the slots and the tokens.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._tokens = TokenWindow(0)

    def requests_per_minute(self, limits: EndpointLimits) -> float | None:
        whole = limits.requests_per_minute
        return None if whole is None else whole / self._count

    def wait_s(self, limits: EndpointLimits, in_flight: int, tokens: int, now: float) -> float:
        """0: a request of so many tokens fits, beside those in flight; infinity: not before one is answered."""
        if limits.requests_per_minute == 0 or in_flight >= math.ceil(limits.max_concurrency / self._count):
            return math.inf
        if limits.tokens_per_minute is None:
            return 0.0
        self._tokens.tokens_per_minute = limits.tokens_per_minute // self._count
        return self._tokens.wait_s(tokens, now)

    def take(self, limits: EndpointLimits, tokens: int, now: float) -> TokenEntry | None:
        if self._count == 1 or limits.tokens_per_minute is None:
            return None
        return self._tokens.take(tokens, now)

    def correct(self, entry: TokenEntry, taken: int, used: int, now: float) -> None:
        """Puts the true usage of a request in the place of what it had taken."""
        self._tokens.correct(entry, taken, used, now)
