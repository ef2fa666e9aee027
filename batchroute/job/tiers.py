"""Tiers of service, under whatever name a provider calls them.

Knows no prices. As in the providers' documentation, read 2026-11-28:

    OpenAI     asked: auto (the default: as the project is set), default, flex, priority; an answer says which
    Groq       asked: on_demand (the default), flex, performance, auto
    Anthropic  asked: auto (the default), standard_only, and `speed = "fast"`; an answer says standard, priority
               (of a capacity that is paid for) or batch
    Gemini     asked: standard (the default), flex, priority; also as SERVICE_TIER_FLEX
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STANDARD = "standard"
AUTO = "auto"  # whatever the provider's account is set to
FAST = "fast"
_NAMES = {"default": STANDARD, "on_demand": STANDARD, "standard_only": STANDARD}


def tier_of(name: Any) -> str | None:
    """The tier of that name; None where it is no name."""
    return _tier_of(name) if isinstance(name, str) and name else None


@lru_cache(maxsize=256)
def _tier_of(name: str) -> str:
    plain = name.strip().lower().replace("-", "_").removeprefix("service_tier_")
    return _NAMES.get(plain, plain)


def asked_tier(params: Mapping[str, Any]) -> str | None:
    """The tier that a request with these params asks for; None where they leave it open."""
    return FAST if tier_of(params.get("speed")) == FAST else tier_of(params.get("service_tier"))


def may_answer(asked: str) -> frozenset[str] | None:
    """The tiers that may answer a request: one that is full gives way to the standard. None: any."""
    return None if asked == AUTO else frozenset({asked, STANDARD})
