"""How long a server asks to wait: the headers of its answer and the words of its errors, in seconds.

Plain functions; knows no policy.
"""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS_S = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_PART = rf"({_NUMBER})\s*({'|'.join(sorted(_UNITS_S, key=len, reverse=True))})(?![a-z])"
_PARTS = re.compile(_PART, re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_PART}[\s,]*(?:and\s+)?)+", re.IGNORECASE)
_TOLD = re.compile(
    r"(?:\bagain\s+(?:in|after)|\bretry\w*(?:[\s-]+\w+){0,3}?[\s-]+(?:in|after):?"
    r"|\bwait(?:ing)?(?:\s+for)?|\bresets?\s+in)"
    rf"\s+(?:(?:about|approximately|another|at\s+least)\s+)?(?=({_NUMBER}))(?!\d+[-/:]\d)",
    re.IGNORECASE,
)
EPOCH_S = 1e9  # from here on a number is a moment, not a wait: 1e9 seconds are 31 years
_EPOCH_MS = 1e12
_LAST_EPOCH_MS = 1e14

# Names of a limit's rest, and of when it is full again.
_RESETS = (
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
    *((f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}") for kind in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asks to wait, in seconds from `now`; None where it does not say.

    Retry-after-ms and Retry-After (seconds, an HTTP date, a Unix time) speak of this request; the reset of a rate
    limit counts where nothing of that limit remains (OpenAI: durations like 6m0s; Anthropic: RFC 3339 times). What
    is a moment is one of the server's clock, so the answer's own Date is its now.
    """
    there = _moment(headers.get("date", "")) or now
    direct = _milliseconds(headers.get("retry-after-ms"), there)
    if direct is None:
        direct = _wait_s(headers.get("retry-after"), there)
    if direct is not None:
        return direct
    resets = [
        wait
        for remaining, reset in _RESETS
        if _is_used_up(headers.get(remaining)) and (wait := _wait_s(headers.get(reset), there)) is not None
    ]
    return max(resets, default=None)


def told_wait_s(message: str) -> float | None:
    """The wait in a sentence such as "Please try again in 1m30s."; a bare number is of seconds."""
    told = _TOLD.search(message)
    if told is None:
        return None
    duration = _DURATION.match(message, told.end())
    return float(told.group(1)) if duration is None else _sum_s(duration.group())


def duration_s(text: str) -> float | None:
    """A duration such as 3s, 1m30.5s, 500ms or 2 minutes; None for anything else."""
    return _sum_s(text) if _DURATION.fullmatch(text.strip()) else None


def _sum_s(duration: str) -> float:
    return sum(float(number) * _UNITS_S[unit.lower()] for number, unit in _PARTS.findall(duration))


def _is_used_up(remaining: str | None) -> bool:
    return (
        remaining is not None and re.fullmatch(r"0+(\.0+)?|-\d+(\.\d+)?", remaining.strip(), re.ASCII) is not None
    )


def _milliseconds(text: str | None, now: datetime) -> float | None:
    number = _number(text)
    if number is None:
        return None
    return number / 1000 if number < _EPOCH_MS else _until(number / 1000, now)


def _number(text: str | None) -> float | None:
    bare = (text or "").strip()
    return float(bare) if re.fullmatch(_NUMBER, bare, re.ASCII) else None


def _wait_s(text: str | None, now: datetime) -> float | None:
    """Seconds, a Unix time, a duration like 1m30s, an HTTP date or an RFC 3339 time; None for anything else."""
    if not text:
        return None
    if (number := _number(text)) is not None:
        if number < EPOCH_S:
            return number
        return _until(number / 1000 if number >= _EPOCH_MS else number, now)
    if (duration := duration_s(text)) is not None:
        return duration
    when = _moment(text)
    return None if when is None else _until(when.timestamp(), now)


def _until(epoch_s: float, now: datetime) -> float | None:
    """None for a moment beyond the year 5138, which is none."""
    return max(0.0, epoch_s - now.timestamp()) if epoch_s * 1000 < _LAST_EPOCH_MS else None


def _moment(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None
