"""The part of an answer that is meant as its end: what comes after the thoughts, what is boxed.

Knows nothing of what is right.
"""

from __future__ import annotations

_THOUGHTS_END = "</think>"
_BOX = "\\boxed{"


def without_thoughts(response: str) -> str:
    """The text after what a reasoning model thinks aloud, which some servers leave in the answer."""
    return response.rpartition(_THOUGHTS_END)[2]


def boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...}, as answers in LaTeX have it; None where there is no whole one."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    depth = 0
    for place in range(start + len(_BOX) - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + len(_BOX) : place]
    return None
