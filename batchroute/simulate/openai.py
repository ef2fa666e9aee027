"""What OpenAI's two APIs have in common: parts of messages, tiers, choices of tools, errors, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from batchroute.simulate.cache import bills_writes
from batchroute.simulate.question import MEDIA, Piece, demanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.simulate.answer import SimulatedError
    from batchroute.simulate.question import Caching, Mark, Tool
    from batchroute.simulate.traffic import Remaining

Tier = Literal["auto", "default", "flex", "scale", "priority", "fast", "on_demand", "performance", "standard"]
ToolChoice = Literal["none", "auto", "required"] | dict[str, Any]


class Part(msgspec.Struct):
    type: str
    text: str = ""
    prompt_cache_breakpoint: dict[str, Any] | None = None


class CacheOptions(msgspec.Struct):
    mode: Literal["implicit", "explicit"] = "implicit"


def parts_of(said: str | list[Part]) -> Iterator[Piece]:
    """The parts of a message, of which the last one ends it; where the client marked one, that counts."""
    parts = said if isinstance(said, list) else [Part("text", said)]
    for number, part in enumerate(parts, 1):
        end: Mark = "message" if number == len(parts) else ""
        yield Piece(part.text, "breakpoint" if part.prompt_cache_breakpoint else end)


def media_in(said: str | list[Part] | None) -> int:
    """The images, sounds and files of a message."""
    return sum([part.type in MEDIA for part in said]) if isinstance(said, list) else 0


def caching_of(model: str, options: CacheOptions | None) -> Caching:
    """How the cache cuts prompts for that model."""
    if not bills_writes(model):
        return "slices"
    return "breakpoints" if options is not None and options.mode == "explicit" else "messages"


def demanded_by(choice: ToolChoice | None, tools: list[Tool]) -> Tool | None:
    """The tool that has to be called; ValueError where it is not among those that are offered."""
    if choice in ("none", "auto", None):
        return None
    return demanded(tools, None if isinstance(choice, str) else _name_in(choice), "tools")


def _name_in(choice: dict[str, Any]) -> str | None:
    """The name in a tool_choice that names a function, as either of OpenAI's APIs writes it."""
    inner = choice.get("function")
    name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    return name if isinstance(name, str) else None


def openai_error(refusal: SimulatedError, request_id: str) -> dict[str, Any]:
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
