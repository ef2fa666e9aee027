"""JSON as Python's own parser reads it, with the fast parser first; knows nothing of rows or files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

# JSON may write U+1F600 as two escapes, `\ud83d\ude00`: a surrogate pair. A tool that cuts texts after so many
# UTF-16 units leaves one half of it: `"half \ud83d!"` is JSON by its grammar, and Python reads it, but UTF-8
# cannot hold it, so that it could neither be sent nor stored. It becomes `"half \ufffd!"`, with the replacement
# character, and one is counted; of a whole pair nothing is replaced. Raw bytes of a half (ED A0 BD) are no UTF-8:
# the row is refused.
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
    """`loads` for what the fast parser is known to refuse: NaN, huge numbers, lone surrogates, no JSON at all."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return without_lone_surrogates(json.loads(text), replaced)
    except RecursionError:
        raise ValueError("nested too deep") from None


def is_json(text: bytes) -> bool:
    """Whether Python's parser reads it."""
    try:
        loads_slowly(text, Replaced())
    except ValueError:
        return False
    return True


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
