"""What the provider has to know of an API: how its requests are read, how its errors and headers look."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from batchroute.simulate.answer import Refusal
    from batchroute.simulate.question import Question
    from batchroute.simulate.traffic import Remaining


class Dialect(NamedTuple):
    """One API.

    `read` raises ValueError with what a provider would not accept; `wants` is a header that no request may lack.
    """

    read: Callable[[bytes], Question]
    error: Callable[[Refusal, str], dict[str, Any]]
    limits: Callable[[list[Remaining]], dict[str, str]]
    request_id: str  # the header
    wants: str | None = None  # a header


def openai_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """An error object as OpenAI shapes it."""
    kind = _kind(refusal.status)
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}


def _kind(status: int) -> str:
    if status == 429:
        return "requests"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"


def openai_limits(windows: list[Remaining]) -> dict[str, str]:
    """The headers x-ratelimit-*; empty without limits."""
    headers: dict[str, str] = {}
    for window in windows:
        headers[f"x-ratelimit-limit-{window.name}"] = f"{window.limit:.0f}"
        headers[f"x-ratelimit-remaining-{window.name}"] = str(window.left)
        headers[f"x-ratelimit-reset-{window.name}"] = duration(window.reset_s)
    return headers


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: `20ms`, `7.66s`, `6m0s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:g}s"


def event(value: dict[str, Any], name: str | None = None) -> bytes:
    """One event of a stream."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(value) + b"\n\n"
