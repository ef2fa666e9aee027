"""What goes into a lane and what comes out: a row's request, and how it ended."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from batchroute.send.classify import Answer
    from batchroute.types import Prompt, RouteReason, Status, Usage


class Request(msgspec.Struct, frozen=True):
    """A row on its way to one side; `tokens` estimates its input plus its longest answer.

    `attempts` were made for the row in earlier runs; `most_usd` is the most one attempt can cost, where a budget
    has to hold it back; `fingerprint` tells its body from every other; `chars` are those of the row.
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


class Outcome(msgspec.Struct, frozen=True):
    """How a row ended: its last answer, and what all its attempts of this run were billed."""

    status: Status
    answer: Answer
    attempts: int
    usages: tuple[Usage, ...]
