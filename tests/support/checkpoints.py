"""Models with weights of chance: one as RouteLLM publishes it, its scores computed the long way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from batchroute.score.checkpoint import ROUTELLM_MODELS, Card, write_checkpoint
from batchroute.simulate.embeddings import unit_vector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Weights = dict[str, torch.Tensor]
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"


def routellm_checkpoint(path: Path, text_dim: int = 1536) -> Path:
    """64 models of 128 numbers that read vectors of `text_dim`, as one .safetensors file."""
    generator = torch.Generator().manual_seed(7)
    weights = {
        "P.weight": torch.randn(64, 128, generator=generator),
        "text_proj.0.weight": torch.randn(128, text_dim, generator=generator),
        "classifier.0.weight": torch.randn(1, 128, generator=generator),
    }
    save_file(weights, path)
    return path


def routellm_scores(path: Path, texts: Sequence[str]) -> list[float]:
    """What RouteLLM's forward pass gives for the simulated provider's vectors, prompt by prompt."""
    weights = {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}
    models, projection = weights["P.weight"], weights["text_proj.0.weight"]
    strong, weak = (models[ROUTELLM_MODELS.index(name)] for name in (STRONG, WEAK))
    difference = strong / np.linalg.norm(strong) - weak / np.linalg.norm(weak)
    dim = projection.shape[1]
    vectors = (unit_vector(text, dim) if text else np.zeros(dim) for text in texts)
    logits = (weights["classifier.0.weight"][0] @ (difference * (projection @ vector)) for vector in vectors)
    return [float(1 / (1 + np.exp(-logit))) for logit in logits]


def write_mf(folder: Path, weights: Weights, names: Sequence[str], embedder: str) -> Path:
    """A model directory, as `train` writes one."""
    text_dim = weights["text_proj.0.weight"].shape[1]
    card = Card(tuple(names), embedder, text_dim, data="made up", licence="none", seed=0, evaluation={})
    write_checkpoint(folder, weights, card)
    return folder
