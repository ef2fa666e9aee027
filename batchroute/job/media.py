"""The most tokens that an image, a sound or a file can add to a prompt: as the job or its provider says.

Nothing is decoded, so a provider's rule is the largest count that it can bill for one image of a detail. None is
known for sounds and files, whose length decides.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchroute.types import Media

USUAL_TOKENS = 1000  # of a part of which nothing is known, where nothing depends on a bound


class MediaTokens(NamedTuple):
    """The most tokens of one part; None: unknown. `image` is one whose detail is auto, original or not said."""

    image: int | None = None
    high_image: int | None = None
    low_image: int | None = None
    other: int | None = None

    def most(self, media: Media) -> int | None:
        """Of all parts of a row; None where that of one of them is unknown."""
        found = [
            None if tokens is None else count * tokens
            for count, tokens in zip(_counts(media), self, strict=True)
            if count
        ]
        return None if None in found else sum(tokens for tokens in found if tokens is not None)

    def expected(self, media: Media) -> int:
        """The same, with what is usual where a bound is unknown."""
        pairs = zip(_counts(media), self, strict=True)
        return sum(count * (USUAL_TOKENS if tokens is None else tokens) for count, tokens in pairs)


UNKNOWN = MediaTokens()


def _counts(media: Media) -> tuple[int, int, int, int]:
    return media.images, media.high_images, media.low_images, media.others


def media_tokens(model: str, given: int | None) -> MediaTokens:
    """Of one part for `model`; `given` is the job's own bound, which holds for all of them."""
    if given is not None:
        return MediaTokens(given, given, given, given)
    name = re.split(r"[/.](?=[a-z])", model.lower())[-1]
    return next((tokens for pattern, tokens in _RULES if re.match(pattern, name)), UNKNOWN)


def _tiles(base: int, tile: int) -> MediaTokens:
    """Scaled into 2,048 x 2,048 and to a short side of 768: up to 4 by 2 tiles of 512, and a base."""
    most = base + 8 * tile
    return MediaTokens(most, most, base)


def _patches(factor: float, high: int, full: int | None) -> MediaTokens:
    """Patches of 32 x 32, `high` of them or `full` at most, times the model's factor; low is 512 x 512."""
    counts = (full, high, 256)
    return MediaTokens(*(None if count is None else math.ceil(count * factor) for count in counts))


def _any_detail(tokens: int) -> MediaTokens:
    return MediaTokens(tokens, tokens, tokens)


# OpenAI: https://developers.openai.com/api/docs/guides/images-vision, as of 2026-11. It names no factor for
# gpt-5.5 and gpt-6-astra; theirs is measured (1.2, at ten sizes of image, 2026-11). From gpt-5.6 on an image whose
# detail is auto or original is not scaled down: nothing bounds it.
# Anthropic: https://platform.claude.com/docs/en/build-with-claude/vision, as of 2026-08: 4,784 from Claude 4.7 on,
# about 1,600 before.
# Gemini: https://ai.google.dev/gemini-api/docs/media-resolution, as of 2026-03: 2,240 at the highest resolution.
# Its 2.5 models bill 258 a tile, of as many tiles as an image has.
_RULES: tuple[tuple[str, MediaTokens], ...] = (
    (r"gpt-4o-mini", _tiles(2833, 5667)),
    (r"gpt-4\.1-mini|gpt-5(\.4)?-mini", _patches(1.62, 1536, 1536)),
    (r"gpt-4\.1-nano|gpt-5(\.4)?-nano", _patches(2.46, 1536, 1536)),
    (r"o4-mini", _patches(1.72, 1536, 1536)),
    (r"gpt-4o|gpt-4\.1|gpt-4\.5|chatgpt-4o", _tiles(85, 170)),
    (r"gpt-5(-chat.*|-20\d\d-\d\d-\d\d)?$", _tiles(70, 140)),
    (r"o1(-pro)?(-20.*)?$|o3(-20.*)?$", _tiles(75, 150)),
    (r"computer-use-preview", _tiles(65, 129)),
    (r"gpt-5\.5(-20.*)?$", _patches(1.2, 2500, 10_000)),
    (r"gpt-6-astra", _patches(1.2, 2500, None)),
    (r"claude-3|claude-(opus|sonnet|haiku)-4(-[0-6])?(-20\d{6})?($|@|-v)", _any_detail(1600)),
    (r"claude-", _any_detail(4784)),
    (r"gemini-3", _any_detail(2240)),
)
