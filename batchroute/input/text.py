"""JSON as Python's own parser reads it, with the fast parser first; knows nothing of rows or files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Replaced:
    """Counts the lone surrogates that became U+FFFD."""

    count: int = 0


def loads(text: bytes | str, replaced: Replaced) -> Any:
    """What `json.loads` makes of `text`, but for lone surrogates, which become U+FFFD; ValueError if nothing."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return loads_slowly(text, replaced)


def loads_slowly(text: bytes | str, replaced: Replaced) -> Any:
    """`loads` for what the fast parser is known to refuse: NaN, numbers beyond float64, half emoji, or no JSON."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return without_lone_surrogates(json.loads(text), replaced)
    except RecursionError:
        raise ValueError("nested too deep") from None


def without_lone_surrogates(value: Any, replaced: Replaced) -> Any:
    """The same JSON value in characters that UTF-8 can write."""
    if isinstance(value, str):
        clean, count = _LONE_SURROGATES.subn("\ufffd", value)
        replaced.count += count
        return clean
    if isinstance(value, dict):
        pairs = value.items()
        return {without_lone_surrogates(k, replaced): without_lone_surrogates(v, replaced) for k, v in pairs}
    if isinstance(value, list):
        return [without_lone_surrogates(item, replaced) for item in value]
    return value


def dumps(value: object) -> str:
    """`value` as compact JSON text; dates, decimals and bytes as strings."""
    return msgspec.json.encode(value).decode()


def as_text(value: object) -> str | None:
    """A value carried as a string: strings as they are, None as None, anything else as its JSON text."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if type(value) is int else dumps(value)
