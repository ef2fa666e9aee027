"""Tokens of answered rows as sums: the values, and the mean answer that they make. Knows no files.

How rows are added up stands in `token_sums`, what a sum would cost in `all_one_side`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class TokenSum:
    """Rows that one endpoint answered, and the sums of their tokens; no prompt is longer than `longest_prompt`.

    `is_reused`: another run paid for them. `is_twice`: their tokens are those of two answers, one of each
    endpoint, which no result tells apart; `prompt` is half of theirs, as both read the same.
    """

    route: str
    service_tier: str | None
    is_reused: bool
    is_twice: bool
    longest_prompt: int
    rows: int
    prompt: int
    cached: int
    written: int
    completion: int


def mean_completions(sums: Sequence[TokenSum]) -> dict[str, float]:
    """By endpoint the tokens of its mean answer; one that answered no row by itself is not in it."""
    alone = [each for each in sums if not each.is_twice]
    return {
        name: sum(each.completion for each in alone if each.route == name) / rows
        for name in dict.fromkeys(each.route for each in alone)
        if (rows := sum(each.rows for each in alone if each.route == name))
    }
