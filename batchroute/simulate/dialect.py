"""What the provider has to know of an API: how its requests are read, how its errors and headers look."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from batchroute.simulate.answer import SimulatedError
    from batchroute.simulate.question import Question
    from batchroute.simulate.traffic import Remaining


class SimulatedDialect(NamedTuple):
    """One API.

    `read` raises ValueError with what a provider would not accept; `wants` is a header that no request may lack.
    """

    read: Callable[[bytes], Question]
    error: Callable[[SimulatedError, str], dict[str, Any]]
    limits: Callable[[list[Remaining]], dict[str, str]]
    request_id: str  # the header
    wants: str | None = None  # a header


def event(value: dict[str, Any], name: str | None = None) -> bytes:
    """One event of a stream."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(value) + b"\n\n"
