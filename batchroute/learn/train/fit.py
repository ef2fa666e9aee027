"""Comparisons and features -> the parameters of a model: mini-batches, Adam, early stopping.

RouteLLM's training (Adam, weight decay, Gaussian noise on the embeddings, binary cross-entropy) with ties kept at
one half, larger batches, a learning rate that falls, and an end where a validation part stops getting better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.learn.train.features import ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from batchroute.learn.labels.comparisons import Comparisons
    from batchroute.learn.train.contests import Contest, Parameters
    from batchroute.learn.train.features import Features
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
class Fitted:
    """The parameters of the best epoch, which is the one to be used."""

    parameters: Parameters
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Field:
    """Comparisons on a device, sorted by prompt: prompt i has those from starts[i] to starts[i + 1]."""

    starts: Tensor
    first: Tensor
    second: Tensor
    target: Tensor

    def of(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The comparisons of some prompts: their numbers, and which of `prompts` each belongs to."""
        counts = self.starts[prompts + 1] - self.starts[prompts]
        whose = torch.repeat_interleave(torch.arange(len(prompts), device=prompts.device), counts)
        return ranges(self.starts[prompts], counts), whose


def lay_field(comparisons: Comparisons, device: torch.device) -> Field:
    """The comparisons where the training runs."""
    starts = np.searchsorted(comparisons.prompt, np.arange(len(comparisons.prompts) + 1))
    first, second = (torch.tensor(side, device=device) for side in (comparisons.first, comparisons.second))
    target = torch.tensor(comparisons.target, dtype=torch.float32, device=device)
    return Field(torch.from_numpy(starts).to(device), first, second, target)


@dataclass(frozen=True, slots=True)
class Course:
    """What is learnt, from what."""

    contest: Contest
    features: Features
    field: Field

    def judged(
        self, parameters: Parameters, prompts: Tensor, noise: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits and targets of all comparisons of some prompts."""
        numbers, whose = self.field.of(prompts)
        projected = self.features.times(prompts, parameters["table"], noise, generator)
        first, second = self.field.first[numbers], self.field.second[numbers]
        return self.contest.logits(parameters, projected[whose], first, second), self.field.target[numbers]

    @torch.no_grad()
    def predicted(self, parameters: Parameters, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The same without noise, for any number of prompts."""
        unused = torch.Generator(prompts.device)
        batches = torch.split(prompts, EVALUATED_AT_A_TIME)
        logits, targets = zip(*(self.judged(parameters, batch, 0.0, unused) for batch in batches), strict=True)
        return torch.cat(logits), torch.cat(targets)


def fit(course: Course, models: int, split: Split, seed: int, on_epoch: Callable[[Epoch], None]) -> Fitted:
    """Learns at one rate until the validation loss stops falling, then goes on from the best epoch at a lower one.

    The same for the same seed, on the same device.
    """
    device = course.field.starts.device
    generator = torch.Generator(device).manual_seed(seed)
    learn, validation = (torch.from_numpy(part).to(device) for part in (split.learn, split.validation))
    start = course.contest.begin(models, course.features.dimension, generator)
    best = Fitted(start, Epoch(0, MOST_EPOCHS, math.inf, _loss(course, start, validation)))
    number = 0
    for rate in LEARNING_RATES:
        parameters = {name: tensor.clone().requires_grad_() for name, tensor in best.parameters.items()}
        optimiser = torch.optim.Adam(parameters.values(), rate, weight_decay=WEIGHT_DECAY)
        last_gain = number
        while number - last_gain < PATIENCE and number < MOST_EPOCHS:
            number += 1
            loss = _learn_once(course, parameters, optimiser, learn, generator)
            epoch = Epoch(number, MOST_EPOCHS, loss, _loss(course, parameters, validation))
            on_epoch(epoch)
            gain = best.epoch.validation_loss - epoch.validation_loss
            if gain > 0:
                best = Fitted({name: tensor.detach().clone() for name, tensor in parameters.items()}, epoch)
            if gain > LEAST_GAIN:
                last_gain = number
    return best


def _learn_once(
    course: Course, parameters: Parameters, optimiser: torch.optim.Optimizer, learn: Tensor, generator: Generator
) -> float:
    """One pass in a new order; its mean loss."""
    total = torch.zeros((), device=learn.device)
    order = learn[torch.randperm(len(learn), generator=generator, device=learn.device)]
    for prompts in torch.split(order, BATCH_PROMPTS):
        logits, target = course.judged(parameters, prompts, NOISE, generator)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        total += loss.detach() * len(prompts)
    return float(total) / len(order)


def _loss(course: Course, parameters: Parameters, prompts: Tensor) -> float:
    logits, target = course.predicted(parameters, prompts)
    return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, target))
