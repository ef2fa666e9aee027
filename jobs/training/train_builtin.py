"""Trains the built-in router: a recipe and its label files -> a model directory.

    python jobs/training/train_builtin.py jobs/training/builtin-router.toml --data DIR -o MODEL

A tool for those who make the package's own model; `batchroute train` is for labels of your own. It is an MF model
of one dimension on the built-in embedder, found by ridge regression of the gain: the strong side's score minus the
weak side's. Ties count as no gain and stay in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch

from batchroute.errors import InputFault, UsageFault
from batchroute.learn.labels.sides import read_labels
from batchroute.learn.train.gain import LOGIT_OF_GAIN, Design, solve_ridge
from batchroute.quality.curves import apgr
from batchroute.score.checkpoint import Card, write_checkpoint
from batchroute.score.embed.builtin import SURFACE_SCALE, HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, BUILTIN_IDENTITY
from batchroute.score.embed.ngrams import BUCKETS
from batchroute.score.embed.surface import FEATURES
from pool import Pool, balanced_weights, pool_sources
from recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from batchroute.types import Floats

FOLDS = 6
NEWTON_STEPS = 25
CHOICES = re.compile(r"\n\s*\(?A[.)]")  # where a list of choices begins
QUESTION_CHARS = 150  # its end: the same question is asked with and without an introduction

# By group: APGR of the model, of prompt length and of chance, measured by models that saw nothing of the domain.
HeldOutApgr = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Trainer:
    """One recipe's prompts, encoded once and fitted with different ones left out."""

    recipe: Recipe
    pool: Pool
    design: Design
    weights: Floats
    prior: Tensor

    def fit(self, weights: Floats) -> Tensor:
        """[BUILTIN_DIMENSION] the vector whose product with a prompt's is its gain."""
        target = torch.from_numpy(self.pool.target)
        return solve_ridge(self.design, target, torch.from_numpy(weights), self.recipe.ridge) + self.prior

    def unseen(self, seed: int) -> Floats:
        """[n] gains, each by the one of six models that saw nothing of the prompt's domain.

        Nor of its question where that stands in another domain too, as MMLU's do in MMLU-Pro.
        """
        domains, member = np.unique(self.pool.domains, return_inverse=True)
        fold = np.random.default_rng(seed).permutation(len(domains))[member] % min(FOLDS, len(domains))
        _, question = np.unique([_question(prompt) for prompt in self.pool.prompts], return_inverse=True)
        gains = np.empty(len(fold))
        for number in range(int(fold.max()) + 1):
            held = fold == number
            vector = self.fit(np.where(np.isin(question, question[held]), 0.0, self.weights))
            gains[held] = self.design.times(vector).numpy()[held]
        return gains


def train_builtin(recipe: Recipe, data: Path, output: Path, seed: int = 0) -> tuple[int, HeldOutApgr]:
    """The model of a recipe whose label files lie in `data`, written to the directory `output`.

    Gives the number of prompts and the figures of the card. How the model ranks follows from the labels alone;
    `seed` deals the domains out to the folds of the figures and of the calibration. InputFault for labels that
    will not do.
    """
    parts = [(source, read_labels(data / source.file, source.strong, source.weak)) for source in recipe.labels]
    pool = pool_sources(parts)
    embedder = HashedNgrams(torch.device("cpu"))
    design = Design(embedder, embedder.encode(pool.prompts))
    trainer = Trainer(recipe, pool, design, balanced_weights(pool, recipe.balance), prior_vector(recipe, embedder))
    unseen = trainer.unseen(seed)
    slope, intercept = LOGIT_OF_GAIN, 0.0
    if recipe.calibrate_on:
        there = pool.files == recipe.calibrate_on
        slope, intercept = calibration_line(unseen[there], pool.gain[there])
    vector = trainer.fit(trainer.weights) * slope
    vector[_place("constant")] += intercept / SURFACE_SCALE
    held_out = _held_out(pool, unseen, seed)
    write_checkpoint(output, _one_dimensional(vector), _card(recipe, seed, held_out))
    return len(pool.prompts), held_out


