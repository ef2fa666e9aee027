"""A pair of models on the built-in embedder -> an MF model of one dimension, by ridge regression of the gain.

The gain of a prompt, in [-1, 1], is what the strong side's answer is better by. On hashed n-grams its regression
ranks prompts as well as gradient descent on the logits does, or better, and takes a second. The penalty is the one
with the least squared error on the validation prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from batchroute.learn.train.mf import Parameters
from batchroute.learn.train.ridge import Design, solve_ridge
from batchroute.score.embed.builtin import HashedNgrams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from batchroute.learn.train.split import Split

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
LOGIT_OF_GAIN = 2.0  # sigmoid(2 g) is (1 + g) / 2 near g = 0: the probability that the strong side's answer wins


def fit_gain(prompts: Sequence[str], gain: Tensor, split: Split) -> Parameters:
    """A model of one dimension, whose two models are +1 and -1; `gain` [n] is what the first is better by."""
    embedder = HashedNgrams(torch.device("cpu"))
    design = Design(embedder, embedder.encode(prompts))
    learn = torch.zeros(len(prompts), dtype=torch.float64)
    learn[torch.from_numpy(split.learn)] = 1.0
    validation = torch.from_numpy(split.validation)
    vectors = [solve_ridge(design, gain, learn, penalty) for penalty in PENALTIES]
    errors = [float((design.times(vector) - gain)[validation].square().mean()) for vector in vectors]
    vector = vectors[errors.index(min(errors))]
    return Parameters(
        models=torch.tensor([[1.0], [-1.0]]),
        table=(LOGIT_OF_GAIN / 2 * vector).float().unsqueeze(1),
        classifier=torch.ones(1),
    )
