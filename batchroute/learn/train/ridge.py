"""Ridge regression on the built-in embedder's features, which are never written out as a matrix.

    v = argmin sum_i d_i (x_i . v - y_i)^2 + r |v|^2        so   (X^T D X + r I) v = X^T D y

is solved by conjugate gradients (Hestenes and Stiefel 1952), which multiply with X and X^T only: 20,000 prompts
of 262,000 features would be 42 GB as a matrix. Knows nothing of labels or model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from batchroute.score.embed.ngrams import BUCKETS

if TYPE_CHECKING:
    from torch import Tensor

    from batchroute.score.embed.builtin import Block, Encoded, HashedNgrams

TOLERANCE = 1e-3  # of the right side's length; a smaller one changes no figure of the evaluation
MOST_STEPS = 200


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
