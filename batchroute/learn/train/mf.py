"""RouteLLM's matrix factorisation as it is trained: where it begins, its logit, how it is stored.

    logit = w . ((P_first - P_second) * (W e)), rows of P normalised    (Ong et al. 2024, "RouteLLM", section 4.2)

P(the first model's answer beats the second's) = sigmoid(logit), Bradley and Terry's model of contests (1952), with
strengths that depend on the prompt. The logit changes its sign when the models change places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

ROUTELLM_WIDTH = 128
NARROW_WIDTH = 32  # over the built-in embedder's 262,000 numbers, where 128 would be 67 MB and slow to learn
PAIR_WIDTH = 16  # two models span one direction: more would only be more numbers
LONG_VECTOR = 16_384
LARGE = 1 << 20  # numbers in a table beyond which it is stored in half precision


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
