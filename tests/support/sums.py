"""Sums to ask a provider that has a skill: prompts with their answers, as many as wanted."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_DIGITS = 6


class SumRow(NamedTuple):
    """A row of input; the longer number of its sum has that many digits."""

    id: str
    prompt: str
    answer: int
    digits: int


def sums(count: int, seed: int = 0) -> Iterator[SumRow]:
    """Sums of 1 to 6 digits, each as often as the others, in a random order; the other number is no longer."""
    chance = Random(seed)  # noqa: S311  of a test
    for number in range(count):
        digits = chance.randint(1, MOST_DIGITS)
        a, b = (chance.randrange(10 ** (length - 1), 10**length) for length in (digits, chance.randint(1, digits)))
        yield SumRow(f"s{number + 1:05}", f"What is {a} + {b}?", a + b, digits)


def write_sums(path: Path, count: int, seed: int = 0) -> Path:
    """The same as a JSONL file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row._asdict())}\n" for row in sums(count, seed))
    return path
