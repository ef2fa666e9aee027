"""The parts of chat messages that are no text: how many of which kind, and how much of them is inlined as base64.

Looks at no picture and decodes nothing; what a part costs is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchroute.types import Media

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Keys whose values are data or where to get it: no text that a model reads.
MEDIA_KEYS = frozenset({"image_url", "input_audio", "file", "file_data", "video_url", "audio_url", "source"})
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking", "reasoning"})
_CALLS = frozenset({"tool_use", "tool_call", "function_call"})
_IMAGES = frozenset({"image_url", "input_image", "image"})
_DETAILS = {"low": "low_images", "high": "high_images"}
_DATA = frozenset({"data", "file_data"})


def media_in(messages: Sequence[dict[str, Any]]) -> tuple[Media | None, int]:
    """The media of messages, and the bytes of those that are inlined; None, 0 where there are none."""
    lists = (content for message in messages if isinstance(content := message.get("content"), list))
    parts = [part for content in lists for part in _parts(content)]
    if not parts:
        return None, 0
    counts = dict.fromkeys(Media.__struct_fields__, 0)
    for part in parts:
        counts[_kind(part)] += 1
    return Media(**counts), sum(_inlined(part) for part in parts)


def _parts(content: list[Any]) -> Iterator[dict[str, Any]]:
    """The media among the parts of a message, and of what tools answered."""
    for part in content:
        if not isinstance(part, dict):
            continue
        kind, inner = part.get("type"), part.get("content")
        if isinstance(inner, list):
            yield from _parts(inner)
        elif kind not in _CALLS and kind != "tool_result" and _is_media(part, kind):
            yield part


def _is_media(part: dict[str, Any], kind: Any) -> bool:
    """What is neither text nor a document that is: its tokens are those of its characters."""
    is_known = not MEDIA_KEYS.isdisjoint(part)
    return (is_known or (isinstance(kind, str) and kind not in _TEXTS)) and not _is_text_document(part)


def _is_text_document(part: dict[str, Any]) -> bool:
    file, source = part.get("file"), part.get("source")
    data = file.get("file_data") if isinstance(file, dict) else part.get("file_data")
    is_text = isinstance(source, dict) and source.get("type") == "text"
    return is_text or (isinstance(data, str) and data.startswith("data:text/"))


def _kind(part: dict[str, Any]) -> str:
    if part.get("type") not in _IMAGES and "image_url" not in part:
        return "others"
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, dict) else None
    return _DETAILS.get(str(detail or part.get("detail")).lower(), "images")


def _inlined(value: dict[str, Any]) -> int:
    """The bytes of base64 in a part, or fewer."""
    sizes = (_inlined(inner) if isinstance(inner, dict) else _size(name, inner) for name, inner in value.items())
    return sum(sizes)


def _size(name: str, value: Any) -> int:
    return len(value) if isinstance(value, str) and (name in _DATA or value.startswith("data:")) else 0
