"""What the driver of a run and its workers say to each other: an order at the start, then renewals with tallies.

Values only. What of it counts for limits and shards is lease's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from batchroute.lease.messages import Renewal  # noqa: TC001 - msgspec reads it
from batchroute.types import Doing  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Exchange: TypeAlias = Callable[[bytes], Awaitable[bytes]]

# `score`: scores shards and asks nobody; `send`: asks their rows, and scores those that have no scores yet.
Stage: TypeAlias = Literal["score", "send"]


class Order(msgspec.Struct, frozen=True):
    """What a worker is begun with: the job as JSON, whose driver it works for, and at what.

    `limits` are the shards of which only so many rows are wanted; `most_open` it may have at a time. `beside`: in
    which folder a module is found that lies beside the job file. Keys are not in it: each machine has its own.
    """

    job: str
    epoch: int
    stage: Stage
    limits: dict[int, int] = {}
    most_open: int = 2
    beside: dict[str, str] = {}
    retry_refused: bool = False


class LaneTally(msgspec.Struct, frozen=True):
    """What a lane of one worker has done since that began, and does now."""

    ok: int = 0
    refused: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    tokens: int = 0
    sent: int = 0
    in_flight: int = 0
    doing: Doing = "waiting"
    reason: str = ""
    last_error: str | None = None


class WorkerSaid(msgspec.Struct, frozen=True):
    """A renewal, and what people are told of the worker.

    `errors` counts its rows by type; `scored` are rows with scores, of the shards that it had; `found` of open
    shards how many rows were done when they were opened; `notices` are new ones. `code`: the exit code that
    belongs to the reason why it is `stopping`. `leaving`: it ends now, in order.
    """

    renewal: Renewal
    tallies: dict[str, LaneTally] = {}
    errors: dict[str, int] = {}
    scored: int = 0
    found: dict[int, int] = {}
    notices: list[str] = []
    code: int | None = None
    leaving: bool = False


class Workers(Protocol):
    """How workers are begun and ended: as processes of this machine, as actors of a cluster."""

    async def serve(self, name: str) -> None:
        """One worker, which is given what the driver answers to it; returns when its process is gone."""
        ...

    def kill(self, name: str) -> None:
        """Ends a worker that does not end by itself, at once."""
        ...


class Exchanges(Protocol):
    """The driver, as those see it who carry messages."""

    @property
    def has_work(self) -> bool:
        """Whether a worker that began now could find some."""
        ...

    def begun(self, worker: str) -> None:
        """The worker's process is there."""
        ...

    def exchange(self, worker: str, said: bytes) -> bytes:
        """What a worker said -> what it is answered."""
        ...

    def died(self, worker: str) -> None:
        """The worker's process is gone, in whatever way."""
        ...
