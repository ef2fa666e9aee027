"""Takes secrets out of text that others wrote, before it is stored or shown.

Knows only the secrets it was given; where keys come from is the job's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAK_CHARS = 8  # so many consecutive characters of a secret count as a leak: providers echo keys half masked
MASK = "[secret]"


class Scrubber:
    """Replaces every run of `LEAK_CHARS` or more characters of a secret."""

    __slots__ = ("_grams", "_probes")

    def __init__(self, secrets: Iterable[str]) -> None:
        # Placeholders for local servers ("x", "EMPTY") are no secrets, and masking them would spoil answers.
        known = [secret for secret in secrets if len(secret) >= LEAK_CHARS]
        self._grams = {secret[i : i + LEAK_CHARS] for secret in known for i in range(len(secret) - LEAK_CHARS + 1)}
        # Any run of 8 characters holds a whole 4-gram that starts at a multiple of 4, so these few
        # substrings decide for nearly every text, at a quarter of the cost, that it holds no secret.
        half = LEAK_CHARS // 2
        self._probes = tuple({secret[i : i + half] for secret in known for i in range(0, len(secret), half)})

    def __bool__(self) -> bool:
        """Whether there is anything to take out."""
        return bool(self._probes)

    def __call__(self, text: str) -> str:
        """The text itself where it holds no part of a secret."""
        for probe in self._probes:  # a generator would double what this costs
            if probe in text:
                break
        else:
            return text
        spans = sorted(span for gram in self._grams for span in _occurrences(text, gram))
        return _masked(text, spans)


def _occurrences(text: str, gram: str) -> Iterable[tuple[int, int]]:
    at = text.find(gram)
    while at >= 0:
        yield at, at + len(gram)
        at = text.find(gram, at + 1)


def _masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces: list[str] = []
    end = 0
    for start, stop in spans:
        if start >= end:
            pieces += (text[end:start], MASK)
        end = max(end, stop)
    return "".join(pieces) + text[end:]
