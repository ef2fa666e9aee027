"""Labels -> an MF model on the built-in embedder: ridge regression of the gain, written in RouteLLM's form.

Knows recipes and what is held out for an honest figure; nothing of jobs, endpoints or runs. The gain of a prompt
is the strong side's score minus the weak side's; ties count as no gain and stay in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from safetensors.torch import save

from batchroute.checkpoint import Card, write_checkpoint
from batchroute.embed import BUILTIN_DIMENSION, BUILTIN_IDENTITY, SURFACE_SCALE, load_builtin
from batchroute.errors import InputFault
from batchroute.evaluate import apgr
from batchroute.labels import read_labels
from batchroute.ngrams import BUCKETS, char_bags, find_words, fold_case, lay_out, word_bags
from batchroute.ridge import Design, solve_ridge
from batchroute.surface import FEATURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from batchroute.labels import Labels
    from batchroute.ngrams import Bags
    from batchroute.types import Floats

LOGIT_OF_GAIN = 2.0  # sigmoid(2 g) is (1 + g) / 2 near g = 0: the probability that the strong side's answer wins
FOLDS = 6


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One label file of a recipe, and the models that stand for the two sides in it.

    A side's score is the mean over its models: the more there are, the less noise. Prompts of the domains in
    `without` are left out. `by_domain`: each domain is a group of its own, in the balance and in the figures.
    """

    file: str
    strong: list[str]
    weak: list[str]
    without: list[str] = []
    by_domain: bool = False


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained: what stands in a recipe file.

    `ridge` is the penalty on the squared weights, in units of one prompt; a group of n prompts counts as
    n ** (1 - balance) of them. `length_weight` is added to the gain per unit of "prose length". `data` and
    `licence` go to the model's card.
    """

    strong: str
    weak: str
    labels: list[Source]
    ridge: float = 10.0
    balance: float = 0.5
    length_weight: float = 0.0
    data: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What was trained, on how many prompts; `held_out` maps a group to the APGR of model, length and random.

    Each was measured by models that had seen nothing of the prompt's domain; empty when that was not asked for.
    """

    output: Path
    prompts: int
    held_out: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Pool:
    """The labels of all sources; entry i of each belongs to prompt i. A domain's name holds its file's."""

    prompts: list[str]
    strong: Floats
    weak: Floats
    groups: NDArray[np.str_]
    domains: NDArray[np.str_]

    @property
    def gain(self) -> Tensor:
        return torch.from_numpy(self.strong - self.weak)


def read_recipe(file: Path) -> Recipe:
    """InputFault when the file is no recipe."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Recipe)
    except (OSError, msgspec.DecodeError) as fault:
        raise InputFault(f"{file}: {fault}") from fault


def train_model(
    labels: Sequence[Path], output: Path, *, strong: str, weak: str, seed: int = 0, hold_out: bool = False
) -> TrainReport:
    """A model from label files for one pair of models, with a recipe's defaults."""
    sources = [Source(str(file.resolve()), [strong], [weak]) for file in labels]
    recipe = Recipe(strong, weak, sources, data=", ".join(file.name for file in labels))
    return train_recipe(recipe, Path(), output, seed=seed, hold_out=hold_out)


def train_recipe(
    recipe: Recipe, data: Path, output: Path, *, seed: int = 0, hold_out: bool = False
) -> TrainReport:
    """The model of a recipe whose label files lie in `data`, written to the directory `output`.

    The weights follow from the labels alone; `seed` only deals the domains out to the folds of `hold_out`, which
    trains six more models. InputFault for labels that will not do.
    """
    pool = _pool(
        [(source, read_labels(data / source.file, source.strong, source.weak)) for source in recipe.labels]
    )
    embedder = load_builtin(torch.device("cpu"))
    design = Design(embedder, embedder.encode(pool.prompts))
    weights = _balance(pool.groups, recipe.balance)
    held_out = _hold_out(recipe, pool, design, weights, seed) if hold_out else {}
    vector = _fit(recipe, pool, design, weights)
    write_checkpoint(output, _one_dimensional(vector * LOGIT_OF_GAIN), _card(recipe, seed, held_out))
    return TrainReport(output, len(pool.prompts), held_out)


