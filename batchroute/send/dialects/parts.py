"""The parts of a chat message, whatever API they go to: what each is, and where it stands.

What an API cannot carry raises Untranslatable, with its place: "messages[2].content[0]: ...".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batchroute.job.params.words import Untranslatable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM_ROLES = frozenset({"system", "developer"})


def parts_of(content: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the object of each part; text is a part, too."""
    if not isinstance(content, list):
        raise Untranslatable(f"{place}: is neither text nor a list of parts")
    for index, part in enumerate(content):
        where = f"{place}[{index}]"
        if isinstance(part, str):
            yield where, {"type": "text", "text": part}
        elif not isinstance(part, dict):
            raise Untranslatable(f"{where}: is neither text nor an object")
        elif part.get("type") == "text" and not isinstance(part.get("text"), str):
            raise Untranslatable(f"{where}.text: is no text")
        else:
            yield where, {name: value for name, value in part.items() if value is not None}


class DataUrl(NamedTuple):
    """What a `data:` URL holds."""

    kind: str  # image/png
    base64: str


def media_in(url: str) -> DataUrl | None:
    """What a `data:` URL holds in base64; None for another address."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return DataUrl(head.removeprefix("data:").partition(";")[0].lower(), data)


def image_url(part: Mapping[str, Any], place: str) -> tuple[str, str | None]:
    """The address and the detail of an image part, in either of the two shapes that people write."""
    image = part.get("image_url")
    url, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, None)
    if not isinstance(url, str):
        raise Untranslatable(f"{place}.image_url: has no url")
    return url, detail


def refuse_name(message: Mapping[str, Any], place: str, api: str) -> None:
    """A participant's name, which only chat has. That of a tool's result says nothing new."""
    if message.get("name") is not None and message["role"] not in ("tool", "function"):
        raise Untranslatable(f"{place}.name: the {api} API has no such field; remove it")
