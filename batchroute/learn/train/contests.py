"""The models that can be trained: how they begin, what they say of two models and a prompt, how they are written.

Both are contests in the sense of Bradley and Terry: a logit that changes its sign when the models change places.
`table` [dimension, width] is the first layer of either; `projected` [n, width] are prompts multiplied with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from batchroute.score.checkpoint import write_checkpoint, write_model
from batchroute.score.mlp import network_config

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Generator, Tensor

    from batchroute.score.checkpoint import Card

    Parameters = dict[str, Tensor]

ROUTELLM_WIDTH = 128
NARROW_WIDTH = 32  # over the built-in embedder's 262,000 numbers, where 128 would be 67 MB and slow to learn
PAIR_WIDTH = 16  # two models span one direction: more would only be more numbers
HIDDEN_WIDTH = 32
LONG_VECTOR = 16_384


class Contest(Protocol):
    """One kind of model."""

    def begin(self, models: int, dimension: int, generator: Generator) -> Parameters:
        """Parameters to start from, on the generator's device; one of them is `table`."""
        ...

    def logits(self, parameters: Parameters, projected: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """[n] log odds that the first model's answer beats the second's."""
        ...

    def write(self, output: Path, parameters: Parameters, card: Card) -> None:
        """The model directory."""
        ...


@dataclass(frozen=True, slots=True)
class MatrixContest:
    """RouteLLM's matrix factorisation: w . ((P_first - P_second) * (W e)), rows of P normalised."""

    def begin(self, models: int, dimension: int, generator: Generator) -> Parameters:
        """As torch's own layers begin, which RouteLLM's training leaves as they are."""
        wide = NARROW_WIDTH if dimension > LONG_VECTOR else ROUTELLM_WIDTH
        width = PAIR_WIDTH if models == 2 else wide
        device = generator.device
        return {
            "models": torch.randn(models, width, generator=generator, device=device),
            "table": _uniform((dimension, width), dimension**-0.5, generator),
            "classifier": _uniform((width,), width**-0.5, generator),
        }

    def logits(self, parameters: Parameters, projected: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See Contest."""
        rows = torch.nn.functional.normalize(parameters["models"], dim=1) * parameters["classifier"]
        return ((rows[first] - rows[second]) * projected).sum(dim=1)

    def write(self, output: Path, parameters: Parameters, card: Card) -> None:
        """RouteLLM's two files and the card."""
        weights = {
            "P.weight": parameters["models"],
            "text_proj.0.weight": _stored(parameters["table"]),
            "classifier.0.weight": parameters["classifier"].unsqueeze(0),
        }
        write_checkpoint(output, weights, card)


@dataclass(frozen=True, slots=True)
class NetworkContest:
    """A hidden layer: (o_first - o_second) . relu(W e + b) + c_first - c_second."""

    def begin(self, models: int, dimension: int, generator: Generator) -> Parameters:
        """A last layer of zeros: every prompt starts as a tie."""
        device = generator.device
        return {
            "table": _uniform((dimension, HIDDEN_WIDTH), dimension**-0.5, generator),
            "bias": torch.zeros(HIDDEN_WIDTH, device=device),
            "output": torch.randn(models, HIDDEN_WIDTH, generator=generator, device=device) * HIDDEN_WIDTH**-0.5,
            "offset": torch.zeros(models, device=device),
        }

    def logits(self, parameters: Parameters, projected: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See Contest."""
        output, offset = parameters["output"], parameters["offset"]
        hidden = torch.relu(projected + parameters["bias"])
        return ((output[first] - output[second]) * hidden).sum(dim=1) + offset[first] - offset[second]

    def write(self, output: Path, parameters: Parameters, card: Card) -> None:
        """See batchroute.mlp."""
        weights = {
            "hidden.weight": _stored(parameters["table"]),
            "hidden.bias": parameters["bias"],
            "output.weight": parameters["output"],
            "output.bias": parameters["offset"],
        }
        write_model(output, weights, network_config(weights), card)


CONTESTS: dict[str, Contest] = {"mf": MatrixContest(), "mlp": NetworkContest()}
LARGE = 1 << 20  # numbers in a table beyond which it is stored in half precision


def _uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator, device=generator.device) - 1) * bound


def _stored(table: Tensor) -> Tensor:
    """As a layer's weight [width, dimension]."""
    weight = table.T.contiguous()
    return weight.half() if weight.numel() > LARGE else weight
