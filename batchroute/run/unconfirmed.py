"""What a run without a limit has sent and never heard the price of.

With a limit every attempt reserves the most it can cost, and keeps that where no usage comes (`send/budget`).
Without one nothing is reserved, as that takes time for each row; the most is worked out for those attempts alone
that are lost. What a kill leaves in flight is not known here: nothing is on disk before a request leaves.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from batchroute.job.rules import longest_output
from batchroute.route.forecast.assumptions import USUAL_COMPLETION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.job.prices import Pricing
    from batchroute.send.classify import Answer
    from batchroute.send.request import Request
    from batchroute.types import Usage

    Send: TypeAlias = Callable[[Request], Awaitable[Answer]]


class Unconfirmed:
    """Adds up the most that lost attempts can cost, in USD; `unpriced` of them went where no price is known."""

    def __init__(self) -> None:
        self.usd = Decimal(0)
        self.unpriced = 0

    def take(self) -> tuple[Decimal, int]:
        """What has come together since this was asked last."""
        usd, unpriced = self.usd, self.unpriced
        self.usd, self.unpriced = Decimal(0), 0
        return usd, unpriced

    def watching(self, send: Send, pricing: Pricing | None) -> Send:
        """The same sending, whose attempts are watched."""

        async def watched(request: Request) -> Answer:
            try:
                answer = await send(request)
            except BaseException:  # abandoned: the endpoint may answer it all the same
                self._lose(request, pricing)
                raise
            if not (answer.unbilled or _tells_its_cost(answer.usage)):
                self._lose(request, pricing)
            return answer

        return watched

    def _lose(self, request: Request, pricing: Pricing | None) -> None:
        if pricing is None:
            self.unpriced += 1
            return
        # Nothing has to bound an answer where there is no limit; a long one is assumed then.
        longest = longest_output(msgspec.json.decode(request.body)) or round(USUAL_COMPLETION.high)
        self.usd += pricing.most_usd(len(request.body), longest, asked=request.service_tier)


def _tells_its_cost(usage: Usage | None) -> bool:
    if usage is None:
        return False
    is_counted = usage.prompt_tokens is not None and usage.completion_tokens is not None
    return is_counted or usage.reported_usd is not None
