"""Made-up jobs: prompts of six topics among words that mean nothing, and answers that are right by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from batchroute.types import Floats

TOPICS = (
    ("Write a recipe for {} with {}.", "soup stew salad curry pie bread", "leeks beans rice basil plums"),
    (
        "Translate to French: the {} is near the {}.",
        "station harbour market castle",
        "river bridge park lake",
    ),
    ("Which team won the {} of {}?", "cup league final derby regatta", "Lisbon Oslo Kyoto Lima Perth"),
    ("Explain how a {} treats {}.", "doctor nurse vaccine clinic tablet", "fever asthma burns malaria gout"),
    ("Summarise this letter about the {} and the {}.", "rent garden parcel invoice", "lift roof fence boiler"),
    ("What does the law say of {} in {}?", "leases wills theft custody", "Kenya Chile Norway Nepal"),
)
FILLER = "please note that all of this is meant for a short talk which we will give to friends next week"


def prompts(count: int, seed: int = 0, longest: int = 12) -> tuple[list[str], NDArray[np.int64]]:
    """So many prompts, each with up to `longest` words of no meaning, and the topic of each."""
    random = np.random.default_rng((seed, 11))
    topics = random.integers(0, len(TOPICS), count)
    return [_prompt(int(topic), longest, random) for topic in topics], topics


def _prompt(topic: int, longest: int, random: np.random.Generator) -> str:
    form, *words = TOPICS[topic]
    filler = random.choice(FILLER.split(), random.integers(0, longest + 1))
    return " ".join((form.format(*(random.choice(each.split()) for each in words)), *filler))


def right(chances: Sequence[float] | Floats, seed: int) -> Floats:
    """[n] 1.0 for a right answer, 0.0 for a wrong one, each at its own chance."""
    drawn: Floats = (np.random.default_rng((seed, 12)).random(len(chances)) < chances).astype(np.float64)
    return drawn
