"""The text of a judge -> the value of one field of its verdict.

Judges that are asked for a JSON object give one, or one in a code fence, with text around, with quotation marks
that break it, or a mark in brackets. What a judge quotes of an answer comes before what it says itself, so the
last counts. Knows nothing of what the values mean.
"""

from __future__ import annotations

import json
import re
from typing import Any

from batchroute.grade.final import without_thoughts

_REPEATED = re.compile(r"<judged:.*?(?:</judged:|\Z)", re.DOTALL)
_BRACKETED = re.compile(r"\[\[\s{0,9}([^\[\]\n]{1,40}?)\s{0,9}\]\]")
_decode = json.JSONDecoder(strict=False).decode  # some write line breaks into a string as they are


def said_of(field: str, text: str) -> Any:
    """The value of `field` in the object, else what stands in [[...]]; None where there is neither."""
    text = own_text(text)
    try:
        found = _decode(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and field in found:
        return found[field]
    return _written(field, text) or next(reversed(_BRACKETED.findall(text)), None)


def own_text(text: str) -> str:
    """Without thoughts, and without what a judge repeats of an answer in its tags: a verdict there is not its own.

    Of a text that begins as the object nothing is taken, as its reason may name a tag.
    """
    text = without_thoughts(text).strip()
    return text if text.startswith(("{", "```")) else _REPEATED.sub("", text)


def _written(field: str, text: str) -> str | None:
    """The value of the last `field` in JSON that is none as a whole, or of several objects."""
    values = re.findall(
        rf"""["']{field}["']\s{{0,9}}:\s{{0,9}}["']?([^"',}}\s]{{1,40}})["']?\s{{0,9}}(?=[,}}\n]|$)""", text
    )
    return values[-1] if values else None
