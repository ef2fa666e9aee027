"""What goes into a lane and what comes out: a request, how it ended, and who takes that.

Values and protocols only; knows no network and no files.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from batchroute.job.tiers import AUTO, STANDARD, tier_of
from batchroute.send.allowance import Need
from batchroute.send.classify import Answer  # noqa: TC001 - msgspec reads it
from batchroute.types import Prompt, RouteReason, Status, Usage  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractContextManager

    from batchroute.types import StopReason


class Sendable(Protocol):
    """What a lane has to know of a request, whatever it asks for.

    `need` is what one attempt may take, `attempts` how many earlier runs made.
    """

    @property
    def body(self) -> bytes: ...
    @property
    def attempts(self) -> int: ...
    @property
    def need(self) -> Need: ...


AnyRequest = TypeVar("AnyRequest", bound=Sendable)
Taken_contra = TypeVar("Taken_contra", bound=Sendable, contravariant=True)


class Request(msgspec.Struct, frozen=True):
    """A row on its way to one endpoint; `tokens` estimates its input plus its longest answer.

    `attempts` were made for the row in earlier runs; `most_usd` is the most one attempt can cost, where a budget
    has to reserve it; `fingerprint` tells its body from every other; `chars` are those of the row; `service_tier`
    is the one that the row itself asks for. `beside`: for a pilot, or of a watched row, and no result by itself.
    `shard` is the number of the one the row lies in, 0 in a run that has none.
    """

    prompt: Prompt
    body: bytes
    tokens: int
    score: float | None
    reason: RouteReason
    attempts: int = 0
    most_usd: Decimal = Decimal(0)
    fingerprint: bytes = b""
    chars: int = 0
    service_tier: str | None = None
    beside: Literal["pilot", "watch"] | None = None
    shard: int = 0

    @property
    def need(self) -> Need:
        return Need(self.tokens, self.most_usd, self.shard)


def billed_in(asked: str | None, answer: Answer) -> Answer:
    """The answer, billed in the tier that its row asked for where it does not name its own."""
    completion = answer.completion
    if asked is None or completion is None or (usage := completion.usage) is None:
        return answer
    if tier_of(usage.service_tier) not in {None, AUTO}:
        return answer
    billed = msgspec.structs.replace(usage, service_tier=STANDARD if asked == AUTO else asked)
    return msgspec.structs.replace(answer, completion=msgspec.structs.replace(completion, usage=billed))


class Outcome(msgspec.Struct, frozen=True):
    """How a request ended: its last answer, and what all its attempts of this run were billed.

    `status` is "open" where the answer is about the endpoint or the budget rather than about the request.
    """

    status: Status
    answer: Answer
    attempts: int
    usages: tuple[Usage, ...]


class Spent(NamedTuple):
    """What a request has taken that was begun and not ended: attempts over all runs, usages of this one."""

    attempts: int
    usages: tuple[Usage, ...]


class Sink(Protocol[Taken_contra]):
    """Takes what becomes of requests. Each request is settled or left, once."""

    def settle(self, request: Taken_contra, outcome: Outcome) -> None:
        """It came to an end; the request keeps its slot until this returns, so it must be on file by then."""
        ...

    def leave(self, request: Taken_contra, spent: Spent) -> None:
        """It stays undone, because the delivery stopped or its caller went away."""
        ...


class Delivery(Protocol[AnyRequest]):
    """A way by which requests get their answers: a lane, the answers of finished runs.

    `sent` is how many attempts it made.
    """

    @property
    def sent(self) -> int: ...

    async def deliver(self, requests: AsyncGenerator[AnyRequest, None], sink: Sink[AnyRequest]) -> None:
        """Until every request is settled or left."""
        ...

    def starved(self) -> AbstractContextManager[None]:
        """While no more requests come before those that were taken are settled or left.

        Else both might wait: the feed for an end that frees money, the end for what becomes of other requests.
        """
        ...

    def stop(self, reason: StopReason | None = None) -> None:
        """Begins nothing more and leaves what has not begun; what is in flight is awaited."""
        ...

    def abandon(self) -> None:
        """Leaves what is in flight, too."""
        ...