def write_document_frequencies(texts: Sequence[str], file: Path) -> None:
    """The built-in embedder's table: smoothed idf [2, BUCKETS] over `texts`, 0 for n-grams seen in one only."""
    layout = lay_out(texts)
    folded = fold_case(layout)
    bags = (char_bags(folded, layout), word_bags(folded, find_words(folded, layout)))
    idf = torch.from_numpy(np.stack([_idf(bag) for bag in bags]))
    file.write_bytes(save({"idf": idf.half()}))


def _fit(recipe: Recipe, pool: Pool, design: Design, weights: Floats) -> Tensor:
    vector = solve_ridge(design, pool.gain, torch.from_numpy(weights), recipe.ridge)
    vector[2 * BUCKETS + FEATURES.index("prose length")] += recipe.length_weight / SURFACE_SCALE
    return vector


def _hold_out(
    recipe: Recipe, pool: Pool, design: Design, weights: Floats, seed: int
) -> dict[str, dict[str, float]]:
    """APGR by group, each prompt scored by the one of six models that saw nothing of its domain."""
    domains, member = np.unique(pool.domains, return_inverse=True)
    random = np.random.default_rng(seed)
    fold = random.permutation(len(domains))[member] % min(FOLDS, len(domains))
    scores = np.empty(len(fold))
    for held in range(int(fold.max()) + 1):
        vector = _fit(recipe, pool, design, np.where(fold == held, 0.0, weights))
        scores[fold == held] = design.times(vector).numpy()[fold == held]
    length = np.fromiter(map(len, pool.prompts), np.float64, len(pool.prompts))
    rivals = {"model": scores, "length": length, "random": random.random(len(fold))}
    gain = pool.strong - pool.weak
    with_gap = [group for group in np.unique(pool.groups) if gain[pool.groups == group].sum()]
    return {str(group): _figures(rivals, pool, pool.groups == group) for group in with_gap}


def _figures(rivals: dict[str, Floats], pool: Pool, where: NDArray[np.bool_]) -> dict[str, float]:
    strong, weak = pool.strong[where], pool.weak[where]
    return {name: round(apgr(scores[where], strong, weak), 4) for name, scores in rivals.items()}


def _card(recipe: Recipe, seed: int, held_out: dict[str, Any]) -> Card:
    return Card(
        models=(recipe.strong, recipe.weak),
        embedder=BUILTIN_IDENTITY,
        dimension=BUILTIN_DIMENSION,
        data=recipe.data,
        licence=recipe.licence,
        seed=seed,
        evaluation={"held_out_apgr": held_out} if held_out else {},
    )


def _pool(parts: Sequence[tuple[Source, Labels]]) -> Pool:
    rows = [
        (
            prompt,
            strong,
            weak,
            f"{source.file}/{domain}" if source.by_domain else source.file,
            f"{source.file}/{domain}",
        )
        for source, labels in parts
        for prompt, domain, strong, weak in zip(
            labels.prompts, labels.domains, labels.strong.tolist(), labels.weak.tolist(), strict=True
        )
        if domain not in source.without
    ]
    prompts, strong, weak, groups, domains = zip(*rows, strict=True)
    return Pool(list(prompts), np.array(strong), np.array(weak), np.array(groups), np.array(domains))


def _balance(groups: NDArray[np.str_], balance: float) -> Floats:
    """[n] weights that let a group of n prompts count as n ** (1 - balance) of them."""
    _, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    weights: Floats = (size[member] / size.mean()) ** -balance
    return weights


def _one_dimensional(vector: Tensor) -> dict[str, Tensor]:
    """A model of one dimension, in which the sides are +1 and -1, so that its folded vector is `vector`."""
    return {
        "P.weight": torch.tensor([[1.0], [-1.0]]),
        "text_proj.0.weight": (vector / 2).half().unsqueeze(0),
        "classifier.0.weight": torch.ones(1, 1),
    }


def _idf(bags: Bags) -> Floats:
    texts = len(bags.offsets) - 1
    text = np.repeat(np.arange(texts), np.diff(bags.offsets))
    seen = np.unique(text * (BUCKETS + 1) + bags.ids) % (BUCKETS + 1)
    count = np.bincount(seen, minlength=BUCKETS + 1)[:BUCKETS]
    return np.where(count > 1, np.log((1 + texts) / (1 + count)) + 1, 0.0)
