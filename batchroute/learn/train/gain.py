"""A pair of models on the built-in embedder -> an MF model of one dimension, by ridge regression of the gain.

The gain of a prompt, in [-1, 1], is what the strong side's answer is better by. On hashed n-grams its regression
ranks prompts as well as gradient descent on the logits does, or better, and takes a second. The penalty is the one
with the least squared error on the validation prompts. The features are never written out as a matrix:

    v = argmin sum_i d_i (x_i . v - y_i)^2 + r |v|^2        so   (X^T D X + r I) v = X^T D y

is solved by conjugate gradients (Hestenes and Stiefel 1952), which multiply with X and X^T only: 20,000 prompts
of 262,000 features would be 42 GB as a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from batchroute.learn.train.fit import Parameters
from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.ngrams import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from batchroute.learn.train.fit import Split
    from batchroute.score.embed.builtin import Block, Encoded

TOLERANCE = 1e-3  # of the right side's length; a smaller one changes no figure of the evaluation
MOST_STEPS = 200
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
LOGIT_OF_GAIN = 2.0  # sigmoid(2 g) is (1 + g) / 2 near g = 0: the probability that the strong side's answer wins


@dataclass(frozen=True, slots=True)
class Design:
    """Encoded prompts as a matrix X [n, BUILTIN_DIMENSION] that is only ever multiplied with."""

    embedder: HashedNgrams
    encoded: Encoded

    def times(self, vector: Tensor) -> Tensor:
        """X v [n]."""
        return self.embedder.fold(vector).product(self.encoded)

    def transposed_times(self, rows: Tensor) -> Tensor:
        """X^T r [BUILTIN_DIMENSION]."""
        chars, words = (_spread(block, rows) for block in (self.encoded.chars, self.encoded.words))
        surface = torch.tensordot(rows, self.encoded.surface, dims=1)
        return torch.cat((chars[0], words[0], surface[0], chars[1], words[1], surface[1]))


def solve_ridge(
    design: Design, target: Tensor, weights: Tensor, ridge: float, tolerance: float = TOLERANCE
) -> Tensor:
    """[dimension] argmin_v sum_i weights_i (x_i . v - target_i)^2 + ridge |v|^2; `target` and `weights` [n]."""
    right = design.transposed_times(weights * target)
    vector, residual = torch.zeros_like(right), right.clone()
    direction, square = right.clone(), float(right.square().sum())
    enough = tolerance**2 * square
    for _ in range(MOST_STEPS):
        if square <= enough:
            break
        # one step: as far along `direction` as lowers the error most, then a direction conjugate to all before it
        image = design.transposed_times(weights * design.times(direction)) + ridge * direction
        step = square / float(direction @ image)
        vector += step * direction
        residual -= step * image
        previous, square = square, float(residual.square().sum())
        direction = residual + (square / previous) * direction
    return vector


def _spread(block: Block, rows: Tensor) -> Tensor:
    """X^T r for one kind of n-gram: [2, BUCKETS] over all texts, over multiple-choice texts."""
    each = torch.repeat_interleave(rows / block.lengths, block.offsets.diff())
    free, choice = torch.bincount(block.ids, weights=each, minlength=2 * BUCKETS).reshape(2, BUCKETS)
    return torch.stack((free + choice, choice))


def fit_gain(prompts: Sequence[str], gain: Tensor, split: Split) -> Parameters:
    """A model of one dimension; `gain` [n] is what the first of its two models is better by."""
    embedder = HashedNgrams(torch.device("cpu"))
    design = Design(embedder, embedder.encode(prompts))
    learn = torch.zeros(len(prompts), dtype=torch.float64)
    learn[torch.from_numpy(split.learn)] = 1.0
    validation = torch.from_numpy(split.validation)
    vectors = [solve_ridge(design, gain, learn, penalty) for penalty in PENALTIES]
    errors = [float((design.times(vector) - gain)[validation].square().mean()) for vector in vectors]
    vector = vectors[errors.index(min(errors))]
    return pair_parameters(LOGIT_OF_GAIN * vector)


def pair_parameters(vector: Tensor) -> Parameters:
    """The model of one dimension whose logits are e . v, for `vector` [dimension]; its models are +1 and -1."""
    return Parameters(
        models=torch.tensor([[1.0], [-1.0]]),
        table=(vector / 2).float().unsqueeze(1),
        classifier=torch.ones(1),
    )
