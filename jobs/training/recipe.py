"""What stands in a recipe: the label files to learn from, and how much each says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from batchroute.errors import InputFault
from batchroute.score.embed.surface import FEATURES

if TYPE_CHECKING:
    from pathlib import Path


class LabelSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One label file of a recipe, and the models that stand for the two sides in it.

    A side's score is the mean over its models: the more there are, the less noise. Prompts of the domains in
    `without` are left out. `by_domain`: each domain is a group of its own, in the balance, the levels and the
    figures. `weight` is how much a prompt counts beside those of other files.

    `target = "difficulty"` is for prompts so hard that the strong side fails on many. There the gain falls as they
    get harder, while for a pair that answers most prompts it grows; so the share of failures of both sides is
    learnt in place of the gain, at the same mean.
    """

    file: str
    strong: list[str]
    weak: list[str]
    without: list[str] = []
    by_domain: bool = False
    weight: float = 1.0
    target: Literal["gain", "difficulty"] = "gain"


class WordPrior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words of one kind, parted by white space, and what they add to the gain.

    Where a text has n distinct words and pairs of neighbours, k such words add k * gain / sqrt(n).
    """

    gain: float
    words: str


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained.

    `ridge` is the penalty on the squared weights, in units of one prompt; a group of n prompts counts as
    n ** (1 - balance) of them. For what is known, but not from the labels, `prior` maps surface features to what
    is added to the gain per unit of each; `word_priors` are for words. On the prompts of the file `calibrate_on`,
    each scored by a model that saw nothing of its domain, scores are made the rate at which the strong side wins
    (ties half). `data` and `licence` go to the model's card.
    """

    strong: str
    weak: str
    labels: list[LabelSource]
    ridge: float = 10.0
    balance: float = 0.5
    prior: dict[str, float] = {}
    word_priors: list[WordPrior] = []
    calibrate_on: str = ""
    data: str = ""
    licence: str = ""


def read_recipe(file: Path) -> Recipe:
    """InputFault when the file is no recipe."""
    try:
        recipe = msgspec.toml.decode(file.read_bytes(), type=Recipe)
    except (OSError, msgspec.DecodeError) as fault:
        raise InputFault(f"{file}: {fault}") from fault
    unknown = sorted(set(recipe.prior) - set(FEATURES))
    if unknown:
        raise InputFault(f"{file}: prior: no feature is named {unknown[0]!r}; there are {', '.join(FEATURES)}")
    if recipe.calibrate_on and recipe.calibrate_on not in {source.file for source in recipe.labels}:
        raise InputFault(f"{file}: calibrate_on: no [[labels]] has the file {recipe.calibrate_on!r}")
    return recipe
