"""What the provider decided to say, as a value, before anything is sent. Knows no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.types import Usage

Delivery = Literal["whole", "events", "reset", "cut", "slow", "endless", "stall", "hang"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `usage` is what a provider would bill for it, None where it bills nothing.

    A `status` of 0 means that no status line is ever sent; `after_s` is how long the client is kept waiting.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    after_s: float = 0.0
    usage: Usage | None = None


def json_reply(value: object) -> Reply:
    """200 with `value` as JSON."""
    return Reply(200, msgspec.json.encode(value))


def error_reply(status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error object as OpenAI shapes it."""
    error = {"message": message, "type": _kind(status), "param": None, "code": code}
    return Reply(status, msgspec.json.encode({"error": error}), headers=headers or {})


def _kind(status: int) -> str:
    if status == 429:
        return "requests"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"
