"""The JSON value of an answer that has more than that: a code fence around it, or words.

Knows no schema.
"""

# Words before and after, and brackets in them that are no JSON:
#
#     As [1] says {roughly}: {"a": [1, 2]} is it.
#        ^^^      ^                                 a list, and a brace of words
#                            ^^^^^^^^^^^^^           an object, longer than the list: the value
#
# An object that begins well and breaks later is a broken answer, whatever values it has inside.

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r"```(?:json)?[^\S\n]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r'\{\s*["}]|\[')  # after any other brace comes no JSON
_MOST_BROKEN = 100  # lists that are tried in vain; each costs time by the text's length


def json_value(text: str, *, strip: bool) -> Any:
    """The value of a JSON text; with `strip` also of one with a fence or words around, of several the longest.

    ValueError says what is wrong; NaN is.
    """
    try:
        return _parsed(text)
    except ValueError:
        if not strip:
            raise
    for fenced in _FENCE.findall(text):
        try:
            return _parsed(fenced)
        except ValueError:
            continue
    found = max(_values(text), key=lambda found: found[0], default=None)
    return _parsed(text) if found is None else found[1]


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """The objects and lists in a text, with their lengths."""
    decoder = JSONDecoder(parse_constant=_no_constant)
    place = broken = 0
    while broken < _MOST_BROKEN and (opening := _OPENING.search(text, place)):
        start = opening.start()
        try:
            value, place = decoder.raw_decode(text, start)
        except JSONDecodeError as fault:
            if text[start] == "{":
                raise
            place, broken = max(fault.pos, start + 1), broken + 1
        except RecursionError:
            raise ValueError("nested too deep") from None
        else:
            yield place - start, value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