def prior_vector(recipe: Recipe, embedder: HashedNgrams) -> Tensor:
    """[BUILTIN_DIMENSION] whose product with a prompt's vector is what the recipe's priors add to its gain."""
    vector = torch.zeros(BUILTIN_DIMENSION, dtype=torch.float64)
    for feature, gain in recipe.prior.items():
        vector[_place(feature)] += gain / SURFACE_SCALE
    for kind in recipe.word_priors:
        buckets = embedder.encode(kind.words.split()).words.ids.unique()
        vector[BUCKETS + buckets] += kind.gain
    return vector


def calibration_line(predicted: Floats, gain: Floats) -> tuple[float, float]:
    """(a, b) such that sigmoid(a * predicted + b) is the rate at which the strong side wins, ties half.

    Logistic regression of (1 + gain) / 2 on `predicted` [n], by Newton's method (Platt 1999). InputFault when a
    higher prediction does not win more often.
    """
    rows = np.stack((predicted, np.ones(len(predicted))), axis=1)
    line = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        rate = 1 / (1 + np.exp(-rows @ line))
        curvature = (rows.T * (rate * (1 - rate))) @ rows
        line += np.linalg.lstsq(curvature, rows.T @ ((1 + gain) / 2 - rate), rcond=None)[0]
    if not line[0] > 0:
        raise InputFault("calibrate_on: on domains that were held out, the model ranks no better than chance")
    return float(line[0]), float(line[1])


def _question(prompt: str) -> str:
    """What is asked, without the choices, in a form that spacing and punctuation do not change."""
    asked = CHOICES.split(prompt.strip(), maxsplit=1)[0]
    return " ".join(re.findall(r"\w+", asked.lower()))[-QUESTION_CHARS:]


def _place(feature: str) -> int:
    return 2 * BUCKETS + FEATURES.index(feature)


def _held_out(pool: Pool, unseen: Floats, seed: int) -> HeldOutApgr:
    length = np.fromiter(map(len, pool.prompts), np.float64, len(pool.prompts))
    rivals = {"model": unseen, "length": length, "random": np.random.default_rng(seed).random(len(unseen))}
    with_gap = [group for group in np.unique(pool.groups) if pool.gain[pool.groups == group].sum()]
    return {str(group): _figures(rivals, pool, pool.groups == group) for group in with_gap}


def _figures(rivals: dict[str, Floats], pool: Pool, where: NDArray[np.bool_]) -> dict[str, float]:
    strong, weak = pool.strong[where], pool.weak[where]
    return {name: round(apgr(scores[where], strong, weak), 4) for name, scores in rivals.items()}


def _card(recipe: Recipe, seed: int, held_out: HeldOutApgr) -> Card:
    return Card(
        models=(recipe.strong, recipe.weak),
        embedder=BUILTIN_IDENTITY,
        dimension=BUILTIN_DIMENSION,
        data=recipe.data,
        licence=recipe.licence,
        seed=seed,
        evaluation={"held_out_apgr": held_out} if held_out else {},
    )


def _one_dimensional(vector: Tensor) -> dict[str, Tensor]:
    """A model of one dimension, in which the sides are +1 and -1, so that its folded vector is `vector`."""
    return {
        "P.weight": torch.tensor([[1.0], [-1.0]]),
        "text_proj.0.weight": (vector / 2).half().unsqueeze(0),
        "classifier.0.weight": torch.ones(1, 1),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Where the label files lie.")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="The model's directory.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the folds.")
def main(recipe: Path, data: Path, output: Path, seed: int) -> None:
    """Train the model of the recipe RECIPE, a .toml file."""
    torch.set_num_threads(1)  # several add up in another order, which moves the last digits
    try:
        prompts, _ = train_builtin(read_recipe(recipe), data, output, seed)
    except UsageFault as fault:
        raise click.UsageError(str(fault)) from fault
    click.echo(f"{output}: trained on {prompts:,} prompts")


if __name__ == "__main__":
    main()
