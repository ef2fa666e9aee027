"""The page's colours: text is readable by WCAG's measure (AA) on a light screen, on a dark one and on paper.

https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchroute.show.page import render

STYLE = (Path(render.__file__).parent / "style.css").read_text(encoding="utf-8")
# What is written or drawn in the first colour stands on the second.
TEXT = [
    ("ink", "paper"),
    ("ink", "panel"),
    ("ink", "track"),
    ("soft", "paper"),
    ("soft", "panel"),
    ("good", "good-paper"),
    ("bad", "bad-paper"),
    ("loud", "loud-paper"),
]
COLOURS = ("strong", "weak", "router", "pilot", "chance", "saved", "more", "alert", "away", "no_money")
DRAWN = [(colour, "paper") for colour in COLOURS]


def schemes() -> dict[str, dict[str, str]]:
    """The colours by name; a scheme has those of the light one that it does not change."""
    blocks = {"light": STYLE.partition("@media")[0]}
    for scheme, query in (("dark", "@media (prefers-color-scheme: dark)"), ("print", "@media print")):
        blocks[scheme] = STYLE.partition(query)[2].partition("}")[0]
    found = {scheme: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for scheme, block in blocks.items()}
    return {scheme: found["light"] | colours for scheme, colours in found.items()}


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, 4.5), (DRAWN, 3.0)], ids=["text", "drawn"])
def test_what_is_shown_can_be_seen(scheme: str, pairs: list[tuple[str, str]], least: float) -> None:
    colours = schemes()[scheme]
    assert len(colours) > 25
    assert [pair for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < least] == []
