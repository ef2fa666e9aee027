"""The names by which a provider's table calls models -> the names of the runs.

`gpt-x-2026-08-07, input`, `openai/gpt-x`, `GPT x` and Azure's `gpt x 0807 Inp glbl Tokens` are all gpt-x; none of
them is gpt-x-mini. Knows no models.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchroute.job.served import is_asked_model

if TYPE_CHECKING:
    from collections.abc import Iterable

# What stands behind a model's name and makes no other model of it: kinds of token, tiers, places, units.
_BESIDE = frozenset(
    (
        *("input", "inp", "in", "output", "outp", "out", "opt", "cached", "cache", "cchd", "cd", "read", "write"),
        *("tokens", "token", "text", "standard", "std", "batch", "flex", "priority", "default", "latest"),
        *("global", "glbl", "gl", "regional", "regnl", "rgnl", "data", "zone", "dzone", "dz", "dzn", "datazone"),
        *("1k", "1m", "5m", "1h"),
    )
)
_DATE = re.compile(r"\b20\d\d[-. ]?\d\d[-. ]?\d\d\b|\b\d\d-20\d\d\b")
_VERSION = re.compile(r"\d{3,4}")


def fold_model(name: str, ours: Iterable[str]) -> str:
    """The one of `ours` that is meant by `name`, which is given back where none is."""
    plain = name.strip().partition(", ")[0].strip()
    ours = list(ours)
    for model in ours:
        if is_asked_model(model, plain):
            return model
    words = _words(name)
    # The longest first: of gpt-x and gpt-x-mini both are the beginning of gpt-x-mini-2026-08-07.
    for model in sorted(ours, key=lambda model: -len(_words(model))):
        own, versions = _words(model), {*_DATE.findall(model), *_DATE.findall(name)}
        is_named = words[: len(own)] == own and all(_is_beside(word) for word in words[len(own) :])
        if is_named and len(versions) < 2:
            return model
    return plain


def _words(name: str) -> list[str]:
    undated = _DATE.sub(" ", name.lower().rpartition("/")[2])
    return [word for word in re.split(r"[^a-z0-9]+", undated) if word]


def _is_beside(word: str) -> bool:
    return word in _BESIDE or _VERSION.fullmatch(word) is not None
