"""Which parts of messages are media, and how much of a row is their data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.input.media import media_in
from batchroute.input.row import chars_in
from batchroute.types import Media

TEXT = {"type": "text", "text": "What is this?"}
PNG = "data:image/png;base64," + "A" * 1000


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


@pytest.mark.parametrize(
    ("part", "media", "inlined"),
    [
        (TEXT, None, 0),
        ("just text", None, 0),
        (image("https://example.com/a.png"), Media(images=1), 0),
        (image(PNG), Media(images=1), len(PNG)),
        (image(PNG, detail="auto"), Media(images=1), len(PNG)),
        (image(PNG, detail="original"), Media(images=1), len(PNG)),
        (image(PNG, detail="low"), Media(low_images=1), len(PNG)),
        (image(PNG, detail="HIGH"), Media(high_images=1), len(PNG)),
        ({"type": "image_url", "image_url": PNG}, Media(images=1), len(PNG)),
        ({"type": "input_image", "image_url": PNG, "detail": "low"}, Media(low_images=1), len(PNG)),
        ({"type": "image", "source": {"type": "base64", "data": "A" * 50}}, Media(images=1), 50),
        ({"type": "image", "source": {"type": "url", "url": "https://example.com/a"}}, Media(images=1), 0),
        ({"type": "input_audio", "input_audio": {"data": "A" * 70, "format": "wav"}}, Media(others=1), 70),
        ({"type": "file", "file": {"file_data": PNG, "filename": "a.pdf"}}, Media(others=1), len(PNG)),
        ({"type": "file", "file": {"file_data": "A" * 90}}, Media(others=1), 90),
        ({"type": "file", "file": {"file_id": "file-1"}}, Media(others=1), 0),
        ({"type": "input_file", "file_data": "A" * 90}, Media(others=1), 90),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, Media(others=1), 0),
        ({"type": "something_new", "url": "https://example.com/x"}, Media(others=1), 0),
        # a document that is text has no more tokens than characters
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}}, None, 0),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A" * 9}}, None, 0),
        ({"type": "tool_result", "content": [image(PNG, detail="low"), TEXT]}, Media(low_images=1), len(PNG)),
        ({"type": "tool_result", "content": "fine"}, None, 0),
        ({"type": "tool_use", "name": "look", "input": {}}, None, 0),
        ({"type": "thinking", "thinking": "hm"}, None, 0),
        ({"type": None}, None, 0),
    ],
)
def test_parts_that_are_no_text(part: Any, media: Media | None, inlined: int) -> None:
    assert media_in([{"role": "user", "content": [TEXT, part]}]) == (media, inlined)


def test_the_media_of_all_messages_are_counted() -> None:
    user = {"role": "user", "content": [TEXT, image(PNG), image(PNG, detail="low"), image(PNG)]}
    sound = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}
    assert media_in([{"role": "system", "content": "Look."}, user, sound]) == (Media(2, 0, 1, 1), 3 * len(PNG) + 4)


@given(st.integers(0, 5000))
def test_what_is_inlined_is_no_text(size: int) -> None:
    for part in (
        image("data:image/png;base64," + "A" * size),
        {"type": "input_audio", "input_audio": {"data": "A" * size}},
        {"type": "file", "file": {"file_data": "A" * size}},
        {"type": "image", "source": {"type": "base64", "data": "A" * size}},
    ):
        assert chars_in([{"role": "user", "content": [TEXT, part]}]) < 60
