"""The fields of an answer, whatever stands in them: a text, the objects in a list."""

from __future__ import annotations

from typing import Any


def string(value: Any) -> str | None:
    """A value that is text; None for any other."""
    return value if isinstance(value, str) else None


def text_of(parts: list[Any], key: str) -> str | None:
    """The texts at `key` of an answer's parts, joined; None where there are none."""
    texts = [text for part in parts if isinstance(part, dict) and isinstance(text := part.get(key), str)]
    return "".join(texts) if texts else None


def objects_in(value: Any, kind: str | None = None) -> list[dict[str, Any]]:
    """The objects of a list, those of one `type` where it is given; none where it is no list."""
    items = value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict) and (kind is None or item.get("type") == kind)]
