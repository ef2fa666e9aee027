"""RouteLLM's matrix factorisation as it is trained: its logit, mini-batches, Adam, early stopping.

    logit = w . ((P_first - P_second) * (W e)), rows of P normalised    (Ong et al. 2024, "RouteLLM", section 4.2)

P(the first model's answer beats the second's) = sigmoid(logit), Bradley and Terry's model of contests (1952), with
strengths that depend on the prompt. The logit changes its sign when the models change places.

The loss is the binary cross-entropy of RouteLLM's training, and so are Adam, weight decay and Gaussian noise on
the embeddings. Ours are ties, kept as targets of one half; larger batches; a learning rate that falls; and an end
where the loss on validation prompts stops falling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.errors import InputFault
from batchroute.learn.train.features import ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from batchroute.learn.labels.comparisons import Comparisons
    from batchroute.learn.train.features import Features

PART = 0.1  # of the prompts, for each of validation and held out
FEWEST = 10

ROUTELLM_WIDTH = 128
NARROW_WIDTH = 32  # over the built-in embedder's 262,000 numbers, where 128 would be 67 MB and slow to learn
PAIR_WIDTH = 16  # two models span one direction: more would only be more numbers
LONG_VECTOR = 16_384
LARGE = 1 << 20  # numbers in a table beyond which it is stored in half precision

BATCH_PROMPTS = 512
LEARNING_RATES = (3e-3, 1e-3, 3e-4, 1e-4)
LEAST_GAIN = 1e-4  # of validation loss; less does not keep a rate going
PATIENCE = 2  # epochs without that before the next rate
WEIGHT_DECAY = 1e-5
NOISE = 0.1
MOST_EPOCHS = 100
EVALUATED_AT_A_TIME = 4096  # prompts


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of prompts, ascending."""

    learn: NDArray[np.int64]
    validation: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_prompts(prompts: Sequence[str], seed: int) -> Split:
    """A tenth of distinct prompts for validation, a tenth held out; InputFault where there are too few.

    A prompt's part follows from its text and the seed: the same prompt never stands on two sides, and neither the
    order of the labels nor what else is among them moves it far.
    """
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


@dataclass(frozen=True, slots=True)
class Parameters:
    """P `models` [m, width], W transposed `table` [dimension, width], w `classifier` [width], on one device."""

    models: Tensor
    table: Tensor
    classifier: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.models, self.table, self.classifier

    def each(self, change: Callable[[Tensor], Tensor]) -> Parameters:
        return Parameters(*map(change, self.tensors()))

    def logits(self, projected: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """[n] log odds that the first model's answer beats the second's; `projected` [n, width] is W e."""
        rows = torch.nn.functional.normalize(self.models, dim=1) * self.classifier
        # index_select, because the gradient of rows[first] is added up in whatever order threads get to it
        difference = rows.index_select(0, first) - rows.index_select(0, second)
        return (difference * projected).sum(dim=1)

    def weights(self) -> dict[str, Tensor]:
        """By RouteLLM's keys, on the CPU, in the precision in which they are stored."""
        models, table, classifier = self.each(lambda tensor: tensor.detach().cpu()).tensors()
        projection = table.T.contiguous()
        return {
            "P.weight": models,
            "text_proj.0.weight": projection.half() if projection.numel() > LARGE else projection,
            "classifier.0.weight": classifier.unsqueeze(0),
        }


def begin(models: int, dimension: int, generator: Generator) -> Parameters:
    """Drawn as torch's own layers begin, which RouteLLM's training leaves as they are."""
    wide = NARROW_WIDTH if dimension > LONG_VECTOR else ROUTELLM_WIDTH
    width = PAIR_WIDTH if models == 2 else wide
    return Parameters(
        models=torch.randn(models, width, generator=generator, device=generator.device),
        table=_uniform((dimension, width), dimension**-0.5, generator),
        classifier=_uniform((width,), width**-0.5, generator),
    )


def _uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator, device=generator.device) - 1) * bound


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
    device = training.starts.device
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
