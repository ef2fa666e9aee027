"""Prompts -> those to learn from, those to stop by, those held out for an honest figure.

A prompt's part follows from its text and the seed: the same prompt never stands on two sides, and neither the
order of the labels nor what else is among them moves it far.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PART = 0.1  # of the prompts, for each of validation and held out
FEWEST = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of prompts, ascending."""

    learn: NDArray[np.int64]
    validation: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_prompts(prompts: Sequence[str], seed: int) -> Split:
    """A tenth of distinct prompts for validation, a tenth held out; InputFault where there are too few."""
    if len(prompts) < FEWEST:
        raise InputFault(
            f"{len(prompts)} labelled prompts are too few to train on; there must be {FEWEST} or more"
        )
    key = str(seed).encode()
    digests = [
        blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest() for prompt in prompts
    ]
    order = np.array(sorted(range(len(prompts)), key=digests.__getitem__))
    size = max(1, round(PART * len(prompts)))
    parts = np.split(order, [size, 2 * size])
    validation, held_out, learn = (np.sort(part) for part in parts)
    return Split(learn, validation, held_out)
