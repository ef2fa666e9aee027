"""The content of a chat answer, whatever it is: text, parts, or JSON that a gateway made of the text."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Said(NamedTuple):
    """What an answer says: its text, what it thought, why it says nothing."""

    text: str | None
    reasoning: str | None = None
    refusal: str | None = None


def read_content(content: Any) -> Said:
    """Content that is neither text nor null.

    Text in a list is text, thinking is reasoning; anything else is kept as its JSON, as it was paid.
    """
    if not isinstance(content, list) or not all(map(_is_part, content)):
        return Said(json_text(content))
    texts = [text for part in content if (text := _text_in(part)) is not None]
    thoughts = "".join(plain_text(part) for part in content if _kind(part) in _THINKING)
    refusals = "".join(part["refusal"] for part in content if _is_refusal(part))
    if content and not (texts or thoughts or refusals):
        return Said(json_text(content))
    return Said("".join(texts) if texts or not content else None, thoughts or None, refusals or None)


_THINKING = frozenset({"thinking", "reasoning"})


def _kind(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else "text"


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (
        isinstance(part, dict) and any(isinstance(part.get(name), str) for name in ("type", "text"))
    )


def _text_in(part: Any) -> str | None:
    text = part if isinstance(part, str) else part.get("text")
    return text if isinstance(text, str) and _kind(part) not in _THINKING else None


def _is_refusal(part: Any) -> bool:
    return _kind(part) == "refusal" and isinstance(part.get("refusal"), str)


def plain_text(value: Any) -> str:
    """All the text in a part, or in a list of them, in its order."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(plain_text, value))
    if isinstance(value, dict):
        return "".join(
            plain_text(value[name]) for name in ("thinking", "reasoning", "text", "summary") if name in value
        )
    return ""


def json_text(value: Any) -> str | None:
    """Its JSON; None where JSON has no word for it, such as NaN."""
    text = msgspec.json.encode(value).decode()
    return None if text == "null" else text
