"""Comparisons and features -> the parameters of a model: mini-batches, Adam, early stopping.

The loss is the binary cross-entropy of RouteLLM's training (Ong et al. 2024), and so are Adam, weight decay and
Gaussian noise on the embeddings. Ours are ties, kept as targets of one half; larger batches; a learning rate that
falls; and an end where the loss on validation prompts stops falling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.learn.train.features import ranges
from batchroute.learn.train.mf import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from batchroute.learn.labels.comparisons import Comparisons
    from batchroute.learn.train.features import Features
    from batchroute.learn.train.mf import Parameters
    from batchroute.learn.train.split import Split

BATCH_PROMPTS = 512
LEARNING_RATES = (3e-3, 1e-3, 3e-4, 1e-4)
LEAST_GAIN = 1e-4  # of validation loss; less does not keep a rate going
PATIENCE = 2  # epochs without that before the next rate
WEIGHT_DECAY = 1e-5
NOISE = 0.1
MOST_EPOCHS = 100
EVALUATED_AT_A_TIME = 4096  # prompts


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the prompts to learn from, `most` at most; losses are mean binary cross-entropies."""

    number: int
    most: int
    loss: float
    validation_loss: float


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Comparisons of `models` models and the features of their prompts, on the device that trains.

    Prompt i has the comparisons from starts[i] to starts[i + 1]: `first` with `second`, the first one's share of
    the win in `target`.
    """

    models: int
    features: Features
    starts: Tensor
    first: Tensor
    second: Tensor
    target: Tensor

    @property
    def device(self) -> torch.device:
        return self.starts.device

    def logits(
        self, parameters: Parameters, prompts: Tensor, noise: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits and targets of all comparisons of some prompts, whose vectors are moved by `noise`."""
        counts = self.starts[prompts + 1] - self.starts[prompts]
        numbers = ranges(self.starts[prompts], counts)
        projected = self.features.times(prompts, parameters.table, noise, generator)
        projected = torch.repeat_interleave(projected, counts, dim=0)
        return parameters.logits(projected, self.first[numbers], self.second[numbers]), self.target[numbers]

    @torch.no_grad()
    def predicted(self, parameters: Parameters, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The same without noise, for any number of prompts."""
        unused = torch.Generator(prompts.device)
        batches = torch.split(prompts, EVALUATED_AT_A_TIME)
        logits, targets = zip(*(self.logits(parameters, batch, 0.0, unused) for batch in batches), strict=True)
        return torch.cat(logits), torch.cat(targets)

    def loss(self, parameters: Parameters, prompts: Tensor) -> float:
        """Mean binary cross-entropy of all comparisons of some prompts."""
        return float(torch.nn.functional.binary_cross_entropy_with_logits(*self.predicted(parameters, prompts)))


def make_training_set(comparisons: Comparisons, features: Features, device: torch.device) -> TrainingSet:
    """The comparisons where the training runs."""
    starts = np.searchsorted(comparisons.prompt, np.arange(len(comparisons.prompts) + 1))
    return TrainingSet(
        models=len(comparisons.models),
        features=features,
        starts=torch.from_numpy(starts).to(device),
        first=torch.tensor(comparisons.first, device=device),
        second=torch.tensor(comparisons.second, device=device),
        target=torch.tensor(comparisons.target, dtype=torch.float32, device=device),
    )


def fit(
    training: TrainingSet, split: Split, seed: int, on_epoch: Callable[[Epoch], None]
) -> tuple[Parameters, Epoch]:
    """The parameters of the epoch with the least validation loss, and that epoch.

    Learns at one rate until the validation loss stops falling, then goes on from the best epoch at a lower one.
    The same for the same seed on the same processor; a GPU adds gradients up in any order.
    """
    device = training.device
    generator = torch.Generator(device).manual_seed(seed)
    learn, validation = (torch.from_numpy(part).to(device) for part in (split.learn, split.validation))
    best = begin(training.models, training.features.dimension, generator)
    best_epoch = Epoch(0, MOST_EPOCHS, math.inf, training.loss(best, validation))
    number = 0
    # Say the validation losses at the first rate are .60 .55 .53 .54 .531: two epochs without a gain, so the next
    # rate goes on from the third epoch's parameters, not from the last ones.
    for rate in LEARNING_RATES:
        parameters = best.each(lambda tensor: tensor.clone().requires_grad_())
        optimiser = torch.optim.Adam(parameters.tensors(), rate, weight_decay=WEIGHT_DECAY)
        last_gain = number
        while number - last_gain < PATIENCE and number < MOST_EPOCHS:
            number += 1
            loss = _learn_once(training, parameters, optimiser, learn, generator)
            epoch = Epoch(number, MOST_EPOCHS, loss, training.loss(parameters, validation))
            on_epoch(epoch)
            gain = best_epoch.validation_loss - epoch.validation_loss
            if gain > 0:
                best, best_epoch = parameters.each(lambda tensor: tensor.detach().clone()), epoch
            if gain > LEAST_GAIN:
                last_gain = number
    return best, best_epoch


def _learn_once(
    training: TrainingSet,
    parameters: Parameters,
    optimiser: torch.optim.Optimizer,
    learn: Tensor,
    generator: Generator,
) -> float:
    """One pass in a new order; its mean loss."""
    total = torch.zeros((), device=learn.device)
    order = learn[torch.randperm(len(learn), generator=generator, device=learn.device)]
    for prompts in torch.split(order, BATCH_PROMPTS):
        logits, target = training.logits(parameters, prompts, NOISE, generator)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        total += loss.detach() * len(prompts)
    return float(total) / len(order)
