"""What an answer says it was billed, in the words of whichever provider sent it -> `Usage`, as OpenAI counts.

Plain functions on parsed JSON; knows no prices.
"""

from __future__ import annotations

import re
from typing import Any

from batchroute.types import Usage

MOST_TOKENS = 10**12  # a larger count is none: whoever sends it would spoil every sum it goes into


def read_usage(answer: dict[str, Any]) -> Usage | None:
    """What an answer, or the last chunk of a stream, says it was billed; None where that is nothing."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    counted = Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
    return None if counted == Usage() else counted


def _count(usage: Any, key: str) -> int | None:
    """A token count; what is no whole number, or its decimal digits, is unknown."""
    value = usage.get(key) if isinstance(usage, dict) else None
    if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
