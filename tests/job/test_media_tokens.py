"""The most tokens of an image, a sound or a file: the providers' published rules, worked out by hand."""

from __future__ import annotations

import pytest

from batchroute.job.media import USUAL_TOKENS, MediaTokens, media_tokens
from batchroute.types import Media


@pytest.mark.parametrize(
    ("model", "full", "high", "low"),
    [
        ("gpt-4o", 85 + 8 * 170, 85 + 8 * 170, 85),
        ("openai/gpt-4o-2024-08-06", 1445, 1445, 85),
        ("gpt-4.1", 1445, 1445, 85),
        ("gpt-4o-mini", 2833 + 8 * 5667, 2833 + 8 * 5667, 2833),
        ("gpt-5", 1190, 1190, 70),
        ("gpt-5-2025-08-07", 1190, 1190, 70),
        ("o3", 1275, 1275, 75),
        ("gpt-4.1-mini", 2489, 2489, 415),  # 1,536 and 256 patches, times 1.62
        ("gpt-5.4-nano", 3779, 3779, 630),
        ("o4-mini", 2642, 2642, 441),
        ("gpt-5.5", 12_000, 3000, 308),
        ("gpt-6-astra", None, 3000, 308),  # nothing bounds the size of an image that is not scaled down
        ("gpt-6.1-sol", None, None, None),
        ("claude-haiku-4-5", 1600, 1600, 1600),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 1600, 1600, 1600),
        ("claude-opus-4-7", 4784, 4784, 4784),
        ("claude-opus-5-5", 4784, 4784, 4784),
        ("gemini-3.5-flash", 2240, 2240, 2240),
        ("gemini-2.5-flash", None, None, None),
        ("our-own", None, None, None),
    ],
)
def test_the_most_tokens_of_an_image(model: str, full: int | None, high: int | None, low: int | None) -> None:
    assert media_tokens(model, None) == MediaTokens(full, high, low, None)


def test_the_jobs_own_bound_holds_for_every_part() -> None:
    assert media_tokens("gpt-4o", 500) == MediaTokens(500, 500, 500, 500)


def test_the_media_of_a_row_add_up() -> None:
    tokens = media_tokens("gpt-4o", None)
    assert tokens.most(Media(images=2, low_images=3)) == 2 * 1445 + 3 * 85
    assert tokens.most(Media(low_images=1, others=1)) is None, "nothing is known of a sound"
    assert tokens.expected(Media(low_images=1, others=2)) == 85 + 2 * USUAL_TOKENS
