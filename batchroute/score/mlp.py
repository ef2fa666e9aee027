"""A small neural network as a router: one hidden layer over any embedder, and a strength per model on top of it.

    score = sigmoid((o_strong - o_weak) . relu(W e + b) + c_strong - c_weak)

Bradley and Terry's model of a contest whose strengths depend on the prompt, so any two models of its table can
stand for the sides. Knows its file and its arithmetic; nothing of how it was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from batchroute.errors import ModelFault
from batchroute.score.checkpoint import (
    CARD,
    card_embedder,
    card_names,
    digest_of,
    find_tensor,
    read_json,
    read_tensors,
    row_of,
    weights_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

KEYS = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")


@dataclass(frozen=True, slots=True)
class Network:
    """hidden [h, text_dim], bias [h], output [models, h], offset [models], all float64 on the CPU.

    `embedder` and `digest` as a checkpoint has them.
    """

    names: tuple[str, ...]
    hidden: Tensor
    bias: Tensor
    output: Tensor
    offset: Tensor
    embedder: str | None
    digest: str
    path: Path

    def for_pair(self, strong: str, weak: str) -> tuple[Tensor, Tensor]:
        """The last layer for this pair of models: a vector [h] and a number."""
        first, second = row_of(self.path, self.names, strong), row_of(self.path, self.names, weak)
        return self.output[first] - self.output[second], self.offset[first] - self.offset[second]


def read_network(path: Path) -> Network:
    """A model directory that `train --router mlp` wrote; ModelFault says what is wrong with it."""
    tensors = read_tensors(weights_file(path))
    if "P.weight" in tensors:
        raise ModelFault(f'{path}: holds a matrix-factorisation model; set [router] use = "mf"')
    hidden, bias, output, offset = (find_tensor(path, tensors, (key,)) for key in KEYS)
    if hidden.ndim != 2 or output.ndim != 2:
        raise ModelFault(f"{path}: {KEYS[0]} and {KEYS[2]} must be matrices")
    width, models = hidden.shape[0], output.shape[0]
    expected = {KEYS[1]: [width], KEYS[2]: [models, width], KEYS[3]: [models]}
    for key, tensor in zip(KEYS[1:], (bias, output, offset), strict=True):
        if list(tensor.shape) != expected[key]:
            raise ModelFault(
                f"{path}: {key} has shape {list(tensor.shape)}, but the others ask for {expected[key]}"
            )
    card = read_json(path / CARD) if path.is_dir() else {}
    return Network(
        names=card_names(path, card, models),
        hidden=hidden,
        bias=bias,
        output=output,
        offset=offset,
        embedder=card_embedder(path, card, hidden.shape[1]),
        digest=digest_of(hidden, bias, output, offset),
        path=path,
    )


def network_config(weights: dict[str, Tensor]) -> dict[str, object]:
    """What stands in config.json beside these weights."""
    width, text_dim = weights[KEYS[0]].shape
    return {"width": width, "num_models": len(weights[KEYS[2]]), "text_dim": text_dim, "activation": "relu"}


def last_layer(hidden: Tensor, bias: Tensor, vector: Tensor, offset: Tensor) -> Tensor:
    """[n] logits of [n, h] products W e; summed row by row, so that a row's neighbours cannot change it."""
    return (torch.relu(hidden + bias) * vector).sum(dim=1) + offset
