"""How long a server asks to wait: the headers of its answer, in seconds. Plain functions; knows no policy."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (3600.0, 60.0, 1.0, 0.001)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asks to wait, in seconds from `now`; None where it does not say.

    Retry-after-ms and Retry-After (seconds or an HTTP date) speak of this request; the reset of a rate limit
    counts where nothing of that limit remains (OpenAI: durations like 6m0s; Anthropic: RFC 3339 times).
    """
    direct = _milliseconds(headers.get("retry-after-ms"))
    if direct is None:
        direct = _wait_s(headers.get("retry-after"), now)
    if direct is not None:
        return direct
    resets = [
        wait
        for remaining, reset in _RESETS
        if headers.get(remaining) == "0" and (wait := _wait_s(headers.get(reset), now)) is not None
    ]
    return max(resets, default=None)


_RESETS = (
    *((f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}") for kind in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)


def _milliseconds(text: str | None) -> float | None:
    seconds = _seconds(text)
    return None if seconds is None else seconds / 1000


def _seconds(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _wait_s(text: str | None, now: datetime) -> float | None:
    """Seconds, a duration like 1m30s, an HTTP date or an RFC 3339 time; None for anything else."""
    if not text:
        return None
    if (plain := _seconds(text)) is not None:
        return plain
    if (match := _DURATION.fullmatch(text)) and match.group():
        return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS_S, strict=True) if part)
    when = _moment(text)
    return None if when is None else max(0.0, (when - now).total_seconds())


def _moment(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            when = parse(text)
        except ValueError:
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None
